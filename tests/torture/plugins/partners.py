"""Destinations of servers that misbehave: what most destinations are, and one that is careless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from destinations.kit import (
    JSON_HEADERS,
    Delivered,
    Destination,
    Event,
    Outcome,
    PerEvent,
    Request,
    Response,
)
from destinations.kit.tokens import Token, TokenSource


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url` takes the POSTs."""

    url: str


class Caller(PerEvent):
    """Posts each event to an API that answers `{"ok": true}`, through the kit."""

    name = "caller"
    hosts = ("{url}",)
    batch_events = 8
    Settings = _Settings

    def request(self, event: Event) -> Request | Outcome:
        return Request(self.settings.url, event.raw, JSON_HEADERS)

    def outcome(self, response: Response, event: Event) -> Outcome:
        if not response.is_success:
            return response.outcome()
        return Delivered() if response.json() == {"ok": True} else response.not_json()


class Trusting(Caller):
    """Asks for no more than a success."""

    name = "trusting"

    def outcome(self, response: Response, event: Event) -> Outcome:
        return Delivered() if response.is_success else response.outcome()


class Impatient(Caller):
    """The same with a second for each answer."""

    name = "impatient"
    timeout_s = 1.0


class Granted(Caller):
    """Asks for a token first, at the same place."""

    name = "granted"

    # Any: the kit's own signature.
    def __init__(self, settings: Any, http: Any, log: Any) -> None:
        super().__init__(settings, http, log)
        self._tokens = TokenSource(self._fetch)

    async def exchange(self, request: Request) -> Response | Outcome:
        send = super().exchange
        return await self._tokens.use(lambda _: send(request), lambda answer: answer.status == 401)

    async def _fetch(self) -> Token | Outcome:
        response = await super().exchange(Request(self.settings.url))
        if not isinstance(response, Response):
            return response
        return Token("a token") if response.is_success else response.outcome()


class Follower(Destination):
    """Uses its session as it comes, which follows redirects."""

    name = "follower"
    hosts = ("{url}",)
    batch_events = 8
    Settings = _Settings

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        body = b"[" + b",".join(event.raw for event in events) + b"]"
        async with self.http.post(self.settings.url, data=body) as answer:
            await answer.read()
        return [Delivered() for _ in events]
