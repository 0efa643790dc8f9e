"""Another destination that uses the library of `keeper`."""

from __future__ import annotations

from collections.abc import Sequence

import keeper_library  # type: ignore[import-not-found]  # on plugin_paths

from destinations.kit import Delivered, Destination, Event, Outcome


class KeeperToo(Destination):
    """Adds a megabyte an event to the library's cache."""

    name = "keeper-too"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for _ in events:
            keeper_library.add(b"." * 1_000_000)
        return [Delivered()] * len(events)
