"""Dead letters on disk: listed, shown, sent again, dropped, kept within their budget.

Owns the SQL about dead letters, apart from those that settlement
(`journal.py`) and eviction (`eviction.py`) write. Works in slices, so that the writer's
thread is never held up. Must not touch the state in memory: what a slice has
changed, it returns.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from supervisor.core.causes import cause_of
from supervisor.core.public_causes import public_cause
from supervisor.queue import (
    DeadLetter,
    DeadLetterCause,
    DeadLetterCauses,
    DeadLetterFilter,
    Outcome,
)
from supervisor.queue.sqlite.counters import (
    ACCEPTED,
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
#: Dead letters that one transaction, or one read, looks at: at first, at least and at most.
LOOKED_AT, LEAST_LOOKED_AT, MOST_LOOKED_AT = 2000, 50, 4000
#: Past every id.
MAX_ID = 2**63 - 1
#: Groups that are kept apart while causes are counted; hostile reasons may be a cause each.
MOST_GROUPS = 20_000
#: The cause of those that are not kept apart.
OTHERS = "(other causes)"
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
    if where.cause is not None:
        add("cause(reason) = ?", where.cause)
    if where.public_cause is not None:
        add("public_cause(cause(reason)) = ?", where.public_cause)
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
    db.create_function("cause", 1, cause_of, deterministic=True)
    db.create_function("public_cause", 1, public_cause, deterministic=True)


def before_of(after: str | None) -> int | None:
    """Where a page ends: before the last one of the page before; None for what is no id."""
    if after is None:
        return MAX_ID
    return int(after) if _is_id(after) else None


def listed(
    db: sqlite3.Connection,
    where: DeadLetterFilter,
    ids: Mapping[str, Sequence[int]],
    names: Mapping[int, str],
    *,
    limit: int,
    before: int,
    looked_at: int,
) -> tuple[list[DeadLetter], int | None]:
    """The newest before that id, and where to go on; None at the end.

    Reasons are looked into `looked_at` at a time; whatever else is asked for has an index.
    """
    _prepare(db)
    clause, values = _conditions(where, ids)
    last = 0
    if any(text is not None for text in (where.error, where.cause, where.public_cause)):
        first = _first_looked_at(db, before, looked_at)
        if first is None:
            return [], None
        last = first
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE {clause} AND id < ? AND id >= ? "  # noqa: S608 - clauses are constants, values are bound
        "ORDER BY id DESC LIMIT ?",
        [*values, before, last, limit],
    )
    return [_letter(row, names) for row in rows], last or None


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
class NothingJob:
    """Has what was settled before it written down."""

    def run(self, db: sqlite3.Connection, meta: Meta) -> None:
        """The journal goes with it."""


def counted(
    db: sqlite3.Connection,
    where: DeadLetterFilter,
    ids: Mapping[str, Sequence[int]],
    *,
    after: int,
    upto: int,
    looked_at: int,
) -> tuple[int, int | None]:
    """How many match of the next `looked_at`, and where to go on; None at the end."""
    last = _last_looked_at(db, after, upto, looked_at)
    if last is None:
        return 0, None
    _prepare(db)
    clause, values = _conditions(where, ids)
    (n,) = db.execute(
        f"SELECT count(*) FROM dead_letters WHERE {clause} AND id > ? AND id <= ?",  # noqa: S608 - clauses are constants, values are bound
        [*values, after, last],
    ).fetchone()
    return int(n), last


#: Connection, outcome and cause; how many, the first and the last.
CauseGroups = dict[tuple[int, str, str], tuple[int, float, float]]


def grouped(
    db: sqlite3.Connection,
    where: DeadLetterFilter,
    ids: Mapping[str, Sequence[int]],
    *,
    before: int,
    looked_at: int,
) -> tuple[CauseGroups, int | None]:
    """What matches of the `looked_at` newest before an id, by cause, and where to go on; None at
    the end.
    """
    first = _first_looked_at(db, before, looked_at)
    if first is None:
        return {}, None
    _prepare(db)
    clause, values = _conditions(where, ids)
    rows = db.execute(
        "SELECT connection, outcome, reason, count(*), min(last_at), max(last_at) "  # noqa: S608 - as above
        f"FROM dead_letters WHERE {clause} AND id >= ? AND id < ? "
        "GROUP BY connection, outcome, reason",
        [*values, first, before],
    )
    found: CauseGroups = {}
    for connection, outcome, reason, n, first_at, last_at in rows:
        add_group(found, (connection, outcome, cause_of(reason)), (n, first_at, last_at))
    return found, first


def add_group(
    groups: CauseGroups, group: tuple[int, str, str], more: tuple[int, float, float]
) -> None:
    """Count more of a group; past `MOST_GROUPS`, all others are one of their connection."""
    if group not in groups and len(groups) >= MOST_GROUPS:
        group = (*group[:2], OTHERS)
    n, first_at, last_at = groups.get(group, (0, more[1], more[2]))
    groups[group] = (n + more[0], min(first_at, more[1]), max(last_at, more[2]))


def causes_of(
    groups: CauseGroups, names: Mapping[int, str], limit: int, *, is_whole: bool
) -> DeadLetterCauses:
    """The largest groups, those of a name's several numbers as one."""
    by_name: dict[tuple[str, str, str], tuple[int, float, float]] = {}
    for (connection, outcome, cause), counted in groups.items():
        group = (names.get(connection, f"#{connection}"), outcome, cause)
        n, first_at, last_at = by_name.get(group, (0, counted[1], counted[2]))
        by_name[group] = (n + counted[0], min(first_at, counted[1]), max(last_at, counted[2]))
    largest = heapq.nlargest(limit, by_name.items(), key=lambda item: (item[1][0], item[0]))
    causes = [
        DeadLetterCause(connection, Outcome(outcome), cause, *counted)
        for (connection, outcome, cause), counted in largest
    ]
    total = sum(n for n, _, _ in groups.values())
    return DeadLetterCauses(causes, total, total - sum(each.count for each in causes), is_whole)


