"""The queue's state in memory as a whole, and how commits and reads change it.

Owns the backlogs of all connections, the chunks that are loaded, the retries that the disk does not
have yet, and the sizes. It changes on the event loop's thread only. Must not do I/O or know SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from operator import add

from supervisor.queue import Counted
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.chunk_progress import Chunk, ChunkProgress, leased_in
from supervisor.queue.sqlite.counters import COUNTERS, books_of
from supervisor.queue.sqlite.eviction import Compacted, Evicted
from supervisor.queue.sqlite.intake import WrittenChunk
from supervisor.queue.sqlite.journal import Journal, UnwrittenRetry
from supervisor.queue.sqlite.ledger import Deltas
from supervisor.queue.sqlite.payload_cache import PayloadCache
from supervisor.queue.sqlite.refill import LogPage, StoredChunk, StoredConnection
from supervisor.queue.sqlite.retry_heap import RetryBudget, RetryEntry

#: Chunks that a connection's window holds, and the fewest when memory is tight.
WINDOW, TIGHT_WINDOW = 1024, 2
#: Records of progress in memory, past which windows are tight. What a chunk costs is these, one
#: for each connection of its source: about 25 MB.
LOADED = 65_536


class DiskUsage:
    """Bytes of the store that are pending: chunks with all that is in them, and retries."""

    __slots__ = ("_chunks", "_retries")

    def __init__(self) -> None:
        self._chunks = 0
        self._retries = 0

    @property
    def total(self) -> int:
        """What counts against `queue.max_pending`."""
        return self._chunks + self._retries

    @property
    def chunks(self) -> int:
        """Chunks that not all connections are through with."""
        return self._chunks

    @property
    def retries(self) -> int:
        """Retries, those that are parked included."""
        return self._retries

    def chunk_came(self, size_bytes: int) -> None:
        """A chunk is on disk."""
        self._chunks += size_bytes

    def chunk_shrank(self, size_bytes: int) -> None:
        """So much of a chunk is gone, or will be with the next commit."""
        self._chunks -= size_bytes

    def retry_came(self, size_bytes: int) -> None:
        """Retries are on disk, or will be with the next commit."""
        self._retries += size_bytes

    def retry_went(self, size_bytes: int) -> None:
        """Retries are gone, or will be with the next commit."""
        self._retries -= size_bytes


class QueueMemory:
    """Everything that is known without reading."""

    def __init__(self) -> None:
        self.usage = DiskUsage()
        self.payloads = PayloadCache()
        self.retry_budget = RetryBudget()
        self._backlogs: dict[int, ConnectionBacklog] = {}
        self._by_name: dict[str, ConnectionBacklog] = {}
        self._all_by_name: dict[str, list[ConnectionBacklog]] = {}
        self._by_name_and_source: dict[tuple[str, int], ConnectionBacklog] = {}
        self._by_source: dict[int, list[ConnectionBacklog]] = {}
        self._totals = [0] * len(COUNTERS)
        self.replayed = (0, 0)
        """Dead letters replayed since the start: of those that failed, of those quarantined."""
        self._last_number = 0
        self._chunks: dict[int, Chunk] = {}
        self._loaded_progress = 0
        # Records of progress that there are when each connection has a chunk of its own loaded.
        self._one_each = 0
        self._unwritten: dict[int, UnwrittenRetry] = {}
        # Retries that the disk may still have, to a reader that began before a commit.
        self._ended: set[int] = set()
        self._reads = 0
        self._ended_later: list[int] = []
        self._idle_later: list[Chunk] = []
        # Chunks that were changed on disk past this memory while a read is under way.
        self._changed: set[int] = set()

    # --- connections ---

    def load(self, stored: StoredConnection) -> ConnectionBacklog:
        """A connection as the disk has it at start."""
        backlog = ConnectionBacklog(
            stored.id,
            stored.name,
            stored.source,
            self.retry_budget,
            books=stored.books,
            fresh=stored.fresh,
            retrying=stored.retrying,
            parked=stored.parked,
            cursor=stored.cursor,
            newest=stored.newest,
        )
        self._add(backlog)
        self._totals = list(map(add, self._totals, stored.books))
        if stored.retries is not None:
            self.refill_retries(backlog, stored.retries, is_all=stored.has_all_retries)
        return backlog

    def new_backlog(self, name: str, source: int) -> ConnectionBacklog:
        """A connection that was unknown."""
        backlog = ConnectionBacklog(self._last_number + 1, name, source, self.retry_budget)
        self._add(backlog)
        return backlog

    def _add(self, backlog: ConnectionBacklog) -> None:
        self._backlogs[backlog.id] = backlog
        self._last_number = max(self._last_number, backlog.id)
        self._by_name[backlog.name] = backlog
        self._all_by_name.setdefault(backlog.name, []).append(backlog)
        self._by_name_and_source[backlog.name, backlog.source] = backlog
        others = self._by_source.setdefault(backlog.source, [])
        self._one_each += 2 * len(others) + 1
        others.append(backlog)

    @property
    def backlogs(self) -> Mapping[int, ConnectionBacklog]:
        """All there are, by number, also those that the config does not have any more."""
        return self._backlogs

    @property
    def by_name(self) -> Mapping[str, ConnectionBacklog]:
        """The one in force of each name; it has others where its source was changed."""
        return self._by_name

    @property
    def all_by_name(self) -> Mapping[str, Sequence[ConnectionBacklog]]:
        """All of each name, in force or not: the books are theirs together."""
        return self._all_by_name

    def of(self, name: str, source: int) -> ConnectionBacklog | None:
        """The one of this name and this number of a source, in force or not."""
        return self._by_name_and_source.get((name, source))

    def put_in_force(self, backlog: ConnectionBacklog) -> None:
        """Its name means this one from now on: it is new, or its source came back."""
        self._by_name[backlog.name] = backlog

    @property
    def by_source(self) -> Mapping[int, Sequence[ConnectionBacklog]]:
        """By number of the source."""
        return self._by_source

    @property
    def totals(self) -> Sequence[int]:
        """The counters of all connections, as of the newest commit."""
        return self._totals

    # --- bounds ---

    @property
    def window(self) -> int:
        """How many chunks a connection may have loaded now.

        Where memory is tight, as many as all could have that have nothing yet, for as much memory
        once more: those that came first, and may stand still, must not leave the others crumbs.
        """
        if self._loaded_progress < LOADED:
            return WINDOW
        return min(WINDOW, max(TIGHT_WINDOW, LOADED // max(1, self._one_each)))

    @property
    def chunks(self) -> Mapping[int, Chunk]:
        """Chunks in memory, by id."""
        return self._chunks

    @property
    def loaded_progress(self) -> int:
        """Records of progress in memory."""
        return self._loaded_progress

    def leased_of(self, backlog: ConnectionBacklog) -> dict[int, int]:
        """What of a connection's chunks is leased: masks by chunk id."""
        return leased_in(self._chunks.values(), backlog.id)

    # --- what a commit has done ---

    def count(self, deltas: Deltas) -> None:
        """Counters have moved on disk."""
        for connection, delta in deltas.items():
            self._backlogs[connection].committed(delta)
            self._totals = list(map(add, self._totals, delta))

    def stored(self, written: Iterable[WrittenChunk]) -> set[ConnectionBacklog]:
        """Chunks are on disk; the connections that have something of them."""
        touched: set[ConnectionBacklog] = set()
        limit = self.window
        for item in written:
            new = item.chunk
            chunk = Chunk(item.id, new.routing.count, new.received, item.size)
            self.usage.chunk_came(item.size)
            for connection, mask in item.masks.items():
                backlog = self._backlogs[connection]
                touched.add(backlog)
                backlog.arrived(chunk.add(connection, mask), limit)
            if chunk.is_pinned:
                self._keep(chunk)
                self.payloads.put(chunk, new.deliveries)
        return touched

    def written(self, journal: Journal) -> None:
        """A journal is on disk: what nothing needs any more is forgotten."""
        for progress in journal.dirty:
            progress.chunk.progress_written()
            self._forget_if_idle(progress.chunk)
        for chunk in journal.finished:
            self._forget(chunk)
        for row_id, row in journal.retries.items():
            if self._unwritten.get(row_id) is row:
                del self._unwritten[row_id]
        self._ended_later += journal.ended_retries
        if not self._reads:
            self._forget_ended()

    def _forget_ended(self) -> None:
        self._ended.difference_update(self._ended_later)
        self._ended_later.clear()

    def _forget_if_idle(self, chunk: Chunk) -> None:
        if not chunk.is_idle:
            return
        if self._reads:
            # It may be being read as it was before the commit.
            self._idle_later.append(chunk)
        else:
            self._forget(chunk)

    def _keep(self, chunk: Chunk) -> None:
        self._chunks[chunk.id] = chunk
        self._loaded_progress += len(chunk.progress)

    def _forget(self, chunk: Chunk) -> None:
        if self._chunks.pop(chunk.id, None) is not None:
            self._loaded_progress -= len(chunk.progress)
        self.payloads.drop(chunk)

    # --- what is settled ---

    def settle(
        self,
        progress: ChunkProgress,
        mask: int,
        journal: Journal,
        *,
        unsupported: int = 0,
        moved: int = 0,
    ) -> None:
        """Events of a chunk are settled for a connection; `journal` has it written down."""
        journal.note_progress(progress)
        if progress.settle(mask, unsupported=unsupported, moved=moved):
            chunk = progress.chunk
            if chunk.is_finished:
                journal.note_finished(chunk)
                self.usage.chunk_shrank(chunk.size)

    def postponed(self, backlog: ConnectionBacklog, row: UnwrittenRetry, journal: Journal) -> None:
        """A leased delivery waits for another attempt; `journal` has it written down."""
        journal.retries[row.id] = row
        self._unwritten[row.id] = row
        if backlog.retry_planned(row.entry):
            self._prune_retries(backlog)

    def retry_ended(self, row_id: int, size_bytes: int, journal: Journal) -> None:
        """A retry is done with; `journal` has it written down."""
        journal.ended_retries.append(row_id)
        self._ended.add(row_id)
        self.usage.retry_went(size_bytes)

    # --- retries ---

    @property
    def unwritten_retries(self) -> Mapping[int, UnwrittenRetry]:
        """Retries that the disk may not have like this yet, by row id."""
        return self._unwritten

    def promoted(self, backlog: ConnectionBacklog, entries: Iterable[RetryEntry]) -> None:
        """What was parked is the next attempt of its users."""
        known = self._known_retries(backlog)
        for entry in entries:
            if backlog.promoted(entry, is_known=entry[1] in known):
                self._prune_retries(backlog)

    def count_replayed(self, deltas: Deltas) -> None:
        """Counters have moved on disk by a replay: what were dead letters are not any more."""
        self.count(deltas)
        for number, delta in deltas.items():
            failed, quarantined = self._backlogs[number].replayed(delta)
            self.replayed = (self.replayed[0] + failed, self.replayed[1] + quarantined)

    def counted(self, name: str) -> Counted:
        """The books of a connection, of all its sources, and what was replayed of it."""
        backlogs = self.all_by_name.get(name, ())
        if len(backlogs) == 1:
            books = books_of(backlogs[0].books)
        else:
            books = books_of([sum(each) for each in zip(*(b.books for b in backlogs), strict=True)])
        return Counted(
            books,
            sum(backlog.replayed_failed for backlog in backlogs),
            sum(backlog.replayed_quarantined for backlog in backlogs),
        )

    def replay(self, backlog: ConnectionBacklog, entries: Iterable[RetryEntry]) -> None:
        """Dead letters are retries again."""
        known = self._known_retries(backlog)
        for entry in entries:
            if backlog.retry_replayed(entry, is_known=entry[1] in known):
                self._prune_retries(backlog)

    def _known_retries(self, backlog: ConnectionBacklog) -> AbstractSet[int]:
        """Retries that a look at the disk has brought before the commit was told of that made them.

        Both come from threads of their own. What was leased of them since may have ended.
        """
        return backlog.retries.ids | backlog.leased_retries | self._ended

    def refill_retries(
        self, backlog: ConnectionBacklog, rows: Sequence[RetryEntry], *, is_all: bool
    ) -> None:
        """A connection's next retries, as the disk has them; `is_all`: there are no others."""
        elsewhere: AbstractSet[int] = backlog.leased_retries | self._ended
        backlog.retries.refill(rows, is_all=is_all, elsewhere=elsewhere)

    def forget_beyond(self, backlog: ConnectionBacklog) -> None:
        """Retries beyond the horizon that a look at the disk will find."""
        backlog.retries.forget_beyond(self._unwritten)

    def _prune_retries(self, backlog: ConnectionBacklog) -> None:
        # A connection that only fails never runs out of retries, and never looks at the disk. While
        # one is being read, what was written after that began is nowhere else.
        if not self._reads:
            self.forget_beyond(backlog)

    # --- reads ---

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The disk is being read: what a commit takes from it meanwhile is kept until the end."""
        self._reads += 1
        try:
            yield
        finally:
            self._reads -= 1
            if not self._reads:
                for chunk in self._idle_later:
                    if chunk.is_idle:
                        self._forget(chunk)
                self._idle_later.clear()
                self._changed.clear()
                self._forget_ended()

    def waiting_with(self, backlog: ConnectionBacklog) -> dict[int, int]:
        """Connections that would read the same page of the log as this one, and their epochs."""
        return {
            other.id: other.epoch
            for other in self._by_source[backlog.source]
            if other.window.cursor == backlog.window.cursor
            and other.fresh
            and not other.window.listed
        }

    def loaded(self, page: LogPage, epochs: Mapping[int, int]) -> None:
        """A page of the log comes into the windows of those whose disk was not changed since.

        Nothing of it does where another connection's deliveries were evicted from a chunk that only
        the page knows: it may have been read before that, and they would be delivered after all.
        """
        if any(row.id in self._changed and row.id not in self._chunks for row, _ in page.chunks):
            return  # the connections that wait for it read it again
        valid = {
            number for number, epoch in epochs.items() if self._backlogs[number].epoch == epoch
        }
        for row, takers in page.chunks:
            if takers.isdisjoint(valid):
                continue
            chunk = self._chunks.get(row.id)
            if chunk is None:
                chunk = _chunk_of(row)
                self._keep(chunk)
            for number in takers & valid:
                progress = chunk.progress[number]
                if progress.unsettled and not progress.is_pinned:
                    self._backlogs[number].window.take_in(progress)
            self._forget_if_idle(chunk)
        for number in valid:
            self._backlogs[number].window.looked_through(page.cursors[number])

    # --- what changed on disk past the windows ---

    def evicted(self, backlog: ConnectionBacklog, done: Evicted, now: float) -> list[Chunk]:
        """Deliveries of a connection became dead letters on disk; chunks that are finished by that.

        Those are the ones that the disk does not know to be finished: what the
        other connections had of them was settled since.
        """
        finished: list[Chunk] = []
        self._change(done.chunks)
        backlog.evicted(
            fresh=sum(mask.bit_count() for mask in done.chunks.values()),
            retries=done.retries,
            parked=len(done.parked),
        )
        if backlog.order is not None:
            for user in done.parked:
                backlog.order.unparked(user)
            for user in done.barriers:
                backlog.order.barrier_ended(user, now)
        self.usage.retry_went(done.retry_bytes)
        for chunk_id, mask in done.chunks.items():
            chunk = self._chunks.get(chunk_id)
            if chunk is None:
                continue
            progress = chunk.progress[backlog.id]
            if progress.settle(mask, moved=mask):
                self._forget_if_idle(chunk)
            backlog.window.unlist_if_empty(progress)
            if chunk.is_finished and chunk_id not in done.finished:
                self.usage.chunk_shrank(chunk.size)
                finished.append(chunk)
        for chunk_id, size in done.finished.items():
            self.usage.chunk_shrank(size)
            chunk = self._chunks.get(chunk_id)
            if chunk is not None:
                self._forget(chunk)
        return finished

    def compacted(self, done: Compacted) -> None:
        """Chunks have become smaller."""
        self.usage.chunk_shrank(done.freed)
        self._change(done.sizes)
        for chunk_id, size in done.sizes.items():
            chunk = self._chunks.get(chunk_id)
            if chunk is not None:
                self.payloads.resize(chunk, size)

    def _change(self, chunks: Iterable[int]) -> None:
        if self._reads:
            self._changed.update(chunks)

    def check(self, undecided: Mapping[int, int]) -> None:
        """Assert that everything here adds up; `undecided` is what is leased, by connection.

        For a moment when nothing is being read.
        """
        for chunk in self._chunks.values():
            chunk.check()
        assert self._loaded_progress == sum(len(chunk.progress) for chunk in self._chunks.values())
        for number, backlog in self._backlogs.items():
            parts = {
                chunk.id: chunk.progress[number]
                for chunk in self._chunks.values()
                if number in chunk.progress
            }
            backlog.check(parts, undecided.get(number, 0))
        assert min(self.usage.chunks, self.usage.retries) >= 0


def _chunk_of(row: StoredChunk) -> Chunk:
    chunk = Chunk(row.id, row.count, row.received, row.size)
    for part in row.parts:
        chunk.add(
            part.connection,
            part.route,
            done=part.done,
            unsupported=part.unsupported,
            moved=part.moved,
        )
    return chunk
