"""A destination that keeps memory, works in much of it, or fills a library's cache."""

from __future__ import annotations

from collections.abc import Sequence

import keeper_library  # type: ignore[import-not-found]  # on plugin_paths
import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome


class Keeper(Destination):
    """Its settings say what it does at each event."""

    name = "keeper"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Bytes an event: kept in the instance, let go of at once, added to the library's cache.

        `buffered` are kept until there are 16 MiB of them.
        """

        kept: int = 0
        garbage: int = 0
        shared: int = 0
        buffered: int = 0

    async def start(self) -> None:
        self.kept: list[bytes] = []
        self.buffer = b""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for _ in events:
            garbage = b"." * self.settings.garbage
            del garbage
            if self.settings.kept:
                self.kept.append(b"." * self.settings.kept)
            if self.settings.shared:
                keeper_library.add(b"." * self.settings.shared)
            self.buffer += b"." * self.settings.buffered
            if len(self.buffer) > 16 * 1024 * 1024:
                self.buffer = b""
        return [Delivered()] * len(events)
