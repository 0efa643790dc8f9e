"""A copy of the queue in one file, made beside a running service or without one, and its return.

Owns what a backup is: a database like any other, in one state, that says of itself in its header
that it is a backup, and carries the small files that belong to what is pending. Put in the place
of `queue.db` it is taken over at the next start, whatever lies beside it: a write-ahead log that
belonged to another file would be the end of it. Must not know what is in the queue.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from supervisor.queue import QueueUnavailable
from supervisor.queue.sqlite import mark
from supervisor.queue.sqlite.schema import DATABASE, explained, open_reader, require_known
from supervisor.runtime.durable import sync_folder, write_durably
from supervisor.state import backoff, paused

_log = structlog.get_logger(__name__)

#: The application id in the header of a backup, until it is taken over: "BkUp".
BACKUP: Final = 0x426B5570
#: Files of the state directory that go with the queue: what an operator holds back stays held.
BESIDE: Final = (paused.FILE, backoff.FILE)
#: Pages that are copied between two reports of progress: 4 MiB.
PAGES: Final = 512

# https://www.sqlite.org/fileformat2.html#the_database_header
_PAGE_SIZE_AT, _PAGES_AT, _APPLICATION_ID_AT, _HEADER_BYTES = 16, 28, 68, 100


def back_up(state_dir: Path, file: Path, progress: Callable[[int, int], None]) -> None:
    """Copy the queue as it is now into `file`, which must not be there or is overwritten.

    `progress` hears how many pages are copied and how many there are. The file is on disk when this
    returns; whoever wants it whole or not at all renames it then. Raises QueueUnavailable.
    """
    try:
        with (
            contextlib.closing(open_reader(state_dir)) as db,
            contextlib.closing(sqlite3.connect(file, isolation_level=None)) as copy,
        ):
            require_known(state_dir, db)
            # A state that is held while it is copied: else each commit would begin the copy anew.
            db.execute("BEGIN")
            db.execute("SELECT 1 FROM meta").fetchone()
            copy.execute("PRAGMA journal_mode = OFF")
            copy.execute("PRAGMA synchronous = OFF")
            db.backup(copy, pages=PAGES, progress=lambda _, left, all_: progress(all_ - left, all_))
            _declare(state_dir, copy)
        with file.open("rb") as written:
            os.fsync(written.fileno())
    except (sqlite3.Error, OSError) as error:
        raise QueueUnavailable(_why(state_dir, file, error)) from error


def _declare(state_dir: Path, copy: sqlite3.Connection) -> None:
    copy.execute("PRAGMA journal_mode = DELETE")  # no log beside it is needed to read it
    copy.execute("DROP TABLE IF EXISTS beside")  # of a queue that was a backup itself
    copy.execute("CREATE TABLE beside (name TEXT PRIMARY KEY, content BLOB NOT NULL)")
    for name in BESIDE:
        with contextlib.suppress(FileNotFoundError):  # nothing is paused, nobody asked to wait
            content = (state_dir / name).read_bytes()
            copy.execute("INSERT INTO beside VALUES (?, ?)", (name, content))
    copy.execute(f"PRAGMA application_id = {BACKUP}")


def _why(state_dir: Path, file: Path, error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return f"{file}: the disk is full: nothing was kept of this backup; make room there"
    if isinstance(error, OSError):
        return f"{error.filename or file}: {error.strerror}"
    return explained(state_dir, error)


def take_over(state_dir: Path) -> bool:
    """Make a backup that was put in the place of the database the database; whether there was one.

    For the owner of the directory, before anything is opened. A kill on the way has it done again
    at the next start: what says that it is a backup goes last. Raises QueueUnavailable.
    """
    path = state_dir / DATABASE
    try:
        with path.open("r+b") as file:
            header = file.read(_HEADER_BYTES)
            if not _is_backup(header):
                return False
            _require_whole(path, header)
            for suffix in ("-wal", "-shm", "-journal"):  # another file's
                path.with_name(f"{DATABASE}{suffix}").unlink(missing_ok=True)
            _put_beside(state_dir)
            mark.remove(state_dir)
            file.seek(_APPLICATION_ID_AT)
            file.write(struct.pack(">I", 0))
            file.flush()
            os.fsync(file.fileno())
    except (sqlite3.Error, OSError) as error:
        raise QueueUnavailable(_why(state_dir, path, error)) from error
    _log.warning("queue_backup_restored", path=str(path))
    return True


def _is_backup(header: bytes) -> bool:
    at = _APPLICATION_ID_AT
    return header[at : at + 4] == struct.pack(">I", BACKUP)


def _require_whole(path: Path, header: bytes) -> None:
    (page_size,) = struct.unpack_from(">H", header, _PAGE_SIZE_AT)
    (pages,) = struct.unpack_from(">I", header, _PAGES_AT)
    wanted = (65536 if page_size == 1 else page_size) * pages
    found = path.stat().st_size
    if found < wanted:
        raise QueueUnavailable(
            f"{path}: only {found} of {wanted} bytes of the backup are here: copy it once more"
        )


def _put_beside(state_dir: Path) -> None:
    """The small files as they were when the backup was made; what it did not have goes."""
    uri = f"{(state_dir / DATABASE).absolute().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
        kept = dict(db.execute("SELECT name, content FROM beside"))
    for name in BESIDE:
        if name in kept:
            write_durably(state_dir / name, kept[name])
        else:
            (state_dir / name).unlink(missing_ok=True)
    sync_folder(state_dir)
