"""Conversations: several requests an event, events of one record in order."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from unittest import mock

import aiohttp
import msgspec
import pytest
from aiohttp import web

from destinations.kit import (
    Delivered,
    Event,
    Failed,
    Outcome,
    Request,
    Retry,
    Steps,
    Stepwise,
    Unsupported,
)
from destinations.kit.stepwise import MAX_STEPS
from tests.harness.vendors import event_of

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
LOG = logging.Logger("test")


class Target(msgspec.Struct, frozen=True):
    """Where to send."""

    url: str


class Talker(Stepwise):
    """Asks as many times as the event says, and has the bugs that it wants."""

    name = "talker"
    Settings = Target

    def key(self, event: Event) -> str | None:
        if event.get("bug") == "key":
            raise KeyError("key")
        return event.user_id

    def steps(self, event: Event) -> Steps | Outcome:
        if event.type == "alias":
            return Unsupported()
        if event.get("bug") == "steps":
            raise KeyError("steps")
        return self._talk(event)

    def _talk(self, event: Event) -> Steps:
        if event.get("bug") == "first":
            raise KeyError("first")
        for n in range(event.get("times", 1)):
            response = yield Request(f"{self.settings.url}/{event.get('n', 0)}/{n}")
            if event.get("bug") == "second":
                raise KeyError("second")
            if not response.is_success:
                return response.outcome()
        return Delivered()


async def said(url: str, http: aiohttp.ClientSession, *events: Event) -> list[Outcome]:
    return list(await Talker(Target(url), http, LOG).deliver(events))


async def test_order_within_a_key(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Events of one key go one after the other, each with all its requests; others between them."""
    seen: list[str] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response()

    events = [event_of(type="track", userId="u" if n % 2 else "v", n=n, times=2) for n in range(6)]
    assert await said(await serve(take), http, *events) == [Delivered()] * 6
    for parity in (0, 1):
        own = [path for path in seen if int(path[1]) % 2 == parity]
        assert own == [f"/{n}/{step}" for n in range(parity, 6, 2) for step in (0, 1)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "alias"}, Unsupported()),
        ({"bug": "steps"}, "mapping raised KeyError: 'steps' at test_stepwise.py:"),
        ({"bug": "first"}, "mapping raised KeyError: 'first' at test_stepwise.py:"),
        ({"bug": "second"}, "reading the answer raised KeyError: 'second' at test_stepwise.py:"),
        ({"bug": "key"}, Delivered()),
        ({"times": 0}, Delivered()),
        ({"times": MAX_STEPS}, Delivered()),
        ({"times": MAX_STEPS + 1}, Retry(f"gave up after {MAX_STEPS} requests")),
    ],
)
async def test_each_event_alone(
    serve: Serve,
    http: aiohttp.ClientSession,
    fields: dict[str, object],
    expected: Outcome | str,
) -> None:
    """A conversation that raises, or never ends, is the end of its own event only."""

    async def take(request: web.Request) -> web.Response:
        return web.Response()

    first, second = await said(await serve(take), http, event_of(**fields), event_of(n=1))
    assert second == Delivered()
    if isinstance(expected, str):
        assert isinstance(first, (Failed, Retry))
        assert first.reason.startswith(expected)
    else:
        assert first == expected


async def test_more_steps(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A destination whose conversations are longer says how long."""

    async def take(request: web.Request) -> web.Response:
        return web.Response()

    url = await serve(take)
    with mock.patch.object(Talker, "most_steps", MAX_STEPS + 1):
        [outcome] = await said(url, http, event_of(times=MAX_STEPS + 1))
    assert outcome == Delivered()


async def test_no_answer(http: aiohttp.ClientSession) -> None:
    """A request that gets no answer ends its event with the reason."""
    (outcome,) = await said("http://127.0.0.1:1", http, event_of(n=1))
    assert isinstance(outcome, Retry)
    assert "no connection" in outcome.reason
