"""The queue's state in memory as a whole, and how commits and reads change it.

Owns all lanes, the chunks that are loaded, the payload cache and the sizes.
It changes on the event loop's thread only. Must not do I/O or know SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add

from supervisor.queue import Delivery
from supervisor.queue.sqlite.backlog import (
    LOADED,
    LOADED_RETRIES,
    RETRY_WINDOW,
    TIGHT_RETRY_WINDOW,
    TIGHT_WINDOW,
    WINDOW,
    Chunk,
    Due,
    Lane,
    RetryRow,
    Share,
)
from supervisor.queue.sqlite.eviction import Compacted, Evicted
from supervisor.queue.sqlite.journal import Deltas, Journal, Stored
from supervisor.queue.sqlite.schema import COUNTERS

#: Payload bytes that are kept in memory, so that what is delivered at once is never read.
CACHE_BYTES = 32 * 1024 * 1024


@dataclass(slots=True)
class LoadedShare:
    """One connection's part of a chunk, as it was on disk."""

    connection: int
    route: int
    done: int
    unsupported: int
    moved: int


@dataclass(slots=True)
class LoadedChunk:
    """A chunk without its payload, as it was on disk."""

    id: int
    count: int
    received: float
    size: int
    shares: list[LoadedShare]


@dataclass(slots=True)
class Page:
    """The next chunks, each with the connections that take it.

    `cursors` is how far was looked for each connection.
    """

    chunks: list[tuple[LoadedChunk, set[int]]]
    cursors: dict[int, int]


