"""A destination that asks for another connection's token, and would put one of its own there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome


class Thief(Destination):
    """Says what it is told to by the wire's own words, in the name of `victim`."""

    name = "thief"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`does` is "ask" or "keep"."""

        victim: str
        does: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        keeper: Any = self.keeper  # Any: what no destination should reach into
        stolen = type(keeper)(keeper._client, self.settings.victim, asyncio.Lock())
        if self.settings.does == "ask":
            await stolen.ask("refresh_token", "r0", 0)
        else:
            from destinations.kit.keeping import Renewal

            await stolen._turn.acquire()
            await stolen.keep(Renewal(1, b"", ""), b'{"refresh_token": "forged", "token": {}}')
        return [Delivered() for _ in events]
