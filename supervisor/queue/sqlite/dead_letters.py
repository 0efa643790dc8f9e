"""Dead letters on disk: listed, shown, sent again, dropped, kept within their budget.

Owns the SQL about dead letters, apart from those that settlement
(`journal.py`) and eviction (`eviction.py`) write. Works in slices, so that the writer's
thread is never held up. Must not touch the state in memory: what a slice has
changed, it returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from supervisor.queue import DeadLetter, DeadLetterFilter, Outcome
from supervisor.queue.sqlite.counters import (
    COUNTERS,
    DEAD_LETTER_BYTES,
    DEAD_LETTERS,
    PENDING,
    PENDING_BYTES,
    RETRYING,
    ended_at,
)
from supervisor.queue.sqlite.ledger import Deltas, Meta, count
from supervisor.queue.sqlite.retry_heap import RetryEntry
from supervisor.queue.sqlite.schema import PARKED

#: Dead letters that one transaction moves or drops.
SLICE = 500
#: Bytes on disk that a dead letter is reckoned at, beside its payload.
DEAD_LETTER_OVERHEAD = 200

_COLUMNS = "id, connection, message_id, outcome, reason, attempts, first_at, last_at, exit"


class _Identified(msgspec.Struct):
    messageId: str = ""


_identify = msgspec.json.Decoder(_Identified).decode


def message_id_of(body: bytes) -> str:
    """The id in a stored event; "" where it has none."""
    try:
        return _identify(body).messageId
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""  # it was stored as it is, and the dead letter shows all of it


@dataclass(slots=True)
class DeadLettersMoved:
    """What a slice has done: retries that there are now, and changes of counters.

    `parked` has connection and user of those that wait their turn behind others.
    """

    matched: int = 0
    done: int = 0
    last_id: int | None = None
    retries: dict[int, list[RetryEntry]] = field(default_factory=dict)
    parked: list[tuple[int, bytes]] = field(default_factory=list)
    retry_bytes: int = 0
    deltas: Deltas = field(default_factory=dict)

    def _count(self, connection: int, counter: int, n: int) -> None:
        self.deltas.setdefault(connection, [0] * len(COUNTERS))[counter] += n


def _conditions(where: DeadLetterFilter, ids: Mapping[str, Sequence[int]]) -> tuple[str, list[Any]]:
    """A WHERE clause with its parameters (Any: whatever SQLite can bind)."""
    clauses, values = ["1"], list[Any]()

    def add(clause: str, *given: Any) -> None:
        clauses.append(clause)
        values.extend(given)

    if where.connection is not None:
        add("connection IN (SELECT value FROM json_each(?))", _json(ids.get(where.connection, ())))
    if where.outcome is not None:
        add("outcome = ?", where.outcome.value)
    if where.error is not None:
        add("casefold(reason) LIKE ? ESCAPE '\\'", f"%{_escaped(where.error.casefold())}%")
    if where.since is not None:
        add("last_at >= ?", where.since)
    if where.until is not None:
        add("last_at <= ?", where.until)
    if where.ids is not None:
        wanted = [int(one) for one in where.ids if _is_id(one)]
        add("id IN (SELECT value FROM json_each(?))", _json(wanted))
    return " AND ".join(clauses), values


def _json(numbers: Sequence[int]) -> str:
    return msgspec.json.encode(numbers).decode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _prepare(db: sqlite3.Connection) -> None:
    # SQLite folds ASCII only; a reason may be in any language.
    db.create_function("casefold", 1, str.casefold, deterministic=True)


def listed(
    db: sqlite3.Connection,
    where: DeadLetterFilter,
    ids: Mapping[str, Sequence[int]],
    names: Mapping[int, str],
    *,
    limit: int,
    after: str | None,
) -> list[DeadLetter]:
    """One page, newest first."""
    _prepare(db)
    clause, values = _conditions(where, ids)
    if after is not None:
        if not _is_id(after):
            return []
        clause += " AND id < ?"
        values.append(int(after))
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE {clause} ORDER BY id DESC LIMIT ?",  # noqa: S608 - clauses are constants, values are bound
        [*values, limit],
    )
    return [_letter(row, names) for row in rows]


def shown(db: sqlite3.Connection, letter_id: str, names: Mapping[int, str]) -> DeadLetter | None:
    """One dead letter with its event."""
    if not _is_id(letter_id):
        return None
    row = db.execute(
        f"SELECT {_COLUMNS}, payload FROM dead_letters WHERE id = ?",  # noqa: S608 - columns are constants
        (int(letter_id),),
    ).fetchone()
    return None if row is None else _letter(row, names)


def _letter(row: tuple[Any, ...], names: Mapping[int, str]) -> DeadLetter:  # Any: a row's columns
    letter_id, connection, message_id, outcome, reason, attempts, first_at, last_at, exit_id = row[
        :9
    ]
    return DeadLetter(
        str(letter_id),
        names.get(connection, f"#{connection}"),
        message_id,
        Outcome(outcome),
        reason,
        attempts,
        first_at,
        last_at,
        exit_id,
        row[9] if len(row) > 9 else None,
    )


@dataclass(frozen=True, slots=True)
class CountJob:
    """How many dead letters match; `ids` are the numbers of connections, by name."""

    where: DeadLetterFilter
    ids: Mapping[str, Sequence[int]]

    def run(self, db: sqlite3.Connection, meta: Meta) -> int:
        """The whole table at once."""
        _prepare(db)
        clause, values = _conditions(self.where, self.ids)
        query = f"SELECT count(*) FROM dead_letters WHERE {clause}"  # noqa: S608 - as above
        (n,) = db.execute(query, values).fetchone()
        return int(n)


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """Dead letters with ids in (after, upto] become retries again, oldest first.

    Retries get row ids from `first_row_id` on. Those of connections that are
    not `configured` count as matched only; those of `ordered` ones take their
    place behind what waits already.
    """

    where: DeadLetterFilter
    ids: Mapping[str, Sequence[int]]
    configured: frozenset[int]
    ordered: frozenset[int]
    after: int
    upto: int
    now: float
    first_row_id: int

    def run(self, db: sqlite3.Connection, meta: Meta) -> DeadLettersMoved:
        """Up to `SLICE`; `last_id` is where the next slice goes on, None at the end."""
        return _replay_slice(db, self)


def _replay_slice(db: sqlite3.Connection, job: ReplayJob) -> DeadLettersMoved:
    moved = DeadLettersMoved()
    matching = _slice_of(db, job.where, job.ids, job.after, job.upto, moved)
    for letter, connection, outcome, size in matching:
        if connection not in job.configured:
            continue
        row_id = job.first_row_id + moved.done
        db.execute(
            "INSERT INTO retries (id, connection, next_at, alone, received, size, attempts, "
            "first_at, error, key, user, payload) "
            "SELECT ?, connection, ?, 0, received, size, 1, NULL, reason, key, user, payload "
            "FROM dead_letters WHERE id = ?",
            (row_id, PARKED if connection in job.ordered else job.now, letter),
        )
        received, user = db.execute(
            "SELECT received, user FROM dead_letters WHERE id = ?", (letter,)
        ).fetchone()
        db.execute("DELETE FROM dead_letters WHERE id = ?", (letter,))
        moved.done += 1
        if connection in job.ordered:
            moved.parked.append((connection, user))
        else:
            moved.retries.setdefault(connection, []).append((job.now, row_id, False, received))
        moved.retry_bytes += size
        moved._count(connection, ended_at(Outcome(outcome), attempt=1), -1)
        moved._count(connection, PENDING, 1)
        moved._count(connection, RETRYING, 1)
        moved._count(connection, PENDING_BYTES, size)
        moved._count(connection, DEAD_LETTERS, -1)
        moved._count(connection, DEAD_LETTER_BYTES, -size - DEAD_LETTER_OVERHEAD)
    count(db, moved.deltas)
    return moved


@dataclass(frozen=True, slots=True)
class DropJob:
    """Dead letters with ids in (after, upto] are forgotten, oldest first."""

    where: DeadLetterFilter
    ids: Mapping[str, Sequence[int]]
    after: int
    upto: int

    def run(self, db: sqlite3.Connection, meta: Meta) -> DeadLettersMoved:
        """Up to `SLICE`; `last_id` is where the next slice goes on, None at the end."""
        moved = DeadLettersMoved()
        matching = _slice_of(db, self.where, self.ids, self.after, self.upto, moved)
        for letter, connection, _, size in matching:
            _delete(db, letter, connection, size, moved)
        count(db, moved.deltas)
        return moved


def _delete(
    db: sqlite3.Connection, letter: int, connection: int, size: int, moved: DeadLettersMoved
) -> None:
    db.execute("DELETE FROM dead_letters WHERE id = ?", (letter,))
    moved.done += 1
    moved._count(connection, DEAD_LETTERS, -1)
    moved._count(connection, DEAD_LETTER_BYTES, -size - DEAD_LETTER_OVERHEAD)


def _slice_of(
    db: sqlite3.Connection,
    where: DeadLetterFilter,
    ids: Mapping[str, Sequence[int]],
    after: int,
    upto: int,
    moved: DeadLettersMoved,
) -> list[tuple[int, int, str, int]]:
    _prepare(db)
    clause, values = _conditions(where, ids)
    rows = db.execute(
        f"SELECT id, connection, outcome, size FROM dead_letters WHERE {clause} "  # noqa: S608 - clauses are constants, values are bound
        "AND id > ? AND id <= ? ORDER BY id LIMIT ?",
        [*values, after, upto, SLICE],
    ).fetchall()
    moved.matched = len(rows)
    moved.last_id = rows[-1][0] if len(rows) == SLICE else None
    return rows


def oldest_owner(db: sqlite3.Connection, *, older_than: float) -> int | None:
    """The connection of the oldest dead letter, where that is from before `older_than`."""
    row = db.execute("SELECT connection, last_at FROM dead_letters ORDER BY id LIMIT 1").fetchone()
    return row[0] if row is not None and row[1] < older_than else None


@dataclass(frozen=True, slots=True)
class TrimJob:
    """The oldest dead letters of a connection go.

    Those before `older_than` (epoch seconds), and further ones until `excess_bytes` are gone.
    """

    connection: int
    excess_bytes: int
    older_than: float

    def run(self, db: sqlite3.Connection, meta: Meta) -> DeadLettersMoved:
        """Up to `SLICE`; `last_id` is None when there is nothing more to drop."""
        moved = _trim_slice(db, self)
        meta.letters_dropped += moved.done
        return moved


def _trim_slice(db: sqlite3.Connection, job: TrimJob) -> DeadLettersMoved:
    moved = DeadLettersMoved()
    rows = db.execute(
        "SELECT id, size, last_at FROM dead_letters WHERE connection = ? ORDER BY id LIMIT ?",
        (job.connection, SLICE),
    ).fetchall()
    freed = 0
    for letter, size, last_at in rows:
        if freed >= job.excess_bytes and last_at >= job.older_than:
            break
        _delete(db, letter, job.connection, size, moved)
        freed += size + DEAD_LETTER_OVERHEAD
    if moved.done == SLICE:
        moved.last_id = rows[-1][0]
    count(db, moved.deltas)
    return moved
