"""Dead letters on disk: listed, shown, sent again, dropped, kept within their budget.

Owns the SQL about dead letters, apart from burying in the course of settling
(`journal.py`) and evicting (`eviction.py`). Works in slices, so that the writer's
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
from supervisor.queue.sqlite.backlog import Due
from supervisor.queue.sqlite.journal import Deltas, count
from supervisor.queue.sqlite.schema import (
    ASIDE,
    COUNTERS,
    FAILED,
    LETTER_BYTES,
    LETTERS,
    PENDING,
    PENDING_BYTES,
    QUARANTINED,
    RETRYING,
)

#: Letters that one transaction moves or drops.
SLICE = 500
#: Bytes on disk that a letter is reckoned at, beside its payload.
LETTER_OVERHEAD = 200

_COLUMNS = "id, connection, message_id, outcome, reason, attempts, first_at, last_at, exit"


class _Identified(msgspec.Struct):
    messageId: str = ""


_identify = msgspec.json.Decoder(_Identified).decode


def message_id_of(body: bytes) -> str:
    """The id in a stored event; "" where it has none."""
    try:
        return _identify(body).messageId
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""  # it was stored as it is; whoever reads the letter sees it all


@dataclass(slots=True)
class Moved:
    """What a slice has done: retries that there are now, and changes of counters.

    `aside` has connection and user of those that wait their turn behind others.
    """

    matched: int = 0
    done: int = 0
    last_id: int | None = None
    retries: dict[int, list[Due]] = field(default_factory=dict)
    aside: list[tuple[int, bytes]] = field(default_factory=list)
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
    """One letter with its event."""
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


def matching(
    db: sqlite3.Connection, where: DeadLetterFilter, ids: Mapping[str, Sequence[int]]
) -> int:
    """How many there are."""
    _prepare(db)
    clause, values = _conditions(where, ids)
    query = f"SELECT count(*) FROM dead_letters WHERE {clause}"  # noqa: S608 - as above
    (n,) = db.execute(query, values).fetchone()
    return int(n)


def replay_slice(
    db: sqlite3.Connection,
    where: DeadLetterFilter,
    ids: Mapping[str, Sequence[int]],
    *,
    configured: frozenset[int],
    ordered: frozenset[int],
    after: int,
    upto: int,
    now: float,
    first_row_id: int,
) -> Moved:
    """Send up to `SLICE` letters with ids in (after, upto] again, oldest first.

    Retries get row ids from `first_row_id` on. Those of connections that are
    not `configured` count as matched only; those of `ordered` ones take their
    place behind what waits already. `last_id` is where the next slice goes on,
    None at the end.
    """
    moved = Moved()
    for letter, connection, outcome, size in _slice_of(db, where, ids, after, upto, moved):
        if connection not in configured:
            continue
        row_id = first_row_id + moved.done
        db.execute(
            "INSERT INTO retries (id, connection, next_at, alone, received, size, attempts, "
            "first_at, error, key, user, payload) "
            "SELECT ?, connection, ?, 0, received, size, 1, NULL, reason, key, user, payload "
            "FROM dead_letters WHERE id = ?",
            (row_id, ASIDE if connection in ordered else now, letter),
        )
        received, user = db.execute(
            "SELECT received, user FROM dead_letters WHERE id = ?", (letter,)
        ).fetchone()
        db.execute("DELETE FROM dead_letters WHERE id = ?", (letter,))
        moved.done += 1
        if connection in ordered:
            moved.aside.append((connection, user))
        else:
            moved.retries.setdefault(connection, []).append((now, row_id, False, received))
        moved.retry_bytes += size
        moved._count(connection, QUARANTINED if outcome == Outcome.QUARANTINED else FAILED, -1)
        moved._count(connection, PENDING, 1)
        moved._count(connection, RETRYING, 1)
        moved._count(connection, PENDING_BYTES, size)
        moved._count(connection, LETTERS, -1)
        moved._count(connection, LETTER_BYTES, -size - LETTER_OVERHEAD)
    count(db, moved.deltas)
    return moved


def drop_slice(
    db: sqlite3.Connection,
    where: DeadLetterFilter,
    ids: Mapping[str, Sequence[int]],
    *,
    after: int,
    upto: int,
) -> Moved:
    """Forget up to `SLICE` letters with ids in (after, upto], oldest first."""
    moved = Moved()
    for letter, connection, _, size in _slice_of(db, where, ids, after, upto, moved):
        db.execute("DELETE FROM dead_letters WHERE id = ?", (letter,))
        moved.done += 1
        moved._count(connection, LETTERS, -1)
        moved._count(connection, LETTER_BYTES, -size - LETTER_OVERHEAD)
    count(db, moved.deltas)
    return moved


def _slice_of(
    db: sqlite3.Connection,
    where: DeadLetterFilter,
    ids: Mapping[str, Sequence[int]],
    after: int,
    upto: int,
    moved: Moved,
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
    """Whose the oldest letter is, where that is older than `older_than` (epoch seconds)."""
    row = db.execute("SELECT connection, last_at FROM dead_letters ORDER BY id LIMIT 1").fetchone()
    return row[0] if row is not None and row[1] < older_than else None


def trim_slice(
    db: sqlite3.Connection, connection: int, excess_bytes: int, older_than: float
) -> Moved:
    """Drop the oldest letters of a connection, up to `SLICE`.

    Those before `older_than` (epoch seconds) go, and further ones until
    `excess_bytes` are gone. `last_id` is None when there is nothing more to drop.
    """
    moved = Moved()
    rows = db.execute(
        "SELECT id, size, last_at FROM dead_letters WHERE connection = ? ORDER BY id LIMIT ?",
        (connection, SLICE),
    ).fetchall()
    freed = 0
    for letter, size, last_at in rows:
        if freed >= excess_bytes and last_at >= older_than:
            break
        db.execute("DELETE FROM dead_letters WHERE id = ?", (letter,))
        freed += size + LETTER_OVERHEAD
        moved.done += 1
        moved._count(connection, LETTERS, -1)
        moved._count(connection, LETTER_BYTES, -size - LETTER_OVERHEAD)
    if moved.done == SLICE:
        moved.last_id = rows[-1][0]
    count(db, moved.deltas)
    return moved
