"""What was sent and answered in an attempt that failed: what is told, and what is left out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import msgspec
import pytest
from aiohttp import web

from destinations.kit import (
    Batched,
    Delivered,
    Endpoint,
    Event,
    Failed,
    Item,
    Outcome,
    PerEvent,
    Request,
    Response,
    Split,
    Steps,
    Stepwise,
)
from destinations.kit.exchanged import LEFT_OUT, Credentials, current_exchanged
from destinations.kit.requests import gzipped
from destinations.kit.tokens import Token, TokenSource

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
LOG = logging.Logger("test")


class Target(msgspec.Struct, frozen=True):
    """Where to send."""

    url: str


class Heard:
    """Implements `Exchanged`."""

    def __init__(self) -> None:
        self.told: list[tuple[Outcome, Request, Response | Outcome]] = []

    def __call__(self, outcome: Outcome, request: Request, said: Response | Outcome) -> None:
        self.told.append((outcome, request, said))

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for _, request, _ in self.told]


@pytest.fixture
def heard() -> Heard:
    """Who hears in this test's context."""
    listener = Heard()
    current_exchanged.set(listener)
    return listener


def events(*names: str) -> list[Event]:
    return [Event(json.dumps({"type": "track", "event": name}).encode()) for name in names]


async def by_name(request: web.Request) -> web.Response:
    """400 where the body has "bad" in it."""
    body = await request.read()
    return web.Response(status=400 if b"bad" in body else 200, text=f"got {len(body)}")


class Single(PerEvent):
    """Posts each event."""

    name = "single"
    concurrency = 1
    Settings = Target

    def request(self, event: Event) -> Request | Outcome:
        if event.get("event") == "unsendable":
            return Failed("bad mapping")
        return Request(self.settings.url, event.raw)


async def test_a_failed_attempt_is_told_with_its_own_exchange_and_no_other(
    serve: Serve, http: aiohttp.ClientSession, heard: Heard
) -> None:
    """What was delivered is not told, nor what made no request after one that did."""
    single = Single(Target(await serve(by_name)), http, LOG)
    sent = events("good", "bad 1", "unsendable", "good", "bad 2")
    outcomes = await single.deliver(sent)
    assert heard.bodies == [sent[1].raw, sent[4].raw]
    assert [told[0] for told in heard.told] == [outcomes[1], outcomes[4]]
    assert heard.told[0][0] is outcomes[1]
    answer = heard.told[0][2]
    assert isinstance(answer, Response)
    assert answer.status == 400


async def test_nothing_is_told_where_nobody_listens(
    serve: Serve, http: aiohttp.ClientSession
) -> None:
    single = Single(Target(await serve(by_name)), http, LOG)
    (outcome,) = await single.deliver(events("bad"))
    assert isinstance(outcome, Failed)


async def test_a_request_without_an_answer_is_told_with_its_outcome(
    http: aiohttp.ClientSession, heard: Heard
) -> None:
    (outcome,) = await Single(Target("http://127.0.0.1:1/"), http, LOG).deliver(events("any"))
    ((told, request, said),) = heard.told
    assert told is said is outcome
    assert request.url == "http://127.0.0.1:1/"


class Several(Batched):
    """Posts events together, compressed."""

    name = "several"
    concurrency = 1
    Settings = Target

    def item(self, event: Event) -> Item | Outcome:
        endpoint = self.__dict__.setdefault(
            "endpoint", Endpoint(self.settings.url, 100, 10_000, gzip=True)
        )
        return Item(endpoint, event.raw)

    def outcomes(
        self, response: Response, endpoint: Endpoint, count: int
    ) -> Sequence[Outcome] | Outcome | Split:
        if response.is_success:
            return Delivered()
        by_item = response.headers.get("By-Item")
        if not by_item:
            return response.outcome()
        return [
            Failed(f"item {n}") if mark == "x" else Delivered() for n, mark in enumerate(by_item)
        ]


