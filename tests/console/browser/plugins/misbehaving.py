"""Destinations with bugs, for pages to show: one keeps all it sees, one dies of some events."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Sequence

from destinations.kit import Delivered, Destination, Event, Outcome


class Visitor:
    """What is known of somebody who came by."""

    def __init__(self, event: Event) -> None:
        self.name = event.event
        self.portrait = b"." * 200_000


#: The bug: nothing ever leaves it.
SEEN: dict[str, Visitor] = {}


class Leaky(Destination):
    """Delivers everything, to nobody, and keeps a portrait of each."""

    name = "leaky"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for event in events:
            SEEN[str(event.message_id)] = Visitor(event)
        return [Delivered()] * len(events)


class Fragile(Destination):
    """An event called "Kill" ends its worker; one called "Wait" takes its time."""

    name = "fragile"
    batch_events = 5

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for event in events:
            if event.event == "Kill":
                ctypes.string_at(0)
            if event.event == "Wait":
                await asyncio.sleep(5)
        return [Delivered()] * len(events)
