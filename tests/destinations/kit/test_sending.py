"""The helpers against real servers: good, bad and absurd answers, each event on its own."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

import aiohttp
import msgspec
import pytest
from aiohttp import web

from destinations.kit import (
    Batched,
    Cause,
    Delivered,
    Endpoint,
    Event,
    Failed,
    Item,
    Outcome,
    PerEvent,
    Request,
    Response,
    Retry,
    Split,
    Unauthorized,
    Unsupported,
)
from destinations.kit.contract import current_report
from destinations.kit.sending import Hold

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Speak = Callable[[Talk], Awaitable[str]]
LOG = logging.Logger("test")


class Target(msgspec.Struct, frozen=True):
    """Where to send."""

    url: str


class Single(PerEvent):
    """Posts each event; skips aliases, and has a bug with events that want one."""

    name = "single"
    concurrency: ClassVar[int] = 3
    timeout_s: ClassVar[float] = 0.3
    answer_bytes: ClassVar[int] = 1000
    Settings = Target

    def request(self, event: Event) -> Request | Outcome:
        if event.type == "alias":
            return Unsupported()
        if event.get("bug"):
            return Request(self.settings.url, event["absent"])
        return Request(self.settings.url, event.raw)


class Reading(Single):
    """Wants JSON in the answer."""

    name = "reading"

    def outcome(self, response: Response, event: Event) -> Outcome:
        said = response.json()
        return Delivered() if said == {"ok": True} else response.not_json()


class Many(Batched):
    """Three events a request; the answer lists outcomes, or says nothing of which is bad."""

    name = "many"
    timeout_s: ClassVar[float] = 2.0
    Settings = Target

    async def start(self) -> None:
        self.endpoint = Endpoint(self.settings.url, 3, 200)

    def item(self, event: Event) -> Item | Outcome:
        if event.get("bug"):
            raise KeyError("bug")
        return Item(self.endpoint, event.raw)

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        if response.status == 400:
            return Split("400")
        said = response.json()
        if said == "short":
            return [Delivered()] * (count - 1) if count > 1 else []
        return response.outcome()


def events(count: int, **fields: object) -> list[Event]:
    return [Event(json.dumps({"type": "track", "n": n, **fields}).encode()) for n in range(count)]


async def answer_ok(request: web.Request) -> web.Response:
    return web.Response()


async def test_each_event_is_a_request(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Every event is posted once, never more at once than allowed, and reported as it ends."""
    bodies, now, most = [], 0, 0

    async def take(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        bodies.append(await request.read())
        now -= 1
        return web.Response()

    reported: list[int] = []
    current_report.set(lambda index, outcome: reported.append(index))
    batch = events(10)
    destination = Single(Target(await serve(take)), http, LOG)
    assert await destination.deliver(batch) == [Delivered()] * 10
    assert sorted(bodies) == sorted(event.raw for event in batch)
    assert sorted(reported) == list(range(10))
    assert 1 <= most <= 3


async def test_only_the_bad_event_fails(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A mapping that raises fails its own event, with the exception and its place."""
    good, bad, alias = events(1)[0], events(1, bug=True)[0], Event(b'{"type":"alias"}')
    destination = Single(Target(await serve(answer_ok)), http, LOG)
    outcomes = await destination.deliver([good, bad, alias, good])
    assert outcomes[0] == outcomes[3] == Delivered()
    assert outcomes[2] == Unsupported()
    assert isinstance(outcomes[1], Failed)
    assert outcomes[1].reason.startswith("mapping raised KeyError: 'absent' at test_sending.py:")


async def test_what_only_a_bug_can_raise_keeps_its_name(
    serve: Serve, http: aiohttp.ClientSession
) -> None:
    """An exception from within a deliver of many events comes out as itself, not as a group."""

    def refuse(index: int, outcome: Outcome) -> None:
        raise LookupError("nobody listens")

    current_report.set(refuse)
    with pytest.raises(LookupError, match="nobody listens"):
        await Single(Target(await serve(answer_ok)), http, LOG).deliver(events(5))


async def one(destination: PerEvent) -> Outcome:
    return (await destination.deliver(events(1)))[0]


async def test_status_and_retry_after(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A 429 is a retry that waits as long as the server asks for."""

    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=429, text="slow down", headers={"Retry-After": "17"})

    outcome = await one(Single(Target(await serve(busy)), http, LOG))
    assert outcome == Retry("429 Too Many Requests: slow down", 17.0)


async def test_redirect_is_not_followed(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A redirect is a failure, and its target is never asked."""
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/private"})

    outcome = await one(Single(Target(await serve(redirect)), http, LOG))
    assert isinstance(outcome, Failed)
    assert "redirects are not followed" in outcome.reason
    assert asked == ["/"]


async def test_nobody_listens(http: aiohttp.ClientSession) -> None:
    """A refused connection is a retry that names host and port, and not the path."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        outcome = await one(Single(Target(f"http://127.0.0.1:{port}/secret"), http, LOG))
    assert isinstance(outcome, Retry)
    assert f"127.0.0.1:{port}: no connection" in outcome.reason
    assert "secret" not in outcome.reason


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await reader.read()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


async def babbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("talk", "text"),
    [
        (silent, "no answer within 0.3 s"),
        (hangs_up, "closed the connection before it answered"),
        (babbles, "is not HTTP"),
    ],
)
async def test_no_answer(speak: Speak, http: aiohttp.ClientSession, talk: Talk, text: str) -> None:
    """A server that gives no HTTP answer is a retry that says how."""
    outcome = await one(Single(Target(await speak(talk)), http, LOG))
    assert isinstance(outcome, Retry)
    assert text in outcome.reason


async def test_plain_http_behind_https(speak: Speak, http: aiohttp.ClientSession) -> None:
    """A TLS handshake that fails is a retry that says so."""
    url = (await speak(hangs_up)).replace("http:", "https:")
    outcome = await one(Single(Target(url), http, LOG))
    assert isinstance(outcome, Retry)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 65536)
        await writer.drain()


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
    await reader.read()
    await reader.read()


