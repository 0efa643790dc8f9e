"""The file `insight.db` in the state directory, and the one thread that touches it.

Owns the file: its tables and their format, and what is done where it is broken, gone, full or
cannot be written. Nothing waits for it: what could not be written is told once, and tried again
with what comes next. Must not know what its rows mean.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeVar

import msgspec
import structlog

_log = structlog.get_logger(__name__)

T = TypeVar("T")
U = TypeVar("U")

NAME: Final = "insight.db"
#: Raised with each change of a table. A file of another format is made anew: it holds no event.
FORMAT: Final = 1
#: Work that waits for the thread at most; a disk that hangs must not fill memory.
MOST_WAITING: Final = 64
#: Seconds that somebody who asks waits for an answer.
ANSWER_S: Final = 10.0
#: Bytes of SQLite's log beside the file, about.
LOG_BYTES: Final = 4 * 1024 * 1024

_ANEW: Final = "the file was made anew"

#: What work is given: an open database, a transaction begun.
Database = sqlite3.Connection

_TABLES: Final = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL, booked BLOB,
    UNIQUE (kind, name));
CREATE TABLE frames (
    tier INTEGER NOT NULL, start INTEGER NOT NULL, series INTEGER NOT NULL, frame BLOB NOT NULL,
    PRIMARY KEY (tier, start, series)) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE issues (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, connection TEXT, source TEXT, cause TEXT NOT NULL,
    count INTEGER NOT NULL, first_seen REAL NOT NULL, last_seen REAL NOT NULL);
CREATE TABLE issue_minutes (
    minute INTEGER NOT NULL, issue INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (minute, issue)) WITHOUT ROWID;
"""


class DiskUnavailable(Exception):
    """The file cannot be read or written now; the text says why."""


