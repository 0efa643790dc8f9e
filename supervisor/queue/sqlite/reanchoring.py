"""Times that are kept, where an earlier run's clock was not this one's.

Owns which columns are times, how they are moved, and what of its own clock a run leaves for the
next start. Must not decide what the time is (`runtime/clock.py`): the service says by how much the
last run's clock was ahead of its own, or behind.

A run that was in the future may have begun after others that were right. So the row of `anchor` has
when the last times began whose clock is one, `began`, and by how much older ones were moved on
then, `moved_s`: those are never taken back by more.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import structlog

from supervisor.queue.sqlite.ledger import Meta
from supervisor.queue.sqlite.schema import PARKED
from supervisor.runtime.clock import BELIEVED_S, Anchored

_log = structlog.get_logger(__name__)

#: All columns that hold a time at which something has happened, by table.
HAPPENED: Final = {
    "chunks": ("received",),
    "history": ("received",),
    "retries": ("received", "first_at"),
    "dead_letters": ("received", "first_at", "last_at"),
    "dedupe_log": ("at",),
    "dedupe_runs": ("oldest", "newest"),
    "dedupe_meta": ("forgotten",),
}


def begin(db: sqlite3.Connection, meta: Meta, now: float, anchored: Anchored) -> None:
    """A run begins, whose clock says `now`: what is kept is moved to it; `meta`, too.

    All in one transaction, so that it is done once. Raises sqlite3.Error.
    """
    ahead = anchored.reanchored_s or max(0.0, meta.clock - now)
    is_moved = abs(ahead) > BELIEVED_S
    db.execute("BEGIN IMMEDIATE")
    try:
        row = db.execute("SELECT began, moved_s FROM anchor").fetchone()
        began, moved_s = (0.0, 0.0) if row is None else row
        changed = 0
        if ahead > 0 and is_moved:
            if row is None:
                began = now  # of what is older nothing is known, and it may well be right
            changed = _take_back(db, now, ahead, began, min(ahead, moved_s))
        elif is_moved:
            changed = _move_on(db, -ahead)
        if is_moved or not anchored.is_sure:
            began, moved_s = now, max(0.0, -ahead)
        if is_moved:
            meta.clock = now
            meta.write(db)
        db.execute(
            "INSERT OR REPLACE INTO anchor VALUES (1, ?, ?, ?, ?)",
            (anchored.boot, anchored.offset_s, began, moved_s),
        )
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    if is_moved:
        _log.warning("queue_times_moved", by_s=round(-ahead, 1), times=changed)


def _take_back(
    db: sqlite3.Connection, now: float, ahead: float, began: float, older_by: float
) -> int:
    """What is later than `began` by `ahead`, and what is older by `older_by`."""
    changed = 0
    for table, column in _present(db):
        changed += db.execute(
            f"UPDATE {table} SET {column} = {column} - iif({column} >= ?, ?, ?) "  # noqa: S608 - constants
            f"WHERE {column} > 0 AND ({column} >= ? OR ? > 0)",
            (began, ahead, older_by, began, older_by),
        ).rowcount
    return (
        changed
        + db.execute(
            "UPDATE retries SET next_at = max(?, next_at - ?) WHERE next_at > ? AND next_at < ?",
            (now, ahead, now, PARKED),
        ).rowcount
    )


def _move_on(db: sqlite3.Connection, by_s: float) -> int:
    """All of it, since none of it can be of the time that has not passed."""
    changed = 0
    for table, column in _present(db):
        changed += db.execute(
            f"UPDATE {table} SET {column} = {column} + ? WHERE {column} > 0",  # noqa: S608 - constants
            (by_s,),
        ).rowcount
    return (
        changed
        + db.execute(
            "UPDATE retries SET next_at = next_at + ? WHERE next_at < ?", (by_s, PARKED)
        ).rowcount
    )


def _present(db: sqlite3.Connection) -> list[tuple[str, str]]:
    present = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    return [
        (table, column)
        for table, columns in HAPPENED.items()
        for column in columns
        if table in present
    ]
