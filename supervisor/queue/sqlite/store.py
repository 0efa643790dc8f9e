"""The files at work: one writer, one reader, one transaction in flight.

Owns the threads, the journal that is being filled, the order of commits, and
what happens when the disk does not do its part: intake stops with a reason,
what was settled is kept and tried again, and intake resumes when a commit goes
through. Must not know leases or windows.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from supervisor.queue import QueueUnavailable
from supervisor.queue.sqlite import mark, reanchoring
from supervisor.queue.sqlite.checkpoints import HELD_BYTES, Checkpoints
from supervisor.queue.sqlite.files import FilesMissing, OpenFiles
from supervisor.queue.sqlite.intake import Committed, RepeatDetector
from supervisor.queue.sqlite.journal import Journal, write
from supervisor.queue.sqlite.ledger import Meta
from supervisor.queue.sqlite.schema import (
    DiskReserve,
    checkpoint,
    explained,
    in_snapshot,
    is_bug,
    is_damaged,
    is_full,
    open_copier,
    open_reader,
    open_writer,
)
from supervisor.queue.sqlite.thread import DatabaseThread
from supervisor.runtime.clock import Anchored, Clock

_log = structlog.get_logger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Seconds between two attempts to write where the last one failed.
RETRY_S = 1.0
#: Seconds between two looks at the files: whether they are there, and how long the log is.
LOOK_EVERY_S = 0.5
#: Bytes that a commit is reckoned to write beside its payload.
COMMIT_OVERHEAD = 48 * 1024
#: Rows of history that one commit may drop.
HISTORY_SLICE = 64

#: What `intake` is while events are taken, and when no more will be.
OPEN, STOPPING = "open", "the service is stopping"


class DedupeStorage(RepeatDetector, Protocol):
    """What the store asks of the deduplication index beside its part in transactions."""

    def create(self, db: sqlite3.Connection) -> None: ...

    def load(self, db: sqlite3.Connection, now: float) -> None: ...

    def maintain(self, db: sqlite3.Connection, now: float) -> bool: ...

    def checkpoint(self, db: sqlite3.Connection) -> None: ...


class WriteJob(Protocol[T_co]):
    """Work on the writer's thread, within its next transaction, after the journal.

    A frozen record of all that it needs: nothing in memory is read from that thread.
    """

    def run(self, db: sqlite3.Connection, meta: Meta) -> T_co:
        """Do it; `meta` is written with the same transaction. Raises sqlite3.Error."""


@dataclass(slots=True, frozen=True)
class _QueuedJob:
    """A job that waits for its transaction.

    `prepare` runs on the event loop when the transaction begins, `apply` there
    when it is committed. Any: what the job returns is for `apply` and for the caller.
    """

    prepare: Callable[[], WriteJob[Any]]
    apply: Callable[[Any], None]
    answer: asyncio.Future[Any]


@dataclass(slots=True, frozen=True)
class _Transacted:
    """What one transaction did. Any: what its job returned."""

    committed: Committed
    meta: Meta
    result: Any
    seconds: float


class Store:
    """`on_commit(journal, committed)` is called on the event loop, in order, once a commit."""

    def __init__(
        self,
        state_dir: Path,
        clock: Clock,
        *,
        anchored: Anchored,
        dedupe: DedupeStorage | None,
        history_bytes: int,
        on_commit: Callable[[Journal, Committed], None],
    ) -> None:
        self._state_dir = state_dir
        self._clock = clock
        self._anchored = anchored
        self._dedupe = dedupe
        self._history_bytes = history_bytes
        self._on_commit = on_commit
        self._reserve = DiskReserve(state_dir)
        self.journal = Journal()
        self.meta = Meta(0.0, 0, 0, 0, 0, 0, 0, 0, "")
        self.intake = OPEN
        self.commits = 0
        self.commit_seconds = 0.0
        self._jobs: deque[_QueuedJob] = deque()
        self._is_busy = False
        self._is_flush_due = False
        self._is_damaged = False
        self._retry: asyncio.TimerHandle | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._is_probe_due = False
        self._idle: list[asyncio.Future[None]] = []
        self._has_reserve = True
        self._watch: asyncio.Task[None] | None = None
        self.missing = ""
        self.log_bytes = 0

    # --- life ---

    async def start(self, load: Callable[[sqlite3.Connection], T]) -> T:
        """Open the files and read what memory starts with. Raises QueueUnavailable."""
        self._loop = asyncio.get_running_loop()
        self._writer = DatabaseThread("queue-writer", partial(open_writer, self._state_dir))
        self._reader = DatabaseThread("queue-reader", partial(open_reader, self._state_dir))
        self._copier = DatabaseThread("queue-checkpoint", partial(open_copier, self._state_dir))
        try:
            await self._writer.start()
            await self._reader.start()
            await self._copier.start()
            result = await self._writer.ask(partial(self._open, load))
            self._files = OpenFiles(self._state_dir)
        except QueueUnavailable:
            await self._close_threads()
            raise
        except Exception as error:
            await self._close_threads()
            raise QueueUnavailable(explained(self._state_dir, error)) from error
        self._checkpoints = Checkpoints(
            self._state_dir, self._files, lambda: self.meta, self._writer, self._copier
        )
        self._has_reserve = self._reserve.take()
        self._watch = self._loop.create_task(self._look_at_files())
        return result

    def _open(self, load: Callable[[sqlite3.Connection], T], db: sqlite3.Connection) -> T:
        self.meta = Meta.read(db)
        mark.require_all(self._state_dir, self.meta)
        reanchoring.begin(db, self.meta, self._clock(), self._anchored)
        if self._dedupe is not None:
            self._dedupe.create(db)
            self._dedupe.load(db, self._clock())
        return load(db)

    async def close(self) -> None:
        """Write down what is left, as far as the disk allows, and close the files."""
        self.intake = STOPPING
        await self.flushed()
        for timer in (self._retry, self._probe):
            if timer is not None:
                timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if not self._is_damaged:
            try:
                await self._writer.ask(self._last_words)
            except sqlite3.Error as error:
                _log.error("queue_close_failed", error=str(error))
        await self._checkpoints.close()
        await self._close_threads()

    def _last_words(self, db: sqlite3.Connection) -> None:
        if self._dedupe is not None:
            self._dedupe.checkpoint(db)
        checkpoint(db)

    async def _close_threads(self) -> None:
        for thread in (self._copier, self._reader, self._writer):
            await thread.close()

    async def flushed(self) -> None:
        """Return when everything said so far is on disk, or could not be written."""
        self.flush_soon()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._idle.append(waiter)
        await waiter

    # --- asking ---

    @property
    def log_excess(self) -> int:
        """Bytes of SQLite's log beyond what it takes when nobody keeps it from being emptied."""
        return max(0, self.log_bytes - HELD_BYTES)

    @property
    def log_held(self) -> str:
        """Who keeps the log from being emptied, and what to do; "" while nobody does."""
        return self._checkpoints.held

    def next_row_id(self) -> int:
        """A number for a retry or a dead letter."""
        self.meta.row_id += 1
        return self.meta.row_id

    def reserve_row_ids(self, n: int) -> int:
        """The first of `n` such numbers."""
        first = self.meta.row_id + 1
        self.meta.row_id += n
        return first

    def require_intake(self) -> None:
        """Raises QueueUnavailable where events cannot be taken."""
        if self.intake != OPEN:
            raise QueueUnavailable(self.intake)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read in one state of the store. Raises QueueUnavailable."""
        try:
            return await self._reader.ask(partial(in_snapshot, work))
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise QueueUnavailable(explained(self._state_dir, error)) from error

    async def run(self, job: WriteJob[T], apply: Callable[[T], None]) -> T:
        """Change the store past the journal, see `WriteJob`. Raises QueueUnavailable.

        `apply` is called with the result, on the event loop, before anything else is committed.
        """
        return await self.run_prepared(lambda: job, apply)

    async def run_prepared(
        self, prepare: Callable[[], WriteJob[T]], apply: Callable[[T], None]
    ) -> T:
        """The same with a job that depends on memory as it is when the transaction begins."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._jobs.append(_QueuedJob(prepare, apply, answer))
        self.flush_soon()
        return await answer

    # --- commits ---

    def flush_soon(self) -> None:
        """Commit in the next turn of the loop, or right after the commit in flight."""
        if not self._is_flush_due and not self._is_busy and self._retry is None:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._is_busy or self._retry is not None:
            return
        if self._is_damaged:
            self._give_up()
            return
        job = self._jobs.popleft() if self._jobs else None
        if self.journal.is_empty and job is None and not self._is_probe_due:
            self._release_waiters()
            return
        self._is_busy, self._is_probe_due = True, False
        journal, self.journal = self.journal, Journal()
        journal.seal()
        work = None if job is None else job.prepare()
        meta = replace(self.meta, clock=max(self.meta.clock, self._clock()))
        self._writer.submit(
            partial(self._transact, journal, meta, work),
            partial(self._committed, journal, job),
            partial(self._failed, journal, job),
        )

    def _transact(
        self,
        journal: Journal,
        meta: Meta,
        work: WriteJob[Any] | None,
        db: sqlite3.Connection,
    ) -> _Transacted:
        started = perf_counter()
        dedupe = self._dedupe
        keeps_history = self._history_bytes > 0
        if journal.intake:
            self._files.require()  # nobody is told that events are on disk where nobody finds them
        db.execute("BEGIN IMMEDIATE")
        try:
            committed = write(db, journal, dedupe, meta, keeps_history=keeps_history)
            result = None if work is None else work.run(db, meta)
            if meta.history_bytes > self._history_bytes:
                _trim_history(db, meta, self._history_bytes)
            meta.commits += 1
            meta.events += sum(map(sum, committed.accepted))
            meta.write(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk ends it by itself
                db.execute("ROLLBACK")
            if dedupe is not None:
                dedupe.rolled_back()
            raise
        if dedupe is not None:
            dedupe.committed()
        return _Transacted(committed, meta, result, perf_counter() - started)

    def _committed(self, journal: Journal, job: _QueuedJob | None, outcome: _Transacted) -> None:
        self._is_busy = False
        # Numbers were given out since: the greater one is right.
        outcome.meta.row_id = max(outcome.meta.row_id, self.meta.row_id)
        self.meta = outcome.meta
        self.commits += 1
        self.commit_seconds += outcome.seconds
        if self.intake not in (OPEN, STOPPING):
            self._try_to_open()
        self._on_commit(journal, outcome.committed)
        for item, accepted in zip(journal.intake, outcome.committed.accepted, strict=True):
            if not item.answer.done():  # the caller may have been cancelled
                item.answer.set_result(accepted)
        if job is not None:
            job.apply(outcome.result)
            if not job.answer.done():
                job.answer.set_result(outcome.result)
        self._checkpoints.wrote(COMMIT_OVERHEAD + sum(i.size_bytes for i in journal.intake))
        self._flush()

    def _failed(self, journal: Journal, job: _QueuedJob | None, error: Exception) -> None:
        self._is_busy = False
        is_missing = isinstance(error, FilesMissing)
        reason = str(error) if is_missing else explained(self._state_dir, error)
        for item in journal.intake:
            if not item.answer.done():
                item.answer.set_exception(QueueUnavailable(reason))
        if job is not None and not job.answer.done():
            job.answer.set_exception(QueueUnavailable(reason))
        self.journal = journal.put_before(self.journal)
        if is_missing:
            self._found(reason)
        elif is_bug(error):
            # A bug. Events that the code chokes on are refused and all else goes on; where it
            # chokes on what is settled, going on would lose the books.
            _log.error("queue_commit_failed", exc_info=error)
            self._is_damaged = not journal.intake and job is None
        elif is_damaged(error):
            self._is_damaged = True
        if self.intake == OPEN and (self._is_damaged or not is_bug(error)):
            _log.error("queue_intake_stopped", reason=reason)
            self.intake = reason
        if self._is_damaged or self.intake == STOPPING:
            self._give_up()
        elif is_missing:
            self._flush()  # what was settled has no other place
        elif is_full(error) and self._has_reserve:
            # Now there is room to settle and delete: once more, at once.
            self._reserve.release()
            self._has_reserve = False
            self._again()
        else:
            self._retry = self._loop.call_later(RETRY_S, self._again)
            self._release_waiters()

    def _again(self) -> None:
        self._retry = None
        if self.intake != OPEN:
            self._refuse_intake()
            self._is_probe_due = True
        self._flush()

    def _refuse_intake(self) -> None:
        """What came for intake while it was being closed cannot be taken."""
        intake, self.journal.intake = self.journal.intake, []
        for item in intake:
            if not item.answer.done():
                item.answer.set_exception(QueueUnavailable(self.intake))

    def _give_up(self) -> None:
        self._refuse_intake()
        while self._jobs:
            job = self._jobs.popleft()
            if not job.answer.done():
                job.answer.set_exception(QueueUnavailable(self.intake))
        self._release_waiters()

    def _release_waiters(self) -> None:
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
        self._idle.clear()

    def _try_to_open(self) -> None:
        """A commit went through: take events again, once there is a reserve."""
        if self.missing:
            return
        if not self._has_reserve:
            self._has_reserve = self._reserve.take()
        if self._has_reserve:
            self.intake = OPEN
            _log.warning("queue_intake_resumed")
        elif self._probe is None:
            self._probe = self._loop.call_later(RETRY_S, self._look_again)

    def _look_again(self) -> None:
        self._probe = None
        self._is_probe_due = True
        self._flush()

    # --- in between ---

    async def _look_at_files(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            missing, self.log_bytes = await asyncio.to_thread(self._look)
            if missing != self.missing:
                self._found(missing)

    def _look(self) -> tuple[str, int]:
        return self._files.missing(), self._files.log_bytes()

    def _found(self, missing: str) -> None:
        """The files are not those that were opened, or are again."""
        self.missing = missing
        if not missing:
            _log.warning("queue_files_back")
            self._look_again()
        elif self.intake != STOPPING and not self._is_damaged:
            _log.error("queue_files_missing", reason=missing, consequence="no event is taken")
            self.intake = missing
            self._refuse_intake()

    def maintain_dedupe(self) -> None:
        """A slice of the index's own maintenance, behind what is being committed."""
        if self._dedupe is not None and not self._is_damaged:
            index = self._dedupe
            now = self._clock()
            self._writer.submit(
                lambda db: index.maintain(db, now), self._maintained, self._not_maintained
            )

    def _maintained(self, has_more: bool) -> None:
        if has_more and self.intake != STOPPING:
            self.maintain_dedupe()

    def _not_maintained(self, error: Exception) -> None:
        _log.warning("dedupe_upkeep_failed", error=str(error), consequence="it is tried again")


def _trim_history(db: sqlite3.Connection, meta: Meta, budget_bytes: int) -> None:
    """Forget the oldest of what is finished, as far as it is over its budget."""
    rows = db.execute(
        "SELECT id, size FROM history ORDER BY id LIMIT ?", (HISTORY_SLICE,)
    ).fetchall()
    last = None
    for row_id, size in rows:
        if meta.history_bytes <= budget_bytes:
            break
        meta.history_bytes -= size
        last = row_id
    if last is not None:
        db.execute("DELETE FROM history WHERE id <= ?", (last,))
