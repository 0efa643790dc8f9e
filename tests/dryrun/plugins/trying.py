"""Destinations to try: they raise, end their worker, talk, or speak to a server of the test's."""

from __future__ import annotations

import os
from collections.abc import Sequence

import aiohttp
import msgspec

from destinations.kit import (
    Delivered,
    Destination,
    Event,
    Outcome,
    PerEvent,
    Request,
    Retry,
)


class Raises(PerEvent):
    name = "raises"
    hosts = ("api.raises.example",)

    def request(self, event: Event) -> Request | Outcome:
        if event.user_id == "raise":
            return Request("https://api.raises.example/" + event["nothing"])
        return Request("https://api.raises.example/in")


class Exits(Destination):
    name = "exits"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        os._exit(7)


class Elsewhere(PerEvent):
    name = "elsewhere"
    hosts = ("api.elsewhere.example",)

    def request(self, event: Event) -> Request | Outcome:
        return Request("https://www.somebody-else.example/in")


class Talks(Destination):
    name = "talks"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        self.log.warning("token is %s", self.settings.token)
        return [Retry(f"no use for {self.settings.token}")] * len(events)

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        token: str


class Plain(PerEvent):
    """To a server of the test's."""

    name = "plain"
    hosts = ("{url}",)
    batch_events = 2

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        url: str
        api_key: str = "none"

    def request(self, event: Event) -> Request | Outcome:
        headers = {"Authorization": f"Bearer {self.settings.api_key}", "X-Team": "growth"}
        return Request(f"{self.settings.url}/in?who={event.user_id}", event.raw, headers)


class Hasty(Plain):
    """Has no patience."""

    name = "hasty"
    timeout_s = 3.0
    batch_events = 10


class ByHand(Plain):
    """The same by the session that destinations of one's own use; takes the status and no more."""

    name = "by-hand"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        return [await self._one(event) for event in events]

    async def _one(self, event: Event) -> Outcome:
        url = f"{self.settings.url}/in?who={event.user_id}"
        try:
            async with self.http.post(url, data=event.raw) as answer:
                return Delivered() if answer.ok else Retry(f"{answer.status}")
        except aiohttp.ClientError as error:
            return Retry(type(error).__name__)
