"""Counts and latencies by the minute, for each connection, each source and all together.

Owns what is booked: how far the books of each connection are in frames. Nothing is counted twice
here: a minute's frame is what the queue's own books, intake and the histogram of latencies have
moved by since the last one, so that frames add up to the books whatever happens in between: a
commit that failed, a kill, a file that is gone. Where nobody has counted, the difference is booked
into a frame of its own, marked as of a restart. It costs nothing by the event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from supervisor.insight import history
from supervisor.insight.disk import Disk, DiskUnavailable
from supervisor.insight.frames import (
    HOUR_S,
    MINUTE_S,
    NOTHING,
    RECEIVED,
    RETRIES,
    Counts,
    Frame,
    books_between,
    merged,
    minus,
    packed,
    plus,
    unpacked,
)
from supervisor.insight.history import ALL, CONNECTION, SOURCE, FrameRow, Key, Loaded
from supervisor.queue import Books, Counted
from supervisor.runtime.clock import Clock
from supervisor.telemetry.latencies import Sparse
from supervisor.telemetry.steps import in_steps

_EVERYTHING: Key = (ALL, "")
_NO_BOOKS = Books()
#: The gap of a file that was made anew: nobody knows how long nobody has counted.
_SHORTEST_GAP_S = 1


class Counting(Protocol):
    """What is asked of the queue."""

    def counted_together(self) -> Counted:
        """The books of all."""

    def counted_connections(self) -> Sequence[str]:
        """Names of all that the books count."""

    def counted(self, connection: str) -> Counted:
        """The books of one of them."""


class Ages(Protocol):
    """What is asked of the histogram of latencies, see `telemetry.latencies`."""

    def taken(self, connection: str) -> Sparse:
        """What came since the last time."""

    def recent(self, connection: str) -> Sparse:
        """The same, and it can be taken later."""


@dataclass(slots=True)
class SourceCounts:
    """What one source has sent since the start of the process."""

    received: int = 0
    rejected: int = 0
    repeats: int = 0

    def since(self, before: SourceCounts) -> Counts:
        """What came after that, as a frame counts it."""
        return (
            *NOTHING[:RECEIVED],
            self.received - before.received,
            self.rejected - before.rejected,
            self.repeats - before.repeats,
        )

    def copy(self) -> SourceCounts:
        """As it is now."""
        return SourceCounts(self.received, self.rejected, self.repeats)


class _Series:
    """One connection, or all: what of its books is in frames, and what is counted beside them.

    `unwritten` is a frame that the disk has not taken.
    """

    __slots__ = ("books", "replayed", "retries", "unwritten")

    def __init__(self, books: Books) -> None:
        self.books = books
        self.replayed = (0, 0)
        self.retries = 0
        self.unwritten: bytes | None = None

    def moved(self, counted: Counted, latency: Sparse, gap_s: int) -> Frame:
        """Since it was booked; `gap_s` where that was before a restart, and it has moved."""
        counts = books_between(self.books, counted, self.replayed)
        if self.retries:
            counts = plus(counts, (*NOTHING[:RETRIES], self.retries, *NOTHING[RECEIVED:]))
        frame = Frame(counts, counted.books.pending, 0, latency)
        if gap_s and counts != NOTHING:
            frame.gap_s = gap_s
        return frame if self.unwritten is None else merged((unpacked(self.unwritten), frame))

    def book(self, counted: Counted, frame: Frame) -> bytes:
        """It is in a frame now, which the disk is about to take: packed, as it takes little."""
        self.books, self.retries = counted.books, 0
        self.replayed = (counted.replayed_failed, counted.replayed_quarantined)
        self.unwritten = packed(frame)
        return self.unwritten


@dataclass(frozen=True, slots=True)
class Trend:
    """Frames of one series, `step_s` each, from `start` on; None where the service did not run.

    `reaches_back_to` is the oldest frame of that fineness, in epoch seconds. All times are.
    """

    start: int
    stop: int
    step_s: int
    reaches_back_to: int
    frames: Sequence[Frame | None]


class Trends:
    """Those of one service. For the event loop's thread."""

    def __init__(
        self,
        queue: Counting,
        ages: Ages,
        intake: Callable[[], Mapping[str, SourceCounts]],
        disk: Disk,
        clock: Clock,
        budget_bytes: int,
    ) -> None:
        self._queue = queue
        self._ages = ages
        self._intake = intake
        self._disk = disk
        self._clock = clock
        self.budget_bytes = budget_bytes
        self._series: dict[Key, _Series] = {}
        self._sources: dict[str, SourceCounts] = {}
        self._source_frames: dict[str, Frame] = {}
        self._until = 0.0
        self._gap_s = 0
        self.is_loaded = False
        self._is_booking = False
        self.is_writing = False
        self._epoch = 0
        self._hour: deque[tuple[int, Counts]] = deque(maxlen=HOUR_S // MINUTE_S)

    # --- counting ---

    def retried(self, connection: str, n: int) -> None:
        """`n` deliveries wait for another attempt."""
        self._of((CONNECTION, connection)).retries += n
        self._of(_EVERYTHING).retries += n

    def _of(self, key: Key) -> _Series:
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(_NO_BOOKS)
        return series

    # --- booking ---

    def begin(self, loaded: Loaded) -> None:
        """What an earlier run has booked; the first frames are the difference to that."""
        now = self._clock()
        for key, books in loaded.booked.items():
            self._of(key).books = books
        self._until = loaded.until
        self._gap_s = (
            max(_SHORTEST_GAP_S + 1, int(now - loaded.until)) if loaded.until else _SHORTEST_GAP_S
        )
        self._hour.extend(loaded.last_hour)
        self.is_loaded = True

    def begin_anew(self) -> None:
        """The file is empty: all that the books have is booked once more."""
        for series in self._series.values():
            series.books, series.replayed, series.unwritten = _NO_BOOKS, (0, 0), None
        has_books = self._queue.counted_together().books != _NO_BOOKS
        self._gap_s = _SHORTEST_GAP_S if has_books else 0
        self._epoch += 1
        self.is_loaded = True

    async def book(self, at: float) -> None:
        """Put what has moved since the last time into frames of the minute that `at` lies in.

        Others have their turn meanwhile. Where the disk is not done with the last ones, nothing is
        done: the next frames have it all.
        """
        if not self.is_loaded or self._is_booking or self.is_writing:
            return
        self._is_booking = True
        try:
            await self._book(at)
        finally:
            self._is_booking = False

    async def _book(self, at: float) -> None:
        now, epoch = self._clock(), self._epoch
        # Never before what is written already, which may be merged into coarser frames.
        minute = int(max(at, self._until) // MINUTE_S * MINUTE_S)
        gap_s, self._gap_s = self._gap_s, 0
        rows: list[FrameRow] = []
        booked: list[_Series] = []
        latencies: dict[int, int] = {}
        names = dict.fromkeys(self._queue.counted_connections())
        names.update((name, None) for kind, name in self._series if kind == CONNECTION)
        async for some in in_steps(list(names)):
            for name in some:
                series = self._of((CONNECTION, name))
                counted = self._queue.counted(name)
                taken = self._ages.taken(name)
                for slot, n in zip(taken[::2], taken[1::2], strict=True):
                    latencies[slot] = latencies.get(slot, 0) + n
                frame = series.moved(counted, taken, gap_s)
                if not frame.is_empty:
                    rows.append(
                        FrameRow(CONNECTION, name, series.book(counted, frame), counted.books)
                    )
                    booked.append(series)
        if epoch != self._epoch:
            return  # the file is another one since: what was booked is void
        counts = NOTHING
        for name, intake in self._intake().items():
            moved = intake.since(self._sources.get(name) or SourceCounts())
            if moved != NOTHING:
                counts = plus(counts, moved)
                self._sources[name] = intake.copy()
                self._source_frames[name] = _with(self._source_frames.get(name), Frame(moved))
        rows += [
            FrameRow(SOURCE, name, packed(frame), None)
            for name, frame in self._source_frames.items()
        ]
        rows.append(self._everything(minute, gap_s, counts, latencies, booked))
        self.is_writing = True
        self._disk.soon(
            partial(history.write, minute=minute, until=now, rows=rows),
            lambda _: self._written(booked, now),
            lambda reason: self._not_written(),
        )

    def _everything(
        self,
        minute: int,
        gap_s: int,
        intake: Counts,
        latencies: Mapping[int, int],
        booked: list[_Series],
    ) -> FrameRow:
        """Of all together; it is written each minute, so that its absence is a gap."""
        series = self._of(_EVERYTHING)
        counted = self._queue.counted_together()
        latency = [each for slot in sorted(latencies) for each in (slot, latencies[slot])]
        frame = series.moved(counted, latency, gap_s)
        frame = _with(frame, Frame(intake, frame.depth))
        if gap_s == 0 or _SHORTEST_GAP_S < gap_s < HOUR_S:  # else nobody knows when it was
            last = NOTHING if series.unwritten is None else unpacked(series.unwritten).counts
            self._hour.append((minute, minus(frame.counts, last)))
        booked.append(series)
        return FrameRow(ALL, "", series.book(counted, frame), counted.books)

    def _written(self, booked: Sequence[_Series], until: float) -> None:
        for series in booked:
            series.unwritten = None
        self._source_frames.clear()
        self._until = until
        self.is_writing = False

    def _not_written(self) -> None:
        """It goes with the next frames."""
        self.is_writing = False

    # --- reading ---

    def last_hour(self) -> tuple[int, Counts]:
        """Since when (epoch seconds, an hour ago at most), and what all together did since."""
        now = self._clock()
        counts = self._live(_EVERYTHING).counts
        since = int(now)
        for minute, frame in self._hour:
            if minute > now - HOUR_S:
                since = min(since, minute)
                counts = plus(counts, frame)
        return since, counts

    def _live(self, key: Key) -> Frame:
        """What has moved since it was booked."""
        kind, name = key
        if kind == SOURCE:
            intake, before = self._intake().get(name), self._sources.get(name)
            frame = Frame() if intake is None else Frame(intake.since(before or SourceCounts()))
            return _with(self._source_frames.get(name), frame)
        series = self._series.get(key) or _Series(_NO_BOOKS)
        if kind == CONNECTION:
            return series.moved(self._queue.counted(name), self._ages.recent(name), self._gap_s)
        counted = self._queue.counted_together()
        frame = series.moved(counted, [], self._gap_s)
        for source, intake in self._intake().items():
            frame = _with(
                frame, Frame(intake.since(self._sources.get(source) or SourceCounts()), frame.depth)
            )
        return frame

    def knows(self, connection: str) -> bool:
        """Whether anything was ever counted of it."""
        return (CONNECTION, connection) in self._series

    async def read(self, key: Key, start: int, stop: int, step_s: int) -> Trend:
        """Frames that begin in [start, stop), what is not booked yet in the last one.

        Raises DiskUnavailable where nothing can be read.
        """
        if not self.is_loaded:
            # Without what is booked nobody knows what is not.
            raise DiskUnavailable(self._disk.trouble or "what an earlier run kept is being read")
        start, stop = start // step_s * step_s, min(stop, int(self._clock()) + 1)
        # What is not booked is looked at with what is, or a minute might be in neither, or in both.
        return await self._disk.ask_then(
            partial(history.read, key=key, start=start, stop=stop, step_s=step_s),
            partial(self._trend, key, start, stop, step_s),
        )

    def _trend(
        self, key: Key, start: int, stop: int, step_s: int, found: history.FramesRead
    ) -> Trend:
        now = self._clock()
        current = int(max(now, self._until)) // step_s * step_s
        frames = dict(found.frames)
        if start <= current < stop:
            frames[current] = _with(frames.get(current), self._live(key))
        reaches = current if found.reaches_back_to is None else found.reaches_back_to
        first = min(max(start, reaches // step_s * step_s), stop)
        return Trend(
            first,
            stop,
            step_s,
            reaches,
            [
                frames.get(at) or (Frame() if at in found.known or at == current else None)
                for at in range(first, stop, step_s)
            ],
        )


def _with(frame: Frame | None, more: Frame) -> Frame:
    return more if frame is None else merged((frame, more))


__all__ = ["DiskUnavailable", "SourceCounts", "Trend", "Trends"]
