"""Clients that stop in the middle of a body hold little, not for long, and shut nobody out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import web

from supervisor.ingest.bodies import LEAST_BYTES, Body, BodyError
from supervisor.ingest.held import (
    MAX_HELD_UNKNOWN,
    MOST_SHARE,
    BytesInFlight,
    NoRoom,
    sender_of,
)
from tests.harness.waiting import until
from tests.ingest.conftest import Client
from tests.ingest.test_hostile_requests import AUTH, EVENT, statuses

#: A body as large as one may be, of which a third comes.
ANNOUNCED, SENT = 490_000, 160_000
APP = b"Authorization: Basic YXBwLWtleTo=\r\n"


class Stopper:
    """A client that sends some of a body and no more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer


@asynccontextmanager
async def stopped(
    client: Client, count: int, headers: bytes = b"", address: str = "127.0.0.1"
) -> AsyncIterator[list[Stopper]]:
    """So many clients that have sent what they will."""
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\n" + headers
    head += b"Content-Length: %d\r\n\r\n" % ANNOUNCED
    stoppers: list[Stopper] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(
                client.host, client.port, local_addr=(address, 0)
            )
            stoppers.append(Stopper(reader, writer))
            writer.write(head + b'{"batch":[' + b" " * SENT)
            await writer.drain()
        yield stoppers
    finally:
        for one in stoppers:
            one.writer.close()


async def posted(client: Client, headers: bytes, address: str, body: bytes = EVENT) -> int:
    """The status that a client at this address gets for an event."""
    reader, writer = await asyncio.open_connection(
        client.host, client.port, local_addr=(address, 0)
    )
    writer.write(
        b"POST /v1/track HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + headers
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )
    answer = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    (status,) = statuses(answer)
    return status


async def test_clients_without_a_key_shut_nobody_out_that_has_one(client: Client) -> None:
    """136 that stop in the middle of their bodies, and 60 more: not one keyed request is refused.

    Who stops is told so and let go within a few seconds.
    """
    async with stopped(client, 136) as first, stopped(client, 60) as more:
        answers = [await posted(client, AUTH, "127.0.0.1") for _ in range(100)]
        assert answers == [200] * 100
        for path in ("/health", "/ready"):
            assert (await asyncio.wait_for(client.get(path), 1)).status == 200
        ends = await asyncio.wait_for(
            asyncio.gather(*(one.reader.read() for one in first + more)), 30
        )
    found = [statuses(end) for end in ends]
    assert {status for one in found for status in one} <= {408, 503}
    assert all(found), "each is answered"
    assert await posted(client, AUTH, "127.0.0.1") == 200


async def test_one_address_leaves_room_for_others_of_its_source(client: Client) -> None:
    """A browser's key is public; 136 that have it and stop hold a share, and others are served."""
    async with stopped(client, 136, AUTH, "127.0.0.2"):
        for headers, address in ((AUTH, "127.0.0.3"), (APP, "127.0.0.3"), (APP, "127.0.0.1")):
            assert [await posted(client, headers, address) for _ in range(20)] == [200] * 20


async def test_one_source_leaves_room_for_others(client: Client) -> None:
    """From however many addresses its senders stop."""
    async with (
        stopped(client, 90, AUTH, "127.0.0.2"),
        stopped(client, 90, AUTH, "127.0.0.3"),
        stopped(client, 90, AUTH, "127.0.0.4"),
        stopped(client, 90, AUTH, "127.0.0.5"),
    ):
        assert [await posted(client, APP, "127.0.0.6") for _ in range(20)] == [200] * 20


@pytest.mark.parametrize(("piece", "status"), [(LEAST_BYTES, 200), (LEAST_BYTES // 64, 408)])
async def test_body_that_comes_at_the_least_rate_is_taken(piece: int, status: int) -> None:
    """One that brings enough in each while is waited for, and one that drips is not."""
    held, grace_s, pieces = BytesInFlight(), 1.0, 8
    found: list[int] = []

    async def handle(request: web.Request) -> web.Response:
        with Body(request, held.hold(None, "here"), 500_000, 30.0, grace_s) as body:
            try:
                await body.read()
                found.append(200)
            except BodyError as error:
                found.append(error.status)
        return web.Response()

    app = web.Application(handler_args={"lingering_time": 0})
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    _, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (pieces * piece))
    loop = asyncio.get_running_loop()
    began = loop.time()
    for n in range(pieces):
        writer.write(b" " * piece)
        is_next = partial(_is_over, loop, began + (n + 1) * grace_s / 3, found)
        await until(is_next, 30, "the next piece is due")
    await until(lambda: bool(found), 30, "an end")
    writer.close()
    await runner.cleanup()
    assert found == [status]
    assert held.size == 0


def _is_over(loop: asyncio.AbstractEventLoop, due: float, found: list[int]) -> bool:
    return loop.time() >= due or bool(found)


def test_room_is_counted_by_holder() -> None:
    """What is given back is free for others, and a key that comes in the body moves its bytes."""
    held = BytesInFlight(1000, 100)
    first = held.hold(None, "a")
    first.take(25)
    with pytest.raises(NoRoom, match="address"):
        held.hold(None, "a").take(1)
    others = [held.hold(None, name) for name in "bcd"]
    for one in others:
        one.take(25)
    with pytest.raises(NoRoom, match="without a key"):
        held.hold(None, "e").take(1)
    first.known("web")
    held.hold(None, "e").take(25)
    for name in "bc":
        held.hold("web", name).take(235)
    with pytest.raises(NoRoom, match="source"):
        held.hold("web", "d").take(6)
    held.hold("app", "d").take(250)
    first.give()
    first.give()
    held.hold("web", "e").take(25)
    assert held.size == 75 + 25 + 470 + 250 + 25


def test_an_address_is_what_one_sender_has() -> None:
    """All of IPv4, and the first half of IPv6."""
    assert sender_of("10.0.0.7") == "10.0.0.7"
    assert sender_of("2001:db8:1:2:3::4") == sender_of("2001:db8:1:2:ffff::1%eth0")
    assert sender_of("2001:db8:1:3::4") != sender_of("2001:db8:1:2::4")
    assert sender_of(None) == ""
    assert MAX_HELD_UNKNOWN * MOST_SHARE["address"] > 4 * ANNOUNCED
