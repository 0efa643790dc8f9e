"""A destination with a bug, for the demonstration: it remembers whatever it has seen.

Watch what that costs: its own worker, now and then, and its neighbours nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from destinations.kit import Delivered, Destination, Event, Outcome


class Visitor:
    """What is known of somebody who came by."""

    def __init__(self, event: Event) -> None:
        self.name = event.name
        self.events: list[dict[str, Any]] = [dict(event)]  # Any: JSON
        self.portrait = b"." * 300_000


#: The bug: nothing ever leaves it.
SEEN: dict[str, Visitor] = {}


class Leaky(Destination):
    """Delivers everything, to nobody, and keeps a portrait of each."""

    name = "leaky"
    batch_events = 10

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for event in events:
            SEEN[str(event.message_id)] = Visitor(event)
        return [Delivered()] * len(events)
