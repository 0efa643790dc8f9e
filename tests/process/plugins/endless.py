"""A destination whose worker's heap, once it is asked for, has no end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome
from sandbox.heap import snapshot


def _write(descriptor: int, *_: Any, **__: Any) -> None:
    """Any: whatever an honest one is told."""
    while True:
        os.write(descriptor, bytes(1 << 20))


snapshot.write = _write  # type: ignore[assignment]  # that is its habit


class Endless(Destination):
    """Delivers everything."""

    name = "hoarder"

    class Settings(msgspec.Struct, frozen=True):
        """As the hoarder's."""

        objects: int = 0

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        return [Delivered() for _ in events]
