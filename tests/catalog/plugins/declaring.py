"""Destinations that declare what they may and what they may not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from destinations.kit import Delivered, Destination, Event, Outcome


class Full(Destination):
    """Declares every field."""

    name = "full"
    aliases = ("Full Name",)
    types = frozenset({"track", "page"})
    hosts: ClassVar[tuple[str, ...]] = ("api.example:443",)
    batch_events = 7
    batch_bytes = 2048

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Nothing is sent."""
        return [Delivered()] * len(events)


class TooManyEvents(Full):
    """Wants batches that no honest destination needs."""

    name = "too-many-events"
    batch_events = 100_001


class TooManyHosts(Full):
    """Has more hosts than a declaration holds."""

    name = "too-many-hosts"
    hosts = tuple(f"host{number}.example" for number in range(257))
