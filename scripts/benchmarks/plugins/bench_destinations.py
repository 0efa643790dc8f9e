"""Destinations that only exist to be measured.

Owns the work that stands for a destination; the same classes run in
Bulkhead's workers and in plain processes beside it. Must not do more per event
than its name says.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Sequence

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome


class Count(Destination):
    """Counts events and is content."""

    name = "bench-count"
    batch_events = 100

    count = 0

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Everything is delivered."""
        self.count += len(events)
        return [Delivered()] * len(events)


class Burn(Destination):
    """Keeps a core busy for a while for each event."""

    name = "bench-burn"
    batch_events = 100

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`cpu_us`: CPU time an event, in microseconds."""

        cpu_us: float

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Everything is delivered, once its CPU time is spent."""
        settings = self.settings
        assert isinstance(settings, Burn.Settings)
        # CPU time and not wall time: waiting for a core must not count as work.
        until = time.thread_time()
        for _ in events:
            until += settings.cpu_us / 1e6
            while time.thread_time() < until:
                pass
        return [Delivered()] * len(events)


class Stamp(Destination):
    """Writes down when each batch started, and in which process."""

    name = "bench-stamp"
    batch_events = 10

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`path`: a file that gets one line a batch, `MONOTONIC_NS PID`."""

        path: str

    async def start(self) -> None:
        """Open the file; appends of one line are atomic."""
        settings = self.settings
        assert isinstance(settings, Stamp.Settings)
        self._file = os.open(settings.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Everything is delivered."""
        os.write(self._file, b"%d %d\n" % (time.monotonic_ns(), os.getpid()))
        return [Delivered()] * len(events)


class Heavy(Destination):
    """Holds a large heap, and knows how long its loop stood still at worst since it was asked."""

    name = "bench-heavy"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`objects`: dictionaries of three entries and their values, some 250 bytes each."""

        objects: int

    async def start(self) -> None:
        """Fill the heap, and begin to look at the clock."""
        settings = self.settings
        assert isinstance(settings, Heavy.Settings)
        self.heap = [
            {"n": n, "name": f"object {n}", "at": float(n)} for n in range(settings.objects)
        ]
        self.longest_s = 0.0
        self.looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.0005)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - before - 0.0005)
            before = now

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """`Ask` logs the longest stop and begins anew; `Guppy` and `Gc` dump in this process."""
        for event in events:
            match event.event:
                case "Ask":
                    self.log.info("longest stop %.6f", self.longest_s)
                    self.longest_s = 0.0
                case "Guppy":
                    import guppy

                    str(guppy.hpy().heap())
                case "Gc":
                    _dump_by_gc()
                case _:
                    pass  # traffic
        return [Delivered()] * len(events)


def _dump_by_gc() -> int:
    """What dumpers on top of `gc` do: all objects that it knows, with size, class and referents."""
    size = 0
    for thing in gc.get_objects():
        line = (
            f"{id(thing)} {type(thing).__name__} {sys.getsizeof(thing)} "
            f"{[id(other) for other in gc.get_referents(thing)]}"
        )
        size += len(line)
    return size
