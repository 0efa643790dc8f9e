"""Which events were there before: one row a key.

Owns the table of keys seen within the window. Stands in for the log-structured
index with the same interface: right, but each key costs a B-tree insert.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from supervisor.queue import DedupeStats

#: Bytes on disk that a key is reckoned at.
_ROW_BYTES = 48
#: Keys that one slice of upkeep forgets.
_SLICE = 2000


class DedupeIndex:
    """For the writer's thread; `stats` from any."""

    def __init__(self, window_s: float, budget_bytes: int) -> None:
        self._window_s = window_s
        self._most = max(1, budget_bytes // _ROW_BYTES)
        self._ids = 0
        self._staged = 0
        self._dropped = 0
        self._shrunk_to: float | None = None

    def create(self, db: sqlite3.Connection) -> None:
        """Make the table."""
        db.execute(
            "CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID"
        )

    def load(self, db: sqlite3.Connection, now: float) -> None:
        """Count what is there."""
        (self._ids,) = db.execute("SELECT count(*) FROM seen").fetchone()

    def is_repeat(self, db: sqlite3.Connection, keys: Sequence[bytes], now: float) -> list[bool]:
        """Which of the keys were staged within the window, or stand earlier in `keys`."""
        oldest = now - self._window_s
        known: set[bytes] = set()
        answers = []
        for key in keys:
            row = db.execute("SELECT 1 FROM seen WHERE key = ? AND at > ?", (key, oldest))
            answers.append(key in known or row.fetchone() is not None)
            known.add(key)
        self._dropped += sum(answers)
        return answers

    def stage(self, db: sqlite3.Connection, keys: Sequence[bytes], now: float) -> None:
        """Remember keys with the open transaction."""
        db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", [(key, now) for key in keys])
        self._staged += len(keys)

    def committed(self) -> None:
        """The transaction is on disk."""
        self._ids += self._staged
        self._staged = 0

    def rolled_back(self) -> None:
        """The transaction is not."""
        self._staged = 0

    def maintain(self, db: sqlite3.Connection, now: float) -> bool:
        """Forget a slice of what is too old, or too much; whether there is more to do."""
        excess = self._ids - self._most
        gone = db.execute(
            "DELETE FROM seen WHERE key IN (SELECT key FROM seen WHERE at <= ? LIMIT ?)",
            (now - self._window_s, _SLICE),
        ).rowcount
        if gone < excess:
            gone += db.execute(
                "DELETE FROM seen WHERE key IN (SELECT key FROM seen ORDER BY at LIMIT ?)",
                (min(_SLICE, excess - gone),),
            ).rowcount
            (oldest,) = db.execute("SELECT min(at) FROM seen").fetchone()
            self._shrunk_to = None if oldest is None else now - oldest
        self._ids -= gone
        return gone >= _SLICE

    def checkpoint(self, db: sqlite3.Connection) -> None:
        """Everything is on disk already."""

    def stats(self) -> DedupeStats:
        """What the window is now."""
        window = self._window_s if self._shrunk_to is None else self._shrunk_to
        return DedupeStats(window, self._ids, self._dropped)