async def test_of_a_request_of_many_events_each_failed_one_is_told_with_its_own_item(
    serve: Serve, http: aiohttp.ClientSession, heard: Heard
) -> None:
    """As it would be alone, and uncompressed."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=400, headers={"By-Item": "-x-xxx"})

    sent = events(*"abcdef")
    outcomes = await Several(Target(await serve(handler)), http, LOG).deliver(sent)
    assert heard.bodies == [b"[%b]" % sent[index].raw for index in (1, 3, 4)]
    assert [told[0] for told in heard.told] == [outcomes[index] for index in (1, 3, 4)]
    assert gzipped(heard.bodies[0]) != heard.bodies[0]


async def test_one_outcome_of_many_events_is_told_once(
    serve: Serve, http: aiohttp.ClientSession, heard: Heard
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=503)

    sent = events(*"abc")
    outcomes = await Several(Target(await serve(handler)), http, LOG).deliver(sent)
    assert heard.bodies == [b"[%b]" % sent[0].raw]
    assert heard.told[0][0] is outcomes[0]


class Talk(Stepwise):
    """Two requests an event."""

    name = "talk"
    concurrency = 1
    Settings = Target

    def steps(self, event: Event) -> Steps | Outcome:
        yield Request(f"{self.settings.url}/first", b"good")
        response = yield Request(f"{self.settings.url}/second", event.raw)
        return response.outcome()


async def test_of_a_conversation_the_last_request_is_told(
    serve: Serve, http: aiohttp.ClientSession, heard: Heard
) -> None:
    url = await serve(by_name)
    await Talk(Target(url), http, LOG).deliver(events("good", "bad"))
    assert [request.url for _, request, _ in heard.told] == [f"{url}/second"]


class Tokened(Single):
    """Needs a token, which is refused."""

    def __init__(self, settings: Target, http: aiohttp.ClientSession, log: logging.Logger) -> None:
        super().__init__(settings, http, log)
        self.tokens: TokenSource[Token] = TokenSource(self._fetch)

    async def exchange(self, request: Request) -> Response | Outcome:
        return await self.tokens.use(lambda token: super(Tokened, self).exchange(request), _never)

    async def _fetch(self) -> Token | Outcome:
        said = await super().exchange(Request(f"{self.settings.url}/token", b"secret=bad"))
        return said.outcome() if isinstance(said, Response) else said


def _never(response: Response) -> bool:
    return False


async def test_the_request_for_a_token_is_never_told(
    serve: Serve, http: aiohttp.ClientSession, heard: Heard
) -> None:
    """It is made of credentials, and its answer may be one."""
    tokened = Tokened(Target(await serve(by_name)), http, LOG)
    (outcome,) = await tokened.deliver(events("any"))
    assert isinstance(outcome, Failed)
    assert heard.told == []


async def test_senders_that_run_at_once_tell_each_its_own(
    serve: Serve, http: aiohttp.ClientSession, heard: Heard
) -> None:
    waiting = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        body = await request.read()
        if b"slow" in body:
            await waiting.wait()
        else:
            waiting.set()
        return web.Response(status=400, body=body)

    class Two(Single):
        concurrency = 2

    await Two(Target(await serve(handler)), http, LOG).deliver(events("slow", "quick"))
    assert len(heard.told) == 2
    for _, request, said in heard.told:
        assert isinstance(said, Response)
        assert said.body == request.body


# --- credentials ---

SECRET = 'Zq7/x"Kw+9v é'
OUT = Credentials(
    {
        "url": "https://hooks.example/services/T01/Zq7xKw9v",
        "api_secret": SECRET,
        "list": [{"id": "list-4711"}],
        "n": 5,
        "short": "ab",
    }
)


def test_headers_of_authentication_and_of_settings_are_left_out() -> None:
    headers = {
        "Authorization": "Bearer abc",
        "Cookie": "a=b",
        "X-Api-Key": "k",
        "X-Signature": "sha1=12",
        "X-From-Settings": SECRET,
        "Content-Type": "application/json",
        "Author": "Ann",
    }
    assert OUT.headers(headers) == {
        "Authorization": f"Bearer {LEFT_OUT}",
        "Cookie": LEFT_OUT,
        "X-Api-Key": LEFT_OUT,
        "X-Signature": LEFT_OUT,
        "X-From-Settings": LEFT_OUT,
        "Content-Type": "application/json",
        "Author": "Ann",
    }


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://hooks.example/services/T01/Zq7xKw9v", f"https://hooks.example/{LEFT_OUT}"),
        (
            "https://hooks.example/services/T01/Zq7xKw9v/sub?n=1",
            f"https://hooks.example/{LEFT_OUT}/sub?n=1",
        ),
        ("https://u:p@x.example:8/a", "https://x.example:8/a"),
        (
            "https://x.example/l/list-4711?api_key=1&n=2&v=list%2D4711&debug",
            f"https://x.example/l/{LEFT_OUT}?api_key={LEFT_OUT}&n=2&v={LEFT_OUT}&debug",
        ),
        ("not a url", LEFT_OUT),
    ],
)
def test_urls_lose_what_settings_fed(url: str, told: str) -> None:
    assert OUT.url(url) == told


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_bodies_lose_fields_that_settings_fed_and_fields_of_credentials(
    ensure_ascii: bool,
) -> None:
    body = {
        "fed": SECRET,
        "deep": [{"list": "list-4711", "access_token": "t", "text": "list-4711 and more"}],
        "n": 1,
    }
    text = json.dumps(body, ensure_ascii=ensure_ascii).encode()
    left = json.loads(OUT.body(text))
    assert left == {
        "fed": LEFT_OUT,
        "deep": [{"list": LEFT_OUT, "access_token": LEFT_OUT, "text": "list-4711 and more"}],
        "n": 1,
    }
    assert OUT.body(b"a=1&client_secret=x&b=list-4711") == (
        f"a=1&client_secret={LEFT_OUT}&b={LEFT_OUT}".encode()
    )
    assert OUT.body(b"\xff\x00") == b"\xff\x00"
