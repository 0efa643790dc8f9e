"""Ordering by user on disk: what was put aside, and who is called next.

Owns the SQL about retries that wait behind another event of their user
(`next_at` from `ASIDE` on), and what a connection's order starts with after a
restart or a change of the config. `core/ordering.py` decides. Must not touch
the state in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from supervisor.queue.sqlite.backlog import Due
from supervisor.queue.sqlite.schema import ASIDE

#: Users that one transaction calls.
CALLED = 500

#: A connection's number, and a user.
Caller = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class HeldUser:
    """Of one user: since when it is held back, whether by a retry, and how many wait."""

    user: bytes
    since: float | None
    has_head: bool
    aside: int


@dataclass(frozen=True, slots=True)
class Begun:
    """What an order starts with, and how many retries were put aside for it."""

    put_aside: int
    users: list[HeldUser]


def call(
    db: sqlite3.Connection, callers: Iterable[Caller], now: float
) -> Mapping[Caller, Due | None]:
    """The first of what each user has waiting is due at once; None where nothing waits."""
    found: dict[Caller, Due | None] = {}
    for connection, user in callers:
        row = db.execute(
            "UPDATE retries SET next_at = ? WHERE id = (SELECT id FROM retries "  # noqa: S608 - a constant
            f"WHERE connection = ? AND user = ? AND next_at >= {ASIDE} ORDER BY id LIMIT 1) "
            "RETURNING id, alone, received",
            (now, connection, user),
        ).fetchone()
        found[connection, user] = None if row is None else (now, row[0], bool(row[1]), row[2])
    return found


def begin(db: sqlite3.Connection, connection: int, leased: frozenset[int]) -> Begun:
    """A connection is ordered from now on: of each user, all but the oldest retry are put aside.

    Those that are `leased` stay as they are: whoever has them decides them.
    """
    put_aside = db.execute(
        f"UPDATE retries SET next_at = {ASIDE} WHERE connection = ? AND next_at < {ASIDE} "  # noqa: S608 - a constant
        "AND id NOT IN (SELECT value FROM json_each(?)) AND id > "
        "(SELECT min(id) FROM retries AS head WHERE head.connection = retries.connection "
        f"AND head.user = retries.user AND head.next_at < {ASIDE})",
        (connection, msgspec.json.encode(sorted(leased)).decode()),
    ).rowcount
    rows = db.execute(
        f"SELECT user, min(first_at), total(next_at < {ASIDE}), total(next_at >= {ASIDE}) "  # noqa: S608 - a constant
        "FROM retries WHERE connection = ? GROUP BY user ORDER BY 2",
        (connection,),
    )
    users = [HeldUser(user, since, heads > 0, int(aside)) for user, since, heads, aside in rows]
    return Begun(put_aside, users)


def end(db: sqlite3.Connection, connection: int, now: float) -> int:
    """A connection is not ordered any more: what was put aside is due; how many."""
    return db.execute(
        f"UPDATE retries SET next_at = ? WHERE connection = ? AND next_at >= {ASIDE}",  # noqa: S608 - a constant
        (now, connection),
    ).rowcount


def aside_by_connection(db: sqlite3.Connection) -> dict[int, int]:
    """How many each connection has put aside."""
    return dict(
        db.execute(
            f"SELECT connection, count(*) FROM retries WHERE next_at >= {ASIDE} GROUP BY connection"  # noqa: S608 - a constant
        )
    )
