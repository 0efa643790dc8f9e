"""When SQLite's log is copied into the database, and when the mark is written.

Owns both times: after so many bytes, and where little is written, soon after the first commit that
is not copied yet, so that the database is never more than seconds behind. Works on the checkpoint's
own thread first, while commits go on; what is left then is little, and the writer itself finishes
it: only so does the log start anew instead of growing. Whoever reads in one transaction for long
(another process: the service's own reads are short) keeps it from that, and is named. Must not
decide what is committed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from supervisor.queue.sqlite import mark
from supervisor.queue.sqlite.files import OpenFiles
from supervisor.queue.sqlite.ledger import Meta
from supervisor.queue.sqlite.mark import HighMark
from supervisor.queue.sqlite.schema import LogState, checkpoint, empty_log
from supervisor.queue.sqlite.thread import DatabaseThread

_log = structlog.get_logger(__name__)

#: Bytes written after which the log is copied into the database.
CHECKPOINT_BYTES = 16 * 1024 * 1024
#: Seconds after the first commit that is not copied until it is, however little was written.
CHECKPOINT_WITHIN_S = 10.0
#: Bytes of the log past which somebody must be holding it: it is emptied every `CHECKPOINT_BYTES`.
HELD_BYTES = 4 * CHECKPOINT_BYTES
#: Seconds that the mark may be behind the newest commit.
MARK_WITHIN_S = 1.0


class Checkpoints:
    """For the event loop's thread. `meta` is asked for what was committed last.

    `held` says who keeps the log from being emptied and what to do, "" while nobody does.
    """

    def __init__(
        self,
        state_dir: Path,
        files: OpenFiles,
        meta: Callable[[], Meta],
        writer: DatabaseThread,
        copier: DatabaseThread,
    ) -> None:
        self._state_dir = state_dir
        self._files = files
        self._meta = meta
        self._writer = writer
        self._copier = copier
        self._loop = asyncio.get_running_loop()
        self._unchecked_bytes = 0
        self._is_running = False
        self._due: asyncio.TimerHandle | None = None
        self._mark_due: asyncio.TimerHandle | None = None
        self.held = ""
        self._write_mark()  # of what a migration or a backup that was taken over begins with

    def wrote(self, size_bytes: int) -> None:
        """A commit of about that size is on disk."""
        self._unchecked_bytes += size_bytes
        if self._mark_due is None:
            self._mark_due = self._loop.call_later(MARK_WITHIN_S, self._write_mark)
        if self._is_running:
            return
        if self._unchecked_bytes >= CHECKPOINT_BYTES:
            self._begin()
        elif self._due is None:
            self._due = self._loop.call_later(CHECKPOINT_WITHIN_S, self._begin)

    async def close(self) -> None:
        """Begin nothing more; behind the last commit, write the mark where that can be done."""
        for timer in (self._due, self._mark_due):
            if timer is not None:
                timer.cancel()
        try:
            await self._copier.ask(lambda _: self._mark(HighMark.of(self._meta())))
        except OSError as error:
            self._not_marked(error)

    def _begin(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._is_running = True
        self._unchecked_bytes = 0
        self._copier.submit(checkpoint, self._copied, self._not_copied)

    def _copied(self, _: LogState) -> None:
        self._writer.submit(empty_log, self._checked, self._not_copied)

    def _checked(self, state: LogState) -> None:
        self._is_running = False
        self._write_mark()
        if state.size_bytes > HELD_BYTES:
            self._copier.submit(partial(self._who_holds, state), self._is_held, self._not_copied)
        elif self.held:
            self.held = ""
            _log.warning("queue_log_released")
        if self._unchecked_bytes or state.copied < state.frames or state.size_bytes > HELD_BYTES:
            self.wrote(0)  # what came meanwhile, and what could not be copied, has its time, too

    def _who_holds(self, state: LogState, _: sqlite3.Connection) -> str:
        return (
            f"SQLite's log has grown to {state.size_bytes} bytes and cannot be emptied while an "
            "old state of the database is held in a read transaction by "
            f"{' and '.join(self._files.readers()) or 'somebody'}: end that; until then the log "
            "counts against queue.max_pending"
        )

    def _is_held(self, held: str) -> None:
        if not self.held:
            _log.warning("queue_log_held", reason=held)
        self.held = held

    def _not_copied(self, error: Exception) -> None:
        self._is_running = False
        _log.warning("queue_checkpoint_failed", error=str(error), consequence="the log grows")

    def _write_mark(self) -> None:
        if self._mark_due is not None:
            self._mark_due.cancel()
            self._mark_due = None
        now = HighMark.of(self._meta())
        self._copier.submit(lambda _: self._mark(now), lambda _: None, self._not_marked)

    def _mark(self, now: HighMark) -> None:
        # Where the files are gone, what lies in their place has a mark of its own.
        if not self._files.missing():
            mark.write(self._state_dir, now)

    def _not_marked(self, error: Exception) -> None:
        _log.warning(
            "queue_mark_not_written",
            error=str(error),
            consequence="a loss of what is newer would not be noticed",
        )