class Disk:
    """`on_anew` is called on the event loop whenever the file is empty: the first time, and where
    it was broken or gone.
    """

    def __init__(self, state_dir: Path, on_anew: Callable[[], None]) -> None:
        self._path = state_dir / NAME
        self._on_anew = on_anew
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="insight", daemon=True)
        self._db: Database | None = None
        self._inode = 0
        self._has_written = False
        # How often the file was made, as the event loop knows it and as the thread does. Work that
        # was meant for an earlier one is refused: what it builds upon is gone.
        self._known_files = self._files = 0
        self._is_closed = False
        self.trouble = ""
        """Why nothing can be kept now, and "" where all is well."""

    def start(self) -> None:
        """Begin; the file is opened by the thread."""
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread.start()

    def soon(
        self,
        work: Callable[[Database], T],
        done: Callable[[T], None],
        failed: Callable[[str], None],
        *,
        is_of_this_file: bool = True,
    ) -> None:
        """Do `work` in a transaction; then `done` or `failed` (with the reason) on the event loop.

        Work that raises is rolled back. Answers come in the order in which they were asked for.
        What builds upon the rows of this very file fails where another has taken its place.
        """
        if self._is_closed or self._inbox.qsize() >= MOST_WAITING:
            failed(self.trouble or "the disk does not keep up")
            return
        file = self._known_files if is_of_this_file else None

        def task() -> None:
            try:
                result = self._transact(work, file)
            except DiskUnavailable as error:
                self._call(self._told, "" if str(error) == _ANEW else str(error))
                self._call(failed, str(error))
            else:
                if self._has_written:
                    self._call(self._told, "")
                self._call(done, result)

        self._inbox.put(task)

    async def ask(self, work: Callable[[Database], T]) -> T:
        """Do `work` and return what it returns. Raises DiskUnavailable, in `ANSWER_S` at most."""
        return await self.ask_then(work, _as_it_is)

    async def ask_then(self, work: Callable[[Database], T], then: Callable[[T], U]) -> U:
        """The same, and what `then` makes of it before anything that was asked for later is told.

        Raises DiskUnavailable.
        """
        answer: asyncio.Future[U] = asyncio.get_running_loop().create_future()

        def done(result: T) -> None:
            if not answer.done():
                answer.set_result(then(result))

        def failed(reason: str) -> None:
            if not answer.done():
                answer.set_exception(DiskUnavailable(reason))

        self.soon(work, done, failed, is_of_this_file=False)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise DiskUnavailable("the disk does not answer; see the log") from None

    async def close(self, limit_s: float) -> None:
        """Do what was asked for and close the file; what takes longer than that is left behind."""
        if self._is_closed or not self._thread.is_alive():
            return
        self._is_closed = True
        self._inbox.put(None)
        await asyncio.wait({self._ended}, timeout=limit_s)

    def remove(self) -> None:
        """Close the file and remove it, as soon as the thread comes to it."""
        if not self._is_closed:
            self._is_closed = True
            self._inbox.put(lambda: self._discard("the console is turned off"))
            self._inbox.put(None)

    # --- on the event loop ---

    def _made_anew(self) -> None:
        self._known_files += 1
        self._on_anew()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _told(self, trouble: str) -> None:
        if trouble and not self.trouble:
            _log.error(
                "insight_not_kept",
                reason=trouble,
                consequence="trends and issues are in memory only until it can be written",
            )
        elif self.trouble and not trouble:
            _log.warning("insight_kept_again")
        self.trouble = trouble

    # --- on the thread ---

    def _run(self) -> None:
        while (task := self._inbox.get()) is not None:
            task()
        if self._db is not None:
            self._db.close()
        self._call(self._end)

    def _call(self, told: Callable[..., object], *what: object) -> None:
        try:
            self._loop.call_soon_threadsafe(told, *what)
        except RuntimeError:
            self._is_closed = True  # the event loop is gone: nobody waits for answers any more

    def _transact(self, work: Callable[[Database], T], file: int | None) -> T:
        """Raises DiskUnavailable."""
        try:
            db = self._opened()
            if file is not None and file != self._files:
                raise DiskUnavailable(_ANEW)
            db.execute("BEGIN IMMEDIATE")
            changes = db.total_changes
            try:
                result = work(db)
                db.execute("COMMIT")
                # What finds nothing to do says nothing of whether it could have been done.
                self._has_written = db.total_changes != changes
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
            if _is_broken(error):
                self._discard(f"it is broken: {error}")
            raise DiskUnavailable(f"{self._path}: {error}") from error
        return result

    def _opened(self) -> Database:
        """The file, made where it is not there. Raises OSError and sqlite3.Error."""
        if self._db is not None:
            if self._is_in_place():
                return self._db
            self._discard("it was removed or replaced")
        # Never through a link, and for nobody else: it holds causes of partners' refusals.
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{self._path} is no file")
            os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=1.0)
        try:
            is_new = self._prepare(db)
        except BaseException:
            db.close()
            raise
        self._db, self._inode = db, status.st_ino
        if is_new:
            self._files += 1
            self._call(self._made_anew)
        return db

    def _prepare(self, db: Database) -> bool:
        """Whether the tables had to be made. Raises sqlite3.Error."""
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"its format is {version}, and this version has {FORMAT}")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        db.execute("PRAGMA wal_autocheckpoint = 256")
        db.execute("PRAGMA cache_size = -1024")
        if version == FORMAT:
            return False
        db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {FORMAT}; COMMIT")
        return True

    def _is_in_place(self) -> bool:
        try:
            return os.stat(self._path, follow_symlinks=False).st_ino == self._inode
        except OSError:
            return False

    def _discard(self, why: str) -> None:
        """Begin anew with the next work: it held counts that the books know, and no event."""
        _log.warning("insight_made_anew", file=str(self._path), reason=why)
        if self._db is not None:
            self._db.close()
            self._db = None
        for end in ("", "-wal", "-shm"):
            Path(f"{self._path}{end}").unlink(missing_ok=True)


def _as_it_is(result: T) -> T:
    return result


def _is_broken(error: Exception) -> bool:
    """Whether the file itself is no good, whatever room there is on the disk."""
    if isinstance(error, sqlite3.OperationalError | OSError):
        return False
    return isinstance(error, sqlite3.DatabaseError | msgspec.MsgspecError)