def _last_looked_at(db: sqlite3.Connection, after: int, upto: int, looked_at: int) -> int | None:
    """The last of the next `looked_at` ids; None where there are none."""
    (last,) = db.execute(
        "SELECT max(id) FROM (SELECT id FROM dead_letters NOT INDEXED "
        "WHERE id > ? AND id <= ? ORDER BY id LIMIT ?)",
        (after, upto, looked_at),
    ).fetchone()
    return None if last is None else int(last)


def _first_looked_at(db: sqlite3.Connection, before: int, looked_at: int) -> int | None:
    """The same, backwards."""
    (first,) = db.execute(
        "SELECT min(id) FROM (SELECT id FROM dead_letters NOT INDEXED "
        "WHERE id < ? ORDER BY id DESC LIMIT ?)",
        (before, looked_at),
    ).fetchone()
    return None if first is None else int(first)


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """Dead letters with ids in (after, upto] become retries again, oldest first.

    Retries get row ids from `first_row_id` on. `targets` is where each goes, by the number of the
    connection that it is filed under: to the one that bears the name now, which is another number
    where the source was changed since. Those of connections that are not there count as matched
    only; those of `ordered` ones take their place behind what waits already.
    """

    where: DeadLetterFilter
    ids: Mapping[str, Sequence[int]]
    targets: Mapping[int, int]
    ordered: frozenset[int]
    after: int
    upto: int
    now: float
    first_row_id: int
    most: int = SLICE
    looked_at: int = LOOKED_AT

    def run(self, db: sqlite3.Connection, meta: Meta) -> DeadLettersMoved:
        """Up to `most`; `last_id` is where the next slice goes on, None at the end."""
        return _replay_slice(db, self)


def _replay_slice(db: sqlite3.Connection, job: ReplayJob) -> DeadLettersMoved:
    moved = DeadLettersMoved()
    matching = _slice_of(db, job, moved)
    for letter, connection, outcome, size in matching:
        target = job.targets.get(connection)
        if target is None:
            continue
        row_id = job.first_row_id + moved.done
        db.execute(
            "INSERT INTO retries (id, connection, next_at, alone, received, size, attempts, "
            "first_at, error, key, user, payload) "
            "SELECT ?, ?, ?, 0, received, size, 1, NULL, reason, key, user, payload "
            "FROM dead_letters WHERE id = ?",
            (row_id, target, PARKED if target in job.ordered else job.now, letter),
        )
        received, user = db.execute(
            "SELECT received, user FROM dead_letters WHERE id = ?", (letter,)
        ).fetchone()
        db.execute("DELETE FROM dead_letters WHERE id = ?", (letter,))
        moved.done += 1
        if target in job.ordered:
            moved.parked.append((target, user))
        else:
            moved.retries.setdefault(target, []).append((job.now, row_id, False, received))
        moved.retry_bytes += size
        moved._count(connection, ended_at(Outcome(outcome), attempt=1), -1)
        moved._count(connection, ACCEPTED, -1)
        moved._count(target, ACCEPTED, 1)
        moved._count(target, PENDING, 1)
        moved._count(target, RETRYING, 1)
        moved._count(target, PENDING_BYTES, size)
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
    most: int = SLICE
    looked_at: int = LOOKED_AT

    def run(self, db: sqlite3.Connection, meta: Meta) -> DeadLettersMoved:
        """Up to `most`; `last_id` is where the next slice goes on, None at the end."""
        moved = DeadLettersMoved()
        matching = _slice_of(db, self, moved)
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
    db: sqlite3.Connection, job: ReplayJob | DropJob, moved: DeadLettersMoved
) -> list[tuple[int, int, str, int]]:
    """What matches among the next `looked_at`: commits are not held up by those that do not."""
    last = _last_looked_at(db, job.after, job.upto, job.looked_at)
    if last is None:
        return []
    _prepare(db)
    clause, values = _conditions(job.where, job.ids)
    rows = db.execute(
        f"SELECT id, connection, outcome, size FROM dead_letters WHERE {clause} "  # noqa: S608 - clauses are constants, values are bound
        "AND id > ? AND id <= ? ORDER BY id LIMIT ?",
        [*values, job.after, last, job.most],
    ).fetchall()
    moved.matched = len(rows)
    moved.last_id = rows[-1][0] if len(rows) == job.most else last
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
