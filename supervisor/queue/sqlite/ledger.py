"""What every transaction keeps: the counters of connections, and the one row of `meta`.

Owns how counters change on disk and what the history is reckoned at. Must not know what is counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from supervisor.queue.sqlite.chunks import KEY_BYTES
from supervisor.queue.sqlite.counters import COUNTERS

#: Bytes that a row of the history is reckoned at, beside its keys.
HISTORY_OVERHEAD = 100

#: Changes of counters, by connection.
Deltas = dict[int, list[int]]

_BOOKS = (
    f"INSERT INTO books (connection, {', '.join(COUNTERS)}) "  # noqa: S608 - constants
    f"VALUES (?{', ?' * len(COUNTERS)}) ON CONFLICT (connection) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTERS)
)


@dataclass(slots=True)
class Meta:
    """The one row of `meta`: what has no other place. `clock` is epoch seconds.

    `commits` and `events` only ever grow while the files stay what they are: transactions, and
    events that were accepted. `store` names this queue among all others.
    """

    clock: float
    chunk_id: int
    row_id: int
    history_bytes: int
    letters_dropped: int
    evicted: int
    commits: int
    events: int
    store: str

    @classmethod
    def read(cls, db: sqlite3.Connection) -> Meta:
        """As it was written last."""
        columns = ", ".join(field.name for field in fields(cls))
        return cls(*db.execute(f"SELECT {columns} FROM meta").fetchone())  # noqa: S608 - constants

    def write(self, db: sqlite3.Connection) -> None:
        """Part of the open transaction."""
        db.execute(
            "UPDATE meta SET clock = ?, chunk_id = ?, row_id = ?, history_bytes = ?, "
            "letters_dropped = ?, evicted = ?, commits = ?, events = ?",
            (
                self.clock,
                self.chunk_id,
                self.row_id,
                self.history_bytes,
                self.letters_dropped,
                self.evicted,
                self.commits,
                self.events,
            ),
        )


def add_deltas(to: Deltas, more: Mapping[int, Sequence[int]]) -> None:
    """Add changes of counters to others."""
    for connection, delta in more.items():
        known = to.get(connection)
        if known is None:
            to[connection] = list(delta)
        else:
            for counter, n in enumerate(delta):
                known[counter] += n


def count(db: sqlite3.Connection, deltas: Deltas) -> None:
    """Add changes to the counters on disk."""
    if deltas:
        db.executemany(_BOOKS, [(connection, *delta) for connection, delta in deltas.items()])


def history_size(count: int) -> int:
    """Bytes that the history of a chunk is reckoned at."""
    return count * (KEY_BYTES + 1) + HISTORY_OVERHEAD
