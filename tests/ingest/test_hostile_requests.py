"""No request makes the tracking API fail, block or grow: each is answered or dropped."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.ingest.api import TrackingApi
from supervisor.ingest.bodies import Body, BodyError
from supervisor.ingest.held import BytesInFlight
from tests.ingest.conftest import Client
from tests.ingest.stubs import MemoryIntake

AUTH = b"Authorization: Basic " + base64.b64encode(b"key:") + b"\r\n"
EVENT = json.dumps({"type": "track", "userId": "ann", "event": "x"}).encode()


def request(body: bytes, headers: bytes = b"", path: bytes = b"/v1/track") -> bytes:
    """A POST with the key, and no framing of its body but what `headers` says."""
    return b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + AUTH + headers + b"\r\n" + body


def sized(body: bytes, path: bytes = b"/v1/track") -> bytes:
    """A POST with the right Content-Length."""
    return request(body, b"Content-Length: %d\r\n" % len(body), path)


async def exchange(client: Client, sent: bytes, *, finish: bool = True) -> bytes:
    """Send bytes, end the sending side unless told not to, and return all that is answered."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(sent)
    if finish:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 15)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def is_well(client: Client) -> bool:
    """Whether the service still takes events."""
    return (await client.post("/v1/track", data=EVENT)).status == 200


def statuses(answers: bytes) -> list[int]:
    """The statuses of all answers on a connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answers)]


CLOSE = b"Connection: close\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(EVENT, CLOSE + b"Content-Length: %d\r\n" % len(EVENT)), 200),
        (request(b"", CLOSE), 400),
        (request(b"", CLOSE + b"Content-Length: -1\r\n"), 400),
        (request(b"", CLOSE + b"Content-Length: 99999999999999999999999\r\n"), 400),
        (request(b"", CLOSE + b"Content-Length: 9999999999\r\n"), 413),
        (request(EVENT, CLOSE + b"Content-Length: 5\r\n"), 400),
        (request(b"zz\r\n", CLOSE + b"Transfer-Encoding: chunked\r\n"), 400),
        (request(b"", CLOSE + b"X: " + b"a" * 100_000 + b"\r\n"), 400),
        (request(b"", CLOSE + b"".join(b"X%d: a\r\n" % n for n in range(10_000))), 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"POST /v1/\xff HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n", 400),
        (b"POST /v1/%ED%A0%80 HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n", 404),
        (request(b"", CLOSE + b"Content-Length: 0\r\nX-Retry-Count: \xff\r\n"), 400),
    ],
)
async def test_broken_requests_are_answered(client: Client, sent: bytes, status: int) -> None:
    """What is no HTTP, or no honest framing, is the client's error."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(sent)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.close()
    assert statuses(head) == [status]
    assert await is_well(client)


async def test_chunked_bodies_are_taken(client: Client, intake: MemoryIntake) -> None:
    """A body in chunks, however small, is one body."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in EVENT) + b"0\r\n\r\n"
    sent = request(chunks, CLOSE + b"Transfer-Encoding: chunked\r\n")
    assert statuses(await exchange(client, sent, finish=False)) == [200]
    assert len(intake.events) == 1


async def test_endless_chunks_stop_at_the_limit(client: Client) -> None:
    """A body without an end is refused once it is past the limit."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = request(chunk * 20, b"Transfer-Encoding: chunked\r\n")
    assert statuses(await exchange(client, sent)) in ([413], [])
    assert await is_well(client)


async def test_truncated_requests_store_nothing(client: Client, intake: MemoryIntake) -> None:
    """A request that breaks off anywhere is not an event."""
    whole = sized(EVENT)
    for length in range(0, len(whole), 7):
        _, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(whole[:length])
        writer.close()
        await writer.wait_closed()
    assert not intake.events
    assert await is_well(client)


