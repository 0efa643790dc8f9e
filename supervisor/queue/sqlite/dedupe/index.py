"""The deduplication index: which ids were accepted within the window.

Owns what is remembered, for how long, and what is forgotten when the byte
budget is full. Lives on the queue's writer thread and in its transactions;
must not know events, sources or what a repeat means to anyone.

New ids go to the *open segment*: a set in memory and one row of the log in
the caller's transaction. A segment that is full, or has been open for a
quarter of the window, is closed and, in slices, becomes a *run*: sorted rows on disk,
its ids leave memory. Runs belong to *generations*, each with one filter in
memory and all dropped at once. A look-up asks the sets, then the filters;
only where a filter says "maybe" does it read the disk, by the full key.

Times are epoch seconds of the service's clock. Where the clock goes back, the
newest time seen counts. An id is known for the window in force, and at times
up to a quarter of the window longer.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from supervisor.queue import DedupeStats
from supervisor.queue.sqlite.dedupe.disk import (
    RUN_ID_BYTES,
    Generation,
    IndexRows,
    SaveJob,
    SealJob,
    Segment,
    append_to_log,
    create,
    delete_slice,
    forget,
    has_key,
    hashes_of,
    log_of,
    new_filter,
    read,
)

#: Generations that share the window, and the budget: each costs 0.3 us for every new id,
#: and what the last one forgets at once is one part of so many.
GENERATIONS: Final = 4
#: Runs that share the budget, at least; ids that a segment may have however large the budget.
_RUNS: Final = 32
_MAX_SEGMENT_IDS: Final = 256 * 1024
_MIN_SEGMENT_IDS: Final = 64
#: Times the ids of the last generation that a new one is made for, when the last was full.
#: The first is made for one such part of the largest, and none for fewer than so many segments.
_GROWTH: Final = 4
#: Runs whose ids a start may have to read again, since no saved filter has them.
_UNSAVED_RUNS: Final = 4
_DISCARD_IDS: Final = 32 * 1024


class DedupeIndex:
    """Remembers ids (16-byte digests) for `window_s` seconds in `budget_bytes` of disk.

    All methods but `stats` are for the writer thread. Errors are those of sqlite3. After a
    COMMIT or ROLLBACK of which the outcome is not known, call `load` again.
    """

    def __init__(self, window_s: float, budget_bytes: int) -> None:
        self._window_s = window_s
        self._span_s = window_s / GENERATIONS
        self._budget_bytes = budget_bytes
        ids = budget_bytes // (RUN_ID_BYTES + 4)  # filters and the log beside the runs
        self._segment_ids = max(_MIN_SEGMENT_IDS, min(_MAX_SEGMENT_IDS, ids // _RUNS))
        self._generation_ids = max(self._segment_ids, ids // GENERATIONS)
        # A run is written before its part of the log is deleted, a filter before the last one.
        self._reserve_bytes = 2 * self._segment_ids * RUN_ID_BYTES + self._generation_ids * 2
        self._dropped = 0
        self._reset(0.0)

    def _reset(self, now: float) -> None:
        self._now = now
        self._forgotten = 0.0
        self._generations: list[Generation] = []
        self._segments: list[Segment] = []
        self._open = Segment(1)
        self._staged: dict[bytes, None] = {}
        self._staged_from = now
        self._held = 0
        self._garbage: deque[IndexRows] = deque()
        self._retired: list[dict[bytes, None]] = []
        self._job: SealJob | SaveJob | None = None

    # What the index is asked.

    def create(self, db: sqlite3.Connection) -> None:
        """Make the tables where they are missing."""
        create(db)

    def load(self, db: sqlite3.Connection, now: float) -> None:
        """Take up what is on disk. It may be called again; memory then follows the disk."""
        self._reset(now)
        stored = read(db)
        self._forgotten = stored.forgotten
        self._generations = stored.generations
        self._segments = stored.segments
        self._garbage.extend(stored.garbage)
        self._now = max(now, stored.forgotten, *(one.newest for one in self._kept()))
        last = self._segments[-1] if self._segments else None
        if (
            last is not None
            and last.id == stored.next_segment - 1
            and len(last.keys) < self._segment_ids
        ):
            last.is_closed = False
            self._open = last
        else:
            self._open = Segment(stored.next_segment)
            self._segments.append(self._open)
        self._count()

    def is_repeat(self, db: sqlite3.Connection, keys: Sequence[bytes], now: float) -> list[bool]:
        """For each key, whether it was staged before, or stands earlier in `keys`."""
        self._now = max(self._now, now)
        horizon = self._now - self._window_s
        distinct = set(keys)
        known: set[bytes] = set()
        current = [one.keys for one in self._segments if one.newest >= horizon]
        for recent in (self._staged, *current):
            if not recent.keys().isdisjoint(distinct):
                known |= recent.keys() & distinct
        generations = [one for one in self._generations if one.newest >= horizon]
        if generations and len(known) < len(distinct):
            hashes = hashes_of(b"".join(keys)).tolist()
            for generation in reversed(generations):
                might_be = generation.filter
                hits = [hashed for hashed in hashes if hashed in might_be]
                for key, hashed in zip(keys, hashes, strict=True) if hits else ():
                    if hashed in hits and key not in known and has_key(db, generation, key, hashed):
                        known.add(key)
        if not known and len(distinct) == len(keys):
            return [False] * len(keys)
        answers = []
        for key in keys:
            answers.append(key in known)
            known.add(key)
        self._dropped += sum(answers)
        return answers

    def stage(self, db: sqlite3.Connection, keys: Sequence[bytes], now: float) -> None:
        """Remember keys, within the caller's transaction."""
        if not keys:
            return
        self._now = max(self._now, now)
        append_to_log(db, self._open, self._open.rows, self._now, b"".join(keys))
        self._open.rows += 1
        if not self._staged:
            self._staged_from = self._now
        self._staged.update(dict.fromkeys(keys))

    def committed(self) -> None:
        """The caller's transaction is on disk."""
        if not self._staged:
            return
        segment = self._open
        before = len(segment.keys)
        if not before:
            segment.oldest = self._staged_from
        segment.newest = self._now
        segment.keys.update(self._staged)
        self._held += len(segment.keys) - before
        self._staged.clear()
        if len(segment.keys) >= self._segment_ids:
            self._close_segment()

    def rolled_back(self) -> None:
        """The caller's transaction has left nothing. Row numbers of the log stay used."""
        self._staged.clear()

    def stats(self) -> DedupeStats:
        """What is in force, from memory; from any thread."""
        return DedupeStats(
            window_s=max(0.0, min(self._window_s, self._now - self._forgotten)),
            ids=self._held,
            dropped=self._dropped,
        )

    # What it does in the background.

    def maintain(self, db: sqlite3.Connection, now: float) -> bool:
        """Do one slice of what is due (a few milliseconds); True where there is more.

        To be called between the caller's transactions: after each commit while it answers
        True, and every few seconds. Not calling it costs memory (100 bytes an id) and disk.
        """
        self._now = max(self._now, now)
        if self._open.keys and self._now - self._open.oldest >= self._span_s:
            self._close_segment()
        if self._garbage:
            self._delete(db)
        elif self._retired:
            self._discard()
        elif (victim := self._victim()) is not None:
            self._drop(db, victim)
        else:
            self._work(db)
        return bool(self._garbage or self._retired) or (
            self._victim() is not None or self._job is not None or self._has_job()
        )

    def checkpoint(self, db: sqlite3.Connection) -> None:
        """Save what makes the next start quick, in one go."""
        for rows in [one for one in self._garbage if one.table == "dedupe_filters"]:
            left: IndexRows | None = rows  # out of the way of the next version
            while left is not None:
                left = delete_slice(db, left)
            self._garbage.remove(rows)
        if isinstance(self._job, SaveJob):
            self._finish(db, self._job)
        for generation in self._generations:
            if generation.unsaved_runs:
                self._finish(db, SaveJob(generation))

    def _finish(self, db: sqlite3.Connection, job: SaveJob) -> None:
        while not job.step(db):
            pass
        self._saved(job)

    def _close_segment(self) -> None:
        self._open.is_closed = True
        self._open = Segment(self._open.id + 1)
        self._segments.append(self._open)

    def _delete(self, db: sqlite3.Connection) -> None:
        left = delete_slice(db, self._garbage[0])
        if left is None:
            self._garbage.popleft()
        else:
            self._garbage[0] = left

    def _discard(self) -> None:
        keys = self._retired[-1]  # freed at once it would stop the thread for 10 ms
        for _ in range(min(len(keys), _DISCARD_IDS)):
            keys.popitem()
        if not keys:
            self._retired.pop()

    def _victim(self) -> Segment | Generation | None:
        kept = self._kept()
        oldest = min(kept, key=attrgetter("newest"), default=None)
        if oldest is None or oldest.newest < self._now - self._window_s:
            return oldest
        used = sum(one.disk_bytes for one in kept)
        return oldest if used > self._budget_bytes - self._reserve_bytes else None

    def _kept(self) -> list[Segment | Generation]:
        return [*self._generations, *(one for one in self._segments if one.keys)]

    def _drop(self, db: sqlite3.Connection, victim: Segment | Generation) -> None:
        is_in_window = victim.newest >= self._now - self._window_s
        forgotten = max(self._forgotten, victim.newest) if is_in_window else self._forgotten
        rows = forget(db, victim, forgotten)
        self._forgotten = forgotten
        job = self._job
        if job is not None and (
            job.generation is victim or (isinstance(job, SealJob) and job.segment is victim)
        ):
            self._job = None
            if isinstance(job, SealJob):
                # Ahead of the log: as long as that is there, a restart looks for these.
                self._garbage.append(job.run.rows)
        self._garbage.extend(rows)
        if isinstance(victim, Generation):
            self._generations.remove(victim)
        else:
            if victim is self._open:
                self._close_segment()
            self._segments.remove(victim)
            self._retired.append(victim.keys)
        self._count()

    def _work(self, db: sqlite3.Connection) -> None:
        if self._job is None:
            self._job = self._next_job()
        job = self._job
        if job is None or not job.step(db):
            return
        self._job = None
        if isinstance(job, SaveJob):
            self._saved(job)
        else:
            self._sealed(job)

    def _sealed(self, job: SealJob) -> None:
        job.generation.add(job.run)
        self._segments.remove(job.segment)
        self._retired.append(job.segment.keys)
        self._garbage.append(log_of(job.segment))

    def _saved(self, job: SaveJob) -> None:
        if job.generation.version:
            self._garbage.append(job.generation.saved_filter(job.generation.version))
        job.generation.version = job.version
        job.generation.unsaved_runs -= job.runs
        if self._job is job:
            self._job = None

    def _next_job(self) -> SealJob | SaveJob | None:
        generation = self._to_save()
        if generation is not None:
            return SaveJob(generation)
        segment = self._to_seal()
        return None if segment is None else SealJob(segment, self._generation_for(segment))

    def _has_job(self) -> bool:
        return self._to_save() is not None or self._to_seal() is not None

    def _to_save(self) -> Generation | None:
        """A filter that will not change any more, or that has changed much."""
        for generation in self._generations:
            is_last = generation is self._generations[-1]
            if generation.unsaved_runs >= (_UNSAVED_RUNS if is_last else 1):
                return generation
        return None

    def _to_seal(self) -> Segment | None:
        """A closed segment. Small ones, closed by their age, stay in memory until they expire."""
        for segment in self._segments:
            if segment.is_closed and len(segment.keys) * 8 >= self._segment_ids:
                return segment
        return None

    def _generation_for(self, segment: Segment) -> Generation:
        """The newest generation, where it has room and is not too old for the segment."""
        last = self._generations[-1] if self._generations else None
        ids = len(segment.keys)
        if last is not None:
            is_full = last.ids + ids > last.capacity
            if not is_full and segment.newest - last.oldest < self._span_s:
                last.newest = max(last.newest, segment.newest)
                return last
            # Filters grow with the traffic, so that little of it takes little memory.
            capacity = last.capacity * _GROWTH if is_full else last.ids * 2
        else:
            capacity = self._generation_ids // _GROWTH
        capacity = max(capacity, self._segment_ids * _GROWTH)
        capacity = max(ids, min(capacity, self._generation_ids))
        number = last.id + 1 if last is not None else 1
        generation = Generation(number, capacity, new_filter(capacity))
        generation.oldest, generation.newest = segment.oldest, segment.newest
        self._generations.append(generation)
        return generation

    def _count(self) -> None:
        self._held = sum(one.ids for one in self._generations) + sum(
            len(one.keys) for one in self._segments
        )