async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"ok"')
    await writer.drain()


async def html(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n<html>x</htm")
    await writer.drain()


ODD_BODIES = [
    (endless, "larger than 1000 bytes"),
    (trickle, "not finished within 0.3 s"),
    (cut_off, "cut off in the middle"),
    (html, "HTML page"),
]


@pytest.mark.parametrize(("talk", "text"), ODD_BODIES)
async def test_odd_bodies_where_they_matter(
    speak: Speak, http: aiohttp.ClientSession, talk: Talk, text: str
) -> None:
    """Where the answer's words matter, words that cannot be had are a retry with the reason."""
    outcome = await one(Reading(Target(await speak(talk)), http, LOG))
    assert isinstance(outcome, Retry)
    assert text in outcome.reason


@pytest.mark.parametrize(("talk", "text"), ODD_BODIES)
async def test_odd_bodies_where_the_status_decides(
    speak: Speak, http: aiohttp.ClientSession, talk: Talk, text: str
) -> None:
    """Where the status decides, a success stays one: to send again would be to repeat."""
    assert await one(Single(Target(await speak(talk)), http, LOG)) == Delivered()


async def test_no_url(http: aiohttp.ClientSession) -> None:
    """What is no URL is a failure that points at the settings."""
    outcome = await one(Single(Target("http://"), http, LOG))
    assert isinstance(outcome, Failed)
    assert "settings" in outcome.reason


async def many(url: str, http: aiohttp.ClientSession) -> Many:
    destination = Many(Target(url), http, LOG)
    await destination.start()
    return destination


async def test_batches_by_count(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Events travel together up to the limit; mapping bugs and giants stay out, each alone."""
    sizes: list[int] = []

    async def take(request: web.Request) -> web.Response:
        sizes.append(len(await request.json()))
        return web.Response()

    batch = [*events(4), *events(1, bug=True), *events(1, text="x" * 300), *events(1)]
    outcomes = await (await many(await serve(take), http)).deliver(batch)
    assert [type(outcome) for outcome in outcomes] == [*[Delivered] * 4, Failed, Failed, Delivered]
    assert sorted(sizes) == [2, 3]


async def test_split_finds_the_bad_one(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A request refused as a whole is sent again singly, and only the bad event fails."""

    async def refuse_two(request: web.Request) -> web.Response:
        bad = any(event["n"] == 2 for event in await request.json())
        return web.Response(status=400 if bad else 200)

    outcomes = await (await many(await serve(refuse_two), http)).deliver(events(5))
    assert outcomes == [Delivered(), Delivered(), Failed("400"), Delivered(), Delivered()]


class Large(Many):
    """A hundred events a request."""

    name = "large"

    async def start(self) -> None:
        self.endpoint = Endpoint(self.settings.url, 100, 1_000_000)


async def test_split_takes_few_requests(serve: Serve, http: aiohttp.ClientSession) -> None:
    """One bad event of many is found by halves, and no event is sent where it was taken before."""
    sizes: list[int] = []
    taken: list[int] = []

    async def refuse_one(request: web.Request) -> web.Response:
        numbers = [event["n"] for event in await request.json()]
        sizes.append(len(numbers))
        if 37 in numbers:
            return web.Response(status=400)
        taken.extend(numbers)
        return web.Response()

    large = Large(Target(await serve(refuse_one)), http, LOG)
    await large.start()
    outcomes = await large.deliver(events(64))
    assert [n for n, outcome in enumerate(outcomes) if outcome != Delivered()] == [37]
    assert sorted(taken) == [n for n in range(64) if n != 37]
    assert sorted(sizes, reverse=True) == [64, 32, 32, 16, 16, 8, 8, 4, 4, 1, 1, 1, 1]


class Keyed(Many):
    """Items whose key the event says."""

    name = "keyed"

    def item(self, event: Event) -> Item | Outcome:
        item = super().item(event)
        return Item(item.endpoint, item.body, event["key"]) if isinstance(item, Item) else item


async def test_wrong_number_of_outcomes(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A reading of the answer that raises or miscounts is a retry of its request's events."""

    async def short(request: web.Request) -> web.Response:
        return web.json_response("short")

    outcomes = await (await many(await serve(short), http)).deliver(events(2))
    assert all(isinstance(outcome, Retry) for outcome in outcomes)
    assert "1 outcomes for 2 events" in str(outcomes[0])


async def test_equal_keys_go_one_after_the_other(serve: Serve, http: aiohttp.ClientSession) -> None:
    """No request holds two items of a key, the items of a key keep their order, others fill up."""
    seen: list[list[str]] = []

    async def take(request: web.Request) -> web.Response:
        events = await request.json()
        seen.append([event["key"] + str(event["n"]) for event in events])
        return web.json_response(["ok"] * len(events))

    many = Keyed(Target(await serve(take)), http, LOG)
    await many.start()
    events = [Event(b'{"key":"%s","n":%d}' % (key, n)) for n, key in enumerate([b"a", b"b", b"a"])]
    assert await many.deliver(events) == [Delivered()] * 3
    assert seen == [["a0", "b1"], ["a2"]]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ([Unauthorized("a"), Delivered(), Unauthorized("b")], None),
        ([Unauthorized("a"), Failed("no"), Unauthorized("b")], None),
        ([Unauthorized("a"), Unauthorized("b")], Unauthorized),
        ([Unauthorized("a", is_certain=True)], Unauthorized),
        ([Retry("a"), Retry("b")], None),
        ([Retry("a", cause=Cause.SETUP)], None),
        ([Retry("a", cause=Cause.SETUP), Retry("b", cause=Cause.SETUP)], Retry),
        ([Retry("a", 7.0)], Retry),
    ],
)
def test_what_holds_the_rest_of_a_deliver(said: list[Outcome], answer: type | None) -> None:
    """Retry-After, a token endpoint's word, and credentials that two in a row were refused for."""
    hold = Hold()
    for outcome in said:
        assert hold.seen(outcome) is outcome
    assert (hold.answer if answer is None else type(hold.answer)) is answer


async def test_a_revoked_key_is_not_tried_with_every_event(
    serve: Serve, http: aiohttp.ClientSession
) -> None:
    """Once two events in a row were refused, the others of the batch are not sent."""
    asked = 0

    async def refuse(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=401)

    single = Single(Target(await serve(refuse)), http, logging.getLogger())
    outcomes = await single.deliver(events(50))
    assert all(isinstance(outcome, Unauthorized) for outcome in outcomes)
    assert asked <= 2 + Single.concurrency
