"""The books of a state directory, counted anew from its database.

Owns the recount, which works beside a running service and without one. Reads only:
it takes no lock and changes no file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from operator import add
from pathlib import Path

import msgspec

from supervisor.queue import Books, QueueUnavailable
from supervisor.queue.sqlite.counters import COUNTERS, PENDING, books_of
from supervisor.queue.sqlite.find import recount
from supervisor.queue.sqlite.schema import explained, in_snapshot, open_reader, require_known


def read_books(state_dir: Path) -> Mapping[str, Books]:
    """The books by connection, `pending` counted anew. Raises QueueUnavailable.

    Connections that have never had an event, or are not in the config any
    more, are there as far as the books know them.
    """
    try:
        with contextlib.closing(open_reader(state_dir)) as db:
            require_known(state_dir, db)
            return in_snapshot(audited, db)
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise QueueUnavailable(explained(state_dir, error)) from error


def audited(db: sqlite3.Connection) -> dict[str, Books]:
    """The same, in a read transaction of the caller's. Raises sqlite3.Error."""
    pending = recount(db)
    names = dict(db.execute("SELECT id, name FROM connections"))
    counted = {
        row[0]: list(row[1:])
        for row in db.execute(
            f"SELECT connection, {', '.join(COUNTERS)} FROM books"  # noqa: S608 - constants
        )
    }
    by_name: dict[str, list[int]] = {}
    for connection in counted.keys() | pending.keys():
        row = counted.get(connection, [0] * len(COUNTERS))
        row[PENDING] = pending.get(connection, 0)
        # A connection whose source was changed has a number for each.
        name = names.get(connection, f"#{connection}")
        by_name[name] = list(map(add, row, by_name.get(name, [0] * len(COUNTERS))))
    return {name: books_of(row) for name, row in by_name.items()}
