"""A destination that speaks HTTP by `self.http`, as destinations of one's own do."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome, Retry


class Own(Destination):
    """One request an event; its status decides."""

    name = "own"
    hosts = ("{url}",)

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Where to."""

        url: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        return [await self._one(event) for event in events]

    async def _one(self, event: Event) -> Outcome:
        async with self.http.post(self.settings.url, data=event.raw) as answer:
            return Delivered() if answer.ok else Retry(f"{answer.status} {await answer.text()}")