@dataclass(slots=True)
class Memory:
    """Everything that is known without reading. `live_bytes` and `retry_bytes` are on disk.

    `shares` are those of the chunks in memory. `unwritten` are retries that the disk
    does not have like this yet, `ended` those that it may still have, to whoever
    reads it now.
    """

    lanes: dict[int, Lane] = field(default_factory=dict)
    by_name: dict[str, Lane] = field(default_factory=dict)
    by_source: dict[int, list[Lane]] = field(default_factory=dict)
    chunks: dict[int, Chunk] = field(default_factory=dict)
    unwritten: dict[int, RetryRow] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    last_lane: int = 0
    totals: list[int] = field(default_factory=lambda: [0] * len(COUNTERS))
    live_bytes: int = 0
    retry_bytes: int = 0
    retries_loaded: int = 0
    shares: int = 0
    loads: int = 0
    #: shares that there are when each connection has a chunk of its own loaded
    _one_each: int = 0
    _cached: dict[int, Chunk] = field(default_factory=dict)
    _cached_bytes: int = 0
    _drop_later: list[Chunk] = field(default_factory=list)
    _ended_later: list[int] = field(default_factory=list)
    #: chunks that were changed on disk past this memory while somebody reads
    _changed: set[int] = field(default_factory=set)

    # --- lanes ---

    def add_lane(self, lane: Lane) -> None:
        """A connection that was unknown. The newest one of a name is the one of this name."""
        self.lanes[lane.id] = lane
        self.last_lane = max(self.last_lane, lane.id)
        self.by_name[lane.name] = lane
        others = self.by_source.setdefault(lane.source, [])
        self._one_each += 2 * len(others) + 1
        others.append(lane)

    def lane_of(self, name: str) -> Lane | None:
        """The connection of this name."""
        return self.by_name.get(name)

    @property
    def window(self) -> int:
        """How many chunks a connection may have loaded now.

        Where memory is tight, as many as all could have that have nothing yet, for as much memory
        once more: those that came first, and may stand still, shall not leave the others crumbs.
        """
        if self.shares < LOADED:
            return WINDOW
        return min(WINDOW, max(TIGHT_WINDOW, LOADED // max(1, self._one_each)))

    @property
    def retry_window(self) -> int:
        """How many retries a connection may have loaded now."""
        return RETRY_WINDOW if self.retries_loaded < LOADED_RETRIES else TIGHT_RETRY_WINDOW

    # --- what a commit has done ---

    def count(self, deltas: Deltas) -> None:
        """Counters have moved on disk."""
        for connection, delta in deltas.items():
            lane = self.lanes[connection]
            lane.books = list(map(add, lane.books, delta))
            self.totals = list(map(add, self.totals, delta))

    def stored(self, stored: Iterable[Stored]) -> set[Lane]:
        """Chunks are on disk; the connections that have something of them."""
        touched: set[Lane] = set()
        limit = self.window
        for item in stored:
            new = item.chunk
            chunk = Chunk(item.id, new.routing.count, new.received, item.size)
            self.live_bytes += item.size
            chunk.open = len(item.masks)
            for connection, mask in item.masks.items():
                lane = self.lanes[connection]
                touched.add(lane)
                share = Share(chunk, connection, mask, mask, mask)
                chunk.shares[connection] = share
                if not lane.fresh:
                    lane.cursor = lane.newest
                if not lane.is_behind and len(lane.window) < limit:
                    lane.cursor = item.id
                    lane.take_in(share)
                lane.newest = item.id
                lane.fresh += mask.bit_count()
            if chunk.holders:
                self._keep(chunk)
                self.cache(chunk, new.deliveries)
        return touched

    def written(self, journal: Journal) -> None:
        """A journal is on disk: what nobody holds is forgotten."""
        for share in journal.dirty:
            chunk = share.chunk
            chunk.unwritten -= 1
            self._drop_if_idle(chunk)
        for chunk in journal.finished:
            self._forget(chunk)
        for row_id, row in journal.retries.items():
            if self.unwritten.get(row_id) is row:
                del self.unwritten[row_id]
        self._ended_later += journal.ended_retries
        if not self.loads:
            self._forget_ended()

    def _forget_ended(self) -> None:
        self.ended.difference_update(self._ended_later)
        self._ended_later.clear()

    def _drop_if_idle(self, chunk: Chunk) -> None:
        if not chunk.holders and not chunk.unwritten:
            if self.loads:
                # Somebody may be reading this chunk as it was before the commit.
                self._drop_later.append(chunk)
            else:
                self._forget(chunk)

    def _keep(self, chunk: Chunk) -> None:
        self.chunks[chunk.id] = chunk
        self.shares += len(chunk.shares)

    def _forget(self, chunk: Chunk) -> None:
        if self.chunks.pop(chunk.id, None) is not None:
            self.shares -= len(chunk.shares)
        if self._cached.pop(chunk.id, None) is not None:
            self._cached_bytes -= chunk.size
        chunk.deliveries = None

    # --- payloads ---

    def cache(self, chunk: Chunk, deliveries: list[Delivery]) -> None:
        """Payload of a chunk that is in memory; the oldest others make room."""
        if chunk.id in self._cached:
            return
        chunk.deliveries = deliveries
        self._cached[chunk.id] = chunk
        self._cached_bytes += chunk.size
        while self._cached_bytes > CACHE_BYTES and len(self._cached) > 1:
            oldest = self._cached.pop(next(iter(self._cached)))
            oldest.deliveries = None
            self._cached_bytes -= oldest.size

    # --- reads ---

    def load_ended(self) -> None:
        """Nobody reads any more what a commit has changed meanwhile, if this was the last one."""
        self.loads -= 1
        if not self.loads:
            for chunk in self._drop_later:
                if not chunk.holders and not chunk.unwritten:
                    self._forget(chunk)
            self._drop_later.clear()
            self._changed.clear()
            self._forget_ended()

    def waiting_with(self, lane: Lane) -> dict[int, int]:
        """Connections that would read the same page of the log as this one, and their epochs."""
        return {
            other.id: other.epoch
            for other in self.by_source[lane.source]
            if other.cursor == lane.cursor and other.fresh and not other.window
        }

    def loaded(self, page: Page, epochs: Mapping[int, int]) -> None:
        """A page of the log comes into the windows of those whose disk was not changed since.

        Nothing of it does where another connection's deliveries were evicted from a chunk that only
        the page knows: it may have been read before that, and they would be delivered after all.
        """
        if any(row.id in self._changed and row.id not in self.chunks for row, _ in page.chunks):
            return  # whoever waits for it reads it again
        valid = {number for number, epoch in epochs.items() if self.lanes[number].epoch == epoch}
        for row, takers in page.chunks:
            if takers.isdisjoint(valid):
                continue
            chunk = self.chunks.get(row.id)
            if chunk is None:
                chunk = _chunk_of(row)
                self._keep(chunk)
            for number in takers & valid:
                share = chunk.shares[number]
                if share.left and not share.is_held:
                    self.lanes[number].take_in(share)
            if not chunk.holders and not chunk.unwritten:
                self._drop_if_idle(chunk)
        for number in valid:
            lane = self.lanes[number]
            lane.cursor = max(lane.cursor, page.cursors[number])

    def loaded_retries(self, lane: Lane, rows: Sequence[Due], *, is_all: bool) -> None:
        """The next retries of a connection come into its window; `is_all`: there are no others."""
        known = {entry[1] for entry in lane.due} | lane.leased_retries | self.ended
        lane.horizon = None if is_all else rows[-1][:2]
        for entry in rows:
            if entry[1] not in lane.recent and entry[1] not in known:
                self.plan(lane, entry)
        recent, lane.recent = lane.recent, {}
        for entry in recent.values():
            if entry[1] not in known:
                self.plan(lane, entry)

    def plan(self, lane: Lane, entry: Due) -> None:
        """A delivery waits for its next attempt."""
        self.retries_loaded += lane.plan(entry, self.retry_window)
        # A connection that only fails never runs out of retries, and never looks at the disk. While
        # anybody does, what was written after that began is nowhere else.
        if lane.recent and not len(lane.recent) % RETRY_WINDOW and not self.loads:
            self.forget_recent(lane)

    def reread_retries(self, lane: Lane) -> None:
        """The disk knows better which retries come next: forget those that were read."""
        self.retries_loaded -= len(lane.due)
        lane.due, lane.recent, lane.horizon = [], {}, (0.0, 0)
        lane.epoch += 1

    def forget_recent(self, lane: Lane) -> None:
        """Retries beyond the horizon that a look at the disk will find."""
        lane.recent = {
            row_id: entry for row_id, entry in lane.recent.items() if row_id in self.unwritten
        }

    # --- what changed on disk past the windows ---

    def evicted(self, lane: Lane, done: Evicted, now: float) -> list[Chunk]:
        """Deliveries of a connection were buried on disk; chunks that are finished by that.

        Those are the ones that the disk does not know to be finished: what the
        other connections had of them was settled since.
        """
        finished: list[Chunk] = []
        lane.epoch += 1
        self._change(done.chunks)
        lane.retrying -= len(done.retries) - len(done.aside)
        lane.aside -= len(done.aside)
        if lane.order is not None:
            for user in done.aside:
                lane.order.taken_from_aside(user)
            for user in done.heads:
                lane.order.head_ended(user, now)
        self.retry_bytes -= done.retry_bytes
        gone = set(done.retries)
        if gone:
            kept = [entry for entry in lane.due if entry[1] not in gone]
            self.retries_loaded -= len(lane.due) - len(kept)
            lane.due = sorted(kept)
            for row_id in gone:
                lane.recent.pop(row_id, None)
        for chunk_id, mask in done.chunks.items():
            lane.fresh -= mask.bit_count()
            chunk = self.chunks.get(chunk_id)
            if chunk is not None:
                self._evict_share(lane, chunk.shares[lane.id], mask)
                if not chunk.open and chunk_id not in done.finished:
                    self.live_bytes -= chunk.size
                    finished.append(chunk)
        for chunk_id, size in done.finished.items():
            self.live_bytes -= size
            chunk = self.chunks.get(chunk_id)
            if chunk is not None:
                self._forget(chunk)
        return finished

    def _change(self, chunks: Iterable[int]) -> None:
        if self.loads:
            self._changed.update(chunks)

    def _evict_share(self, lane: Lane, share: Share, mask: int) -> None:
        chunk = share.chunk
        had = share.left
        share.left &= ~mask
        share.todo &= ~mask
        share.moved |= mask
        if not share.todo:
            lane.unlist(share)
        # It had nothing left where it was read when the disk knew already, and this memory did not.
        if had and not share.left:
            chunk.open -= 1
            if share.is_held:
                share.is_held = False
                chunk.holders -= 1
            self._drop_if_idle(chunk)

    def compacted(self, done: Compacted) -> None:
        """Chunks have become smaller."""
        self.live_bytes -= done.freed
        self._change(done.sizes)
        for chunk_id, size in done.sizes.items():
            chunk = self.chunks.get(chunk_id)
            if chunk is not None:
                if chunk_id in self._cached:
                    self._cached_bytes += size - chunk.size
                chunk.size = size


def _chunk_of(row: LoadedChunk) -> Chunk:
    chunk = Chunk(row.id, row.count, row.received, row.size)
    for loaded in row.shares:
        left = loaded.route & ~loaded.done
        chunk.shares[loaded.connection] = Share(
            chunk, loaded.connection, loaded.route, left, left, loaded.unsupported, loaded.moved
        )
        chunk.open += bool(left)
    return chunk
