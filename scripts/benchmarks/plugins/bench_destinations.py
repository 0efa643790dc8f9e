"""Destinations that only exist to be measured.

Owns the work that stands for a destination; the same classes run in
Bulkhead's workers and in plain processes beside it. Must not do more per event
than its name says.
"""

from __future__ import annotations

import os
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
