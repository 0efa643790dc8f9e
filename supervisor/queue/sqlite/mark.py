"""The mark of how far the queue has come, kept apart from the database.

Owns the file `queue.mark` and the comparison at start: a database that ends before its mark has
lost what was on disk, whoever took it away (a file that was put back, a disk that was rolled back
or lied about a write). Written at checkpoints and at most about a second behind the newest
commit, never before that commit is on disk, and never on the event loop. A backup has no mark
beside it: it says of itself that it is one, see `backup.py`. Must not know what is in the queue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import structlog

from supervisor.queue import QueueUnavailable
from supervisor.queue.sqlite.ledger import Meta
from supervisor.runtime.durable import sync_folder, write_durably
from supervisor.runtime.rfc3339 import rfc3339

_log = structlog.get_logger(__name__)

#: Its name in the state directory.
FILE: Final = "queue.mark"


class HighMark(msgspec.Struct, frozen=True):
    """Commits and events that were on disk at `clock` (epoch seconds), of the queue `store`."""

    store: str
    commits: int
    events: int
    clock: float

    @classmethod
    def of(cls, meta: Meta) -> HighMark:
        """What a committed row of `meta` amounts to."""
        return cls(meta.store, meta.commits, meta.events, meta.clock)


def read(state_dir: Path) -> HighMark | None:
    """The mark; None where there is none, or none that can be read."""
    path = state_dir / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=HighMark)
    except FileNotFoundError:
        return None  # a new directory, or one from before there were marks
    except (OSError, msgspec.MsgspecError) as error:
        # Worth no refusal to start: it only says less than the database itself.
        _log.warning(
            "queue_mark_not_read",
            path=str(path),
            error=str(error),
            consequence="whether something is missing is not known",
        )
        return None


def write(state_dir: Path, mark: HighMark) -> None:
    """Put it on disk. Raises OSError."""
    write_durably(state_dir / FILE, msgspec.json.encode(mark))


def remove(state_dir: Path) -> None:
    """What it says is given up, or said by something else. Raises OSError."""
    (state_dir / FILE).unlink(missing_ok=True)
    sync_folder(state_dir)


def require_database(state_dir: Path) -> None:
    """The database is empty or was not there. Raises QueueUnavailable where it once was."""
    mark = read(state_dir)
    if mark is not None:
        raise QueueUnavailable(
            f"{state_dir}: the database is gone, all {mark.commits} commits with {mark.events} "
            f"events until {rfc3339(mark.clock)}: {_what_to_do(mark)}"
        )


def require_all(state_dir: Path, meta: Meta) -> None:
    """The database has what it once had. Raises QueueUnavailable with what is missing."""
    mark = read(state_dir)
    if mark is None:
        return
    if mark.store != meta.store:
        raise QueueUnavailable(
            f"{state_dir}: the database is another queue's: its own had {mark.commits} commits "
            f"with {mark.events} events until {rfc3339(mark.clock)}, this one has {meta.commits} "
            f"with {meta.events} until {rfc3339(meta.clock)}: {_what_to_do(mark)}"
        )
    if mark.commits > meta.commits:
        raise QueueUnavailable(
            f"{state_dir}: {mark.commits - meta.commits} commits with "
            f"{mark.events - meta.events} events are missing: the database ends at "
            f"{rfc3339(meta.clock)} and had come to {rfc3339(mark.clock)}: {_what_to_do(mark)}"
        )


def _what_to_do(mark: HighMark) -> str:
    return (
        "put its files back (queue.db and queue.db-wal, as they were together), or a backup; to go "
        f"on without what is missing, start once with --accept-loss {mark.commits}"
    )


def accept_loss(state_dir: Path, commits: int) -> bool:
    """Give up what the mark says is missing, where it is this mark; whether it was. Raises OSError.

    The number is the mark's: a flag that is left in a unit file accepts no later loss.
    """
    mark = read(state_dir)
    if mark is None or mark.commits != commits:
        return False
    remove(state_dir)
    return True
