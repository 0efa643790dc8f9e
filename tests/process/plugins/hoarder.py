"""A destination that keeps what it should not, and one that spins for a while."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome

HOARD: list[dict[str, object]] = []


class Hoarder(Destination):
    """Adds `objects` to a list for each event.

    Those called "Spin", "Wait" and "Die" do that, and "Gulp" wants a terabyte.
    """

    name = "hoarder"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`seconds` is how long a spin or a wait takes."""

        objects: int = 0
        seconds: float = 1.0

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for event in events:
            match event.event:
                case "Spin":
                    until = time.monotonic() + self.settings.seconds
                    while time.monotonic() < until:
                        pass
                case "Wait":
                    await asyncio.sleep(self.settings.seconds)
                case "Die":
                    os._exit(3)
                case "Gulp":
                    bytearray(1 << 40)
                case _:
                    HOARD.extend(
                        {"n": n, "text": f"hoarded {n}"} for n in range(self.settings.objects)
                    )
        return [Delivered() for _ in events]