async def test_pipelined_requests_are_answered_in_order(
    client: Client, intake: MemoryIntake
) -> None:
    """Requests sent without waiting are all served, one after the other."""
    sent = b"".join(
        sized(json.dumps({"userId": "ann", "event": "x", "messageId": f"{n}"}).encode())
        for n in range(200)
    )
    last = request(b"{}", CLOSE + b"Content-Length: 2\r\n")
    answers = statuses(await exchange(client, sent + last, finish=False))
    assert answers == [200] * 200 + [400]
    assert [event.message_id for event in intake.events] == [f"{n}" for n in range(200)]


async def test_half_a_gzip_is_refused(client: Client) -> None:
    """Gzip that breaks off, is damaged or goes on with something else is 400."""
    packed = gzip.compress(EVENT)
    for body in (packed[:-9], packed[:2], packed[:12] + b"\xff" + packed[13:], packed + b"x"):
        answer = await client.post("/v1/track", data=body)
        assert answer.status == 400
        assert (await answer.json())["code"] == "invalid_gzip"


async def test_a_thousand_gzips_are_refused(client: Client) -> None:
    """Unpacking costs by the member too, so a body has few of them."""
    answer = await client.post("/v1/track", data=gzip.compress(b" ") * 1000 + gzip.compress(EVENT))
    assert answer.status == 400
    assert "16 members" in (await answer.json())["message"]


async def test_a_batch_of_nothings_is_cheap(client: Client) -> None:
    """Half a megabyte of empty objects or numbers is refused as a whole."""
    for item, limit in ((b"{},", 400), (b"1,", 400), (b'{"type":"page","b":1},', 400)):
        body = b'{"batch":[' + item * (500_000 // len(item)) + b"1]}"
        assert (await client.post("/v1/batch", data=body)).status == limit


async def slow(limit_s: float, held: BytesInFlight, failures: list[BodyError]) -> web.AppRunner:
    """A server that waits for bodies as long as it is told, and keeps what it refused."""

    async def handle(request: web.Request) -> web.Response:
        with Body(request, held.hold("web", "here"), 500_000, timeout_s=limit_s) as body:
            try:
                await body.read()
            except BodyError as error:
                failures.append(error)
                return web.Response(status=error.status)
        return web.Response()

    app = web.Application(handler_args={"auto_decompress": False, "lingering_time": 0})
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


@pytest.mark.parametrize(
    ("limit_s", "room", "status"), [(0.05, 1000, 408), (30.0, 10, 503)], ids=["time", "memory"]
)
async def test_slow_and_many_bodies_are_bounded(limit_s: float, room: int, status: int) -> None:
    """A body that does not come in time is 408, one too many to hold 503; both are forgotten."""
    held, failures = BytesInFlight(room), list[BodyError]()
    runner = await slow(limit_s, held, failures)
    host, port = runner.addresses[0][:2]
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request(b"{" * 20, b"Content-Length: 100\r\n"))
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await runner.cleanup()
    assert statuses(answer) == [status]
    assert [failure.status for failure in failures] == [status]
    assert held.size == 0


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=200), encoding=st.sampled_from(["", "gzip", "deflate", "br", "é"]))
async def test_any_body_is_answered(api: TrackingApi, body: bytes, encoding: str) -> None:
    """Any bytes under any label are taken or a client's error, in JSON with code and message."""
    async with TestClient(TestServer(api.app)) as client:
        sent = request(
            body,
            CLOSE
            + b"Content-Length: %d\r\nContent-Encoding: " % len(body)
            + encoding.encode()
            + b"\r\n",
        )
        answer = await exchange(client, sent, finish=False)
    assert 400 <= statuses(answer)[0] < 500
    assert json.loads(answer.partition(b"\r\n\r\n")[2]).keys() >= {"code", "message"}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=300), st.integers(0, 200))
async def test_any_bytes_are_survived(api: TrackingApi, garbage: bytes, keep: int) -> None:
    """Whatever is sent, after as much of a good request as one likes, the service goes on."""
    async with TestClient(TestServer(api.app)) as client:
        _, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(sized(EVENT)[:keep] + garbage)
        writer.close()
        answer = await client.post("/v1/track", data=EVENT, headers={"Authorization": "Basic a2V5"})
        assert answer.status == 200
