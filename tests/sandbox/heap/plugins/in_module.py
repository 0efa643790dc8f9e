"""A destination that keeps what it has seen in globals of its module, and in other places of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

import beside_module  # type: ignore[import-not-found]  # on plugin_paths
import held_by_all  # type: ignore[import-not-found]  # on plugin_paths

from destinations.kit import Delivered, Destination, Event, Outcome

PORTION = 100_000
SEEN: list[object] = []


class Client:
    """A list that all have, where each was to have its own."""

    answers: ClassVar[list[object]] = []


def collect(portion: object, into: list[object] = []) -> None:  # noqa: B006 - the bug
    """Keep it in a default."""
    into.append(portion)


@functools.cache
def enriched(number: int) -> bytearray:
    """A cache without a limit."""
    return bytearray(PORTION)


class InModule(Destination):
    """Keeps the first fifth in a global, the next in a class, and so on."""

    name = "in-module"
    batch_events = 100

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for number, event in enumerate(events):
            match number % 5:
                case 0:
                    SEEN.append((event, bytearray(PORTION)))
                case 1:
                    Client.answers.append(bytearray(PORTION))
                case 2:
                    collect(bytearray(PORTION))
                case 3:
                    enriched(number)
                case _:
                    beside_module.KEPT.append(bytearray(PORTION))
        held_by_all.CACHE.append(None)
        return [Delivered()] * len(events)
