"""Ordering by user on disk: what is parked, and what is promoted next.

Owns the SQL about retries that wait behind another event of their user
(`next_at` from `PARKED` on), and what a connection's order starts with after a
restart or a change of the config. `core/scheduling/user_order.py` decides. Must not touch
the state in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from supervisor.queue.sqlite.ledger import Meta
from supervisor.queue.sqlite.retry_heap import RetryEntry
from supervisor.queue.sqlite.schema import PARKED

#: Users for which one transaction promotes.
PROMOTED = 500

#: A connection's number, and a user.
ConnectionUser = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class HeldUser:
    """Of one user: since when it is held back, whether by a retry, and how many are parked."""

    user: bytes
    since: float | None
    has_barrier: bool
    parked: int


@dataclass(frozen=True, slots=True)
class OrderStart:
    """What an order starts with, and how many retries were parked for it."""

    parked: int
    users: list[HeldUser]


@dataclass(frozen=True, slots=True)
class PromoteJob:
    """The first of what each user has parked is due at once."""

    users: Sequence[ConnectionUser]
    now: float

    def run(self, db: sqlite3.Connection, meta: Meta) -> Mapping[ConnectionUser, RetryEntry | None]:
        """The retry of each user; None where nothing is parked."""
        return _promote(db, self.users, self.now)


def _promote(
    db: sqlite3.Connection, users: Sequence[ConnectionUser], now: float
) -> Mapping[ConnectionUser, RetryEntry | None]:
    found: dict[ConnectionUser, RetryEntry | None] = {}
    for connection, user in users:
        row = db.execute(
            "UPDATE retries SET next_at = ? WHERE id = (SELECT id FROM retries "  # noqa: S608 - a constant
            f"WHERE connection = ? AND user = ? AND next_at >= {PARKED} ORDER BY id LIMIT 1) "
            "RETURNING id, alone, received",
            (now, connection, user),
        ).fetchone()
        found[connection, user] = None if row is None else (now, row[0], bool(row[1]), row[2])
    return found


@dataclass(frozen=True, slots=True)
class StartOrderJob:
    """A connection is ordered from now on: of each user, all but the oldest retry are parked.

    Those that are `leased` stay as they are: their lease decides them.
    """

    connection: int
    leased: frozenset[int]

    def run(self, db: sqlite3.Connection, meta: Meta) -> OrderStart:
        """What the order starts with."""
        return _start_order(db, self.connection, self.leased)


def _start_order(db: sqlite3.Connection, connection: int, leased: frozenset[int]) -> OrderStart:
    parked = db.execute(
        f"UPDATE retries SET next_at = {PARKED} WHERE connection = ? AND next_at < {PARKED} "  # noqa: S608 - a constant
        "AND id NOT IN (SELECT value FROM json_each(?)) AND id > "
        "(SELECT min(id) FROM retries AS barrier WHERE barrier.connection = retries.connection "
        f"AND barrier.user = retries.user AND barrier.next_at < {PARKED})",
        (connection, msgspec.json.encode(sorted(leased)).decode()),
    ).rowcount
    rows = db.execute(
        f"SELECT user, min(first_at), total(next_at < {PARKED}), total(next_at >= {PARKED}) "  # noqa: S608 - a constant
        "FROM retries WHERE connection = ? GROUP BY user ORDER BY 2",
        (connection,),
    )
    users = [
        HeldUser(user, since, barriers > 0, int(behind)) for user, since, barriers, behind in rows
    ]
    return OrderStart(parked, users)


@dataclass(frozen=True, slots=True)
class EndOrderJob:
    """A connection is not ordered any more: what was parked is due."""

    connection: int
    now: float

    def run(self, db: sqlite3.Connection, meta: Meta) -> int:
        """How many there were."""
        return db.execute(
            f"UPDATE retries SET next_at = ? WHERE connection = ? AND next_at >= {PARKED}",  # noqa: S608 - a constant
            (self.now, self.connection),
        ).rowcount


def parked_by_connection(db: sqlite3.Connection) -> dict[int, int]:
    """How many each connection has parked."""
    query = "SELECT connection, count(*) FROM retries WHERE next_at >= ? GROUP BY connection"
    return dict(db.execute(query, (PARKED,)))
