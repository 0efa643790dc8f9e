"""From an older format of the database to the newest one, step by step.

Owns the steps. A change of the tables is one more of them, never a change of an older one, and a
folder of the format that is left behind goes to the tests (`tests/queue/sqlite/formats`). A step
is one transaction together with the number that it leads to: a service that is killed in the
middle goes on at the next start from the last step that was finished. Must not know what the
tables are used for, and nothing leads back: older code refuses, and says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

Step = Callable[[sqlite3.Connection], None]


def _count_commits(db: sqlite3.Connection) -> None:
    """Commits and events are counted, and the store has a name, so that a loss can be noticed."""
    db.execute("ALTER TABLE meta ADD COLUMN commits INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE meta ADD COLUMN events INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE meta ADD COLUMN store TEXT NOT NULL DEFAULT ''")
    db.execute("UPDATE meta SET store = lower(hex(randomblob(8)))")


#: By the number of the format that a step leaves behind; it leads to the next one.
STEPS: Final[Mapping[int, Step]] = {1: _count_commits}


def bring_forward(
    db: sqlite3.Connection, version: int, newest: int, steps: Mapping[int, Step] = STEPS
) -> None:
    """From format `version` to `newest`, one transaction a step. Raises sqlite3.Error."""
    for number in range(version, newest):
        db.execute("BEGIN IMMEDIATE")
        try:
            steps[number](db)
            db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk ends it by itself
                db.execute("ROLLBACK")
            raise
        _log.info("queue_format_migrated", was=number, now=number + 1)
