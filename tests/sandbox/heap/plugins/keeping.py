"""Destinations that keep what they have seen, each in another place of this module or beside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import held_by_all  # type: ignore[import-not-found]  # on plugin_paths

from destinations.kit import Delivered, Destination, Event, Outcome

#: Bytes that are kept of each event.
PORTION = 100_000


class Keeping(Destination):
    """Calls `keep` for each event."""

    name = "keeping"
    batch_events = 100

    def keep(self, portion: bytearray) -> None:
        """Do not let go of it."""
        raise NotImplementedError

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for _ in events:
            self.keep(bytearray(PORTION))
        return [Delivered()] * len(events)


class InInstance(Keeping):
    """An attribute of the instance."""

    name = "in-instance"

    async def start(self) -> None:
        self.seen: dict[int, object] = {}

    def keep(self, portion: bytearray) -> None:
        self.seen[len(self.seen)] = [portion]


class InClosure(Keeping):
    """A variable of a function that was made for the instance."""

    name = "in-closure"

    async def start(self) -> None:
        self.add = counting()

    def keep(self, portion: bytearray) -> None:
        self.add(portion)


def counting() -> Callable[[object], None]:
    """A function with a list of its own."""
    seen: list[object] = []

    def add(one: object) -> None:
        seen.append(one)

    return add


class InTasks(Keeping):
    """Tasks that never end, which only the event loop holds by way of a future."""

    name = "in-tasks"

    def keep(self, portion: bytearray) -> None:
        asyncio.get_running_loop().create_task(wait(portion))


WAITING: set[object] = set()


async def wait(portion: bytearray) -> None:
    """For ever."""
    future = asyncio.get_running_loop().create_future()
    WAITING.add(future)
    await future
    portion.clear()


class InTimers(Keeping):
    """Timers that nobody cancels."""

    name = "in-timers"

    def keep(self, portion: bytearray) -> None:
        asyncio.get_running_loop().call_later(3600, portion.clear)


class InLibrary(Keeping):
    """The standard library holds it."""

    name = "in-library"

    def keep(self, portion: bytearray) -> None:
        logging.getLogger("partner").__dict__.setdefault("seen", []).append(portion)


class InShared(Keeping):
    """A cache that other destinations use, too."""

    name = "in-shared"

    def keep(self, portion: bytearray) -> None:
        held_by_all.CACHE.append(portion)
