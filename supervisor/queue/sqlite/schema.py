"""The queue's files: where they are, what is in them, and which process may open them.

Owns the state directory's layout, the tables, the lock that keeps a second
service out, and the texts of the errors that SQLite raises. Must not know what
the tables are used for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from supervisor.queue import QueueUnavailable
from supervisor.queue.sqlite.counters import COUNTERS
from supervisor.queue.sqlite.mark import require_database
from supervisor.queue.sqlite.migrations import bring_forward
from supervisor.runtime.clock import LastRun
from supervisor.state.format import newer

T = TypeVar("T")

#: Bumped with every change of the tables that older code cannot read; `migrations.py` leads here.
VERSION: Final = 2
DATABASE: Final = "queue.db"
LOCK: Final = "queue.lock"
RESERVE: Final = "queue.reserve"
#: Bytes that are set aside so that deleting and checkpointing go on when the disk is full.
RESERVE_BYTES: Final = 16 * 1024 * 1024

#: Bytes of a page. Larger than usual: fewer frames a commit.
PAGE_BYTES: Final = 8192
#: What the log has in front of each page.
_FRAME_HEAD_BYTES: Final = 24
#: Bytes of the log that stay on disk once it is empty; what is over goes back.
LOG_KEPT_BYTES: Final = 32 * 1024 * 1024
#: Seconds that the writer waits for a lock, which only checkpoints and backups hold.
WRITER_PATIENCE_S: Final = 10.0

#: `next_at` of a retry that waits behind another event of its user, and for no time.
PARKED: Final = 9_000_000_000_000_000

# `payload` is the last column of its table: what is in front of it can be read without it.
_TABLES: Final = f"""
CREATE TABLE IF NOT EXISTS meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    clock REAL NOT NULL, chunk_id INTEGER NOT NULL, row_id INTEGER NOT NULL,
    history_bytes INTEGER NOT NULL, letters_dropped INTEGER NOT NULL, evicted INTEGER NOT NULL,
    commits INTEGER NOT NULL, events INTEGER NOT NULL, store TEXT NOT NULL
);
INSERT OR IGNORE INTO meta VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, lower(hex(randomblob(8))));
CREATE TABLE IF NOT EXISTS sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS connections (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, source INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS books (
    connection INTEGER PRIMARY KEY,
    {", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in COUNTERS)}
);
CREATE TABLE IF NOT EXISTS chunks (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, received REAL NOT NULL,
    count INTEGER NOT NULL, size INTEGER NOT NULL, routes BLOB NOT NULL, which BLOB NOT NULL,
    keys BLOB NOT NULL, users BLOB NOT NULL, ends BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS chunks_source ON chunks (source, id, size);
CREATE TABLE IF NOT EXISTS progress (
    chunk INTEGER NOT NULL, connection INTEGER NOT NULL,
    done BLOB NOT NULL, unsupported BLOB NOT NULL, moved BLOB NOT NULL,
    PRIMARY KEY (chunk, connection)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retries (
    id INTEGER PRIMARY KEY, connection INTEGER NOT NULL, next_at REAL NOT NULL,
    alone INTEGER NOT NULL, received REAL NOT NULL, size INTEGER NOT NULL,
    attempts INTEGER NOT NULL, first_at REAL, error TEXT NOT NULL,
    key BLOB NOT NULL, user BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS retries_due
    ON retries (connection, next_at, id, alone, received, size);
CREATE INDEX IF NOT EXISTS retries_key ON retries (key);
CREATE INDEX IF NOT EXISTS retries_aside ON retries (connection, user, id)
    WHERE next_at >= {PARKED};
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY, connection INTEGER NOT NULL, outcome TEXT NOT NULL,
    attempts INTEGER NOT NULL, first_at REAL, last_at REAL NOT NULL, received REAL NOT NULL,
    size INTEGER NOT NULL, exit TEXT, message_id TEXT NOT NULL, reason TEXT NOT NULL,
    key BLOB NOT NULL, user BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS letters_connection ON dead_letters (connection, id);
CREATE INDEX IF NOT EXISTS letters_key ON dead_letters (key);
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, received REAL NOT NULL,
    count INTEGER NOT NULL, size INTEGER NOT NULL,
    connection INTEGER, outcome TEXT, attempts INTEGER,
    routes BLOB, which BLOB, odd BLOB, keys BLOB NOT NULL
);
PRAGMA user_version = {VERSION};
"""  # noqa: S608 - constants


class StateDirLock:
    """One service at a time owns a state directory. Raises QueueUnavailable naming the other."""

    def __init__(self, state_dir: Path) -> None:
        path = state_dir / LOCK
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise QueueUnavailable(
                f"{state_dir}: a running service (pid {owner}) owns this state directory; "
                "stop it, or give this one a service.state_dir of its own"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in."""
        os.close(self._fd)


# Of no format: code that does not know it loses nothing, and what that leaves in it is found stale.
_ANCHOR: Final = """
CREATE TABLE IF NOT EXISTS anchor (
    id INTEGER PRIMARY KEY CHECK (id = 1), boot TEXT NOT NULL, offset_s REAL NOT NULL,
    began REAL NOT NULL, moved_s REAL NOT NULL
)
"""


def prepare(state_dir: Path) -> None:
    """Make the directory, for its owner's eyes only. Raises QueueUnavailable."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        state_dir.chmod(0o700)
        path = state_dir / DATABASE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)  # the log and the index beside it take their mode from here
    except OSError as error:
        raise QueueUnavailable(
            f"{state_dir}: cannot be used as service.state_dir: {error.strerror}"
        ) from error


def open_writer(state_dir: Path) -> sqlite3.Connection:
    """The one connection that writes, with the tables in place.

    Raises sqlite3.Error, and QueueUnavailable, having touched nothing, for a newer format and for a
    database that is gone.
    """
    db = sqlite3.connect(state_dir / DATABASE, isolation_level=None, timeout=WRITER_PATIENCE_S)
    try:
        version = require_known(state_dir, db)
        if version == 0:
            require_database(state_dir)
        _configure_writer(db, version)
    except BaseException:
        db.close()
        raise
    return db


def _configure_writer(db: sqlite3.Connection, version: int) -> None:
    # Before the first table: the page size of an empty file.
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # done aside, see `checkpoint`
    db.execute(f"PRAGMA journal_size_limit = {LOG_KEPT_BYTES}")
    db.execute("PRAGMA cache_size = -16384")
    db.execute("PRAGMA temp_store = MEMORY")
    if version == 0:
        db.executescript(_TABLES)
    else:
        bring_forward(db, version, VERSION)
    db.execute(_ANCHOR)


def require_known(state_dir: Path, db: sqlite3.Connection) -> int:
    """The number of a database's format, 0 for an empty one. Raises QueueUnavailable for a newer.

    Whoever reads without being the service asks this first; an older one can be read as it is.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise QueueUnavailable(newer(state_dir, version, VERSION))
    return int(version)


def open_reader(state_dir: Path) -> sqlite3.Connection:
    """A connection that can only read. Raises sqlite3.Error."""
    path = (state_dir / DATABASE).absolute().as_uri()
    db = sqlite3.connect(f"{path}?mode=ro", uri=True, isolation_level=None, timeout=10.0)
    db.execute("PRAGMA cache_size = -4096")
    return db


def open_copier(state_dir: Path) -> sqlite3.Connection:
    """A connection that copies the log into the database. Raises sqlite3.Error."""
    db = sqlite3.connect(state_dir / DATABASE, isolation_level=None, timeout=0.0)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cache_size = -1024")
    return db


def in_snapshot(work: Callable[[sqlite3.Connection], T], db: sqlite3.Connection) -> T:
    """Do `work` in a read transaction: whatever it reads is of one state."""
    db.execute("BEGIN")
    try:
        return work(db)
    finally:
        db.execute("ROLLBACK")


def is_present(state_dir: Path) -> bool:
    """Whether a service has kept its queue here."""
    return (state_dir / DATABASE).exists()


def last_run(state_dir: Path) -> LastRun:
    """What the last service here has left of its clock; nothing where there was none."""
    if not is_present(state_dir):
        return LastRun()
    try:
        with contextlib.closing(open_reader(state_dir)) as db:
            row = db.execute("SELECT clock FROM meta").fetchone()
            known = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'anchor'").fetchone()
            left = db.execute("SELECT boot, offset_s FROM anchor").fetchone() if known else None
    except sqlite3.Error:
        return LastRun()  # opening for writing comes next, and says what is wrong
    return LastRun(float(row[0]) if row else 0.0, *(left or ()))


@dataclass(frozen=True, slots=True)
class LogState:
    """What a checkpoint found: frames in the log, each of one page, and how many are copied."""

    frames: int
    copied: int

    @property
    def size_bytes(self) -> int:
        """What the frames take; the file may be longer, and is written from its start again."""
        return self.frames * (PAGE_BYTES + _FRAME_HEAD_BYTES)


def checkpoint(db: sqlite3.Connection) -> LogState:
    """Copy what the log has into the database, without waiting for anybody."""
    _, frames, copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return LogState(max(0, frames), max(0, copied))


def empty_log(db: sqlite3.Connection) -> LogState:
    """The same by the writer itself, and where the file is long, give it back to the disk."""
    state = checkpoint(db)
    path = db.execute("PRAGMA database_list").fetchone()[2]
    if state.copied == state.frames and log_bytes(Path(path)) > LOG_KEPT_BYTES:
        db.execute("PRAGMA busy_timeout = 0")  # who reads is not waited for
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            db.execute(f"PRAGMA busy_timeout = {int(WRITER_PATIENCE_S * 1000)}")
    return state


def log_bytes(database: Path) -> int:
    """How long the log is on disk; 0 where there is none."""
    try:
        return database.with_name(f"{database.name}-wal").stat().st_size
    except OSError:
        return 0


class DiskReserve:
    """Disk space that is given back when there is no other."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / RESERVE

    def take(self) -> bool:
        """Allocate it (again); False where there is no room."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                return True  # a file system without allocation: go on without a reserve
            self._path.unlink(missing_ok=True)
            return False
        finally:
            os.close(fd)
        return True

    def release(self) -> None:
        """Give it back, so that deleting and checkpointing go on."""
        self._path.unlink(missing_ok=True)


def is_full(error: BaseException) -> bool:
    """Whether there was no room, rather than a fault."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def is_bug(error: BaseException) -> bool:
    """Whether the fault is in the code, not in the disk."""
    bugs = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
    return isinstance(error, bugs) or not isinstance(error, sqlite3.Error | msgspec.MsgspecError)


def explained(state_dir: Path, error: BaseException) -> str:
    """What is wrong with the store, and what to do."""
    path = state_dir / DATABASE
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return (
            f"the disk of {path} is full: make room there; delivery goes on, "
            "and intake resumes by itself"
        )
    if is_damaged(error):
        return (
            f"{path} is damaged ({error}): stop the service, keep a copy of the file, and restore "
            "it from a backup or start with another service.state_dir"
        )
    if is_bug(error):
        return (
            f"{path} was not written because of an error in the service ({error!r}): please "
            "report it with the log; a restart goes on from the last state that was written"
        )
    return (
        f"{path} cannot be read or written ({error}): check the disk, its mount and its "
        "permissions (the system log says more); intake resumes by itself"
    )


def is_damaged(error: BaseException) -> bool:
    """Whether what is stored makes no sense any more, so that trying again is of no use."""
    if isinstance(error, msgspec.MsgspecError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
