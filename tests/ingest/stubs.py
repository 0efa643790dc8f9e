"""A queue and metrics in memory, for tests of what the tracking API hands over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from supervisor.queue import DedupeStats, NewEvent, QueueStats


class MemoryIntake:
    """Keeps events in a list and knows repeats; `error` is raised instead where it is set."""

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.sources: list[str] = []
        self.error: Exception | None = None
        self.intake = "open"
        self.may_commit = asyncio.Event()
        self.may_commit.set()

    async def append(
        self, source: str, events: Sequence[NewEvent], received_at: float
    ) -> Sequence[bool]:
        """Take them once `may_commit` is set."""
        await self.may_commit.wait()
        if self.error is not None:
            raise self.error
        known = {event.message_id for event in self.events}
        fresh = [event.message_id not in known for event in events]
        self.events += [event for event, is_new in zip(events, fresh, strict=True) if is_new]
        self.sources += [source]
        return fresh

    def stats(self) -> QueueStats:
        """Healthy, but for `intake`."""
        return QueueStats(
            intake=self.intake,
            live_bytes=0,
            max_bytes=1,
            dead_letter_bytes=0,
            dead_letters_dropped=0,
            evicted=0,
            dedupe=DedupeStats(window_s=0, ids=0, dropped=0),
            commits=0,
            commit_seconds=0,
        )

    @property
    def stored(self) -> list[dict[str, Any]]:  # Any: events are JSON
        """The events as workers would read them."""
        return [msgspec.json.decode(event.body) for event in self.events]


class Counts:
    """Metrics as counters of their label values."""

    def __init__(self) -> None:
        self.by_name: Counter[tuple[str, ...]] = Counter()

    def received(self, source: str, type: str, n: int) -> None:
        """Valid events."""
        self.by_name["received", source, type] += n

    def rejected(self, source: str, reason: str, n: int) -> None:
        """Invalid events."""
        self.by_name["rejected", source, reason] += n

    def duplicate(self, source: str, n: int) -> None:
        """Repeats."""
        self.by_name["duplicate", source] += n
