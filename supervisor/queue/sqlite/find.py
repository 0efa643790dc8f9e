"""What became of an event: looked for in every place where it can be.

Owns the search over pending chunks, retries, dead letters and the history,
and the recount of what is pending. Reads only. Must not touch the state in
memory: what only memory knows (leases), the caller adds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from supervisor.queue import DeliveryRecord, EventRecord, Outcome, message_key
from supervisor.queue.sqlite.chunks import (
    USER_BYTES,
    Routing,
    from_blob,
    index_of_key,
    place_of,
)
from supervisor.queue.sqlite.eviction import progress_of
from supervisor.queue.sqlite.journal import decode_odd
from supervisor.queue.sqlite.schema import PARKED

_PENDING, _FINISHED, _DEAD = "pending", "finished", "dead"

_DROPPED = "its dead letter was dropped"

#: Sources up to which the log is searched once for each.
FEW_SOURCES = 4

#: By connection.
_Records = dict[int, DeliveryRecord]


def fresh_id(chunk: int, index: int, connection: int) -> str:
    """The id of a delivery of a chunk."""
    return f"{chunk}.{index}.{connection}"


def retry_id(row_id: int) -> str:
    """The id of a delivery that waits for a retry."""
    return f"r{row_id}"


def find(
    db: sqlite3.Connection,
    message_id: str,
    *,
    sources: Mapping[str, int],
    names: Mapping[int, str],
) -> list[EventRecord]:
    """The newest event with this id of each source that sent one.

    `sources` and `names` are sources by name, and names of connections.
    """
    keys = {number: message_key(name, message_id) for name, number in sources.items()}
    if len(sources) > FEW_SOURCES:
        keys = _sources_with(db, keys)
    by_number = {number: name for name, number in sources.items()}
    found = (_find_one(db, key, message_id, by_number[n], names) for n, key in keys.items())
    return [record for record in found if record is not None]


def _sources_with(db: sqlite3.Connection, keys: Mapping[int, bytes]) -> dict[int, bytes]:
    """Those of the sources that know their key: one pass over the log for all of them."""
    db.create_function("holds", 2, lambda source, keys_of: keys[source] in keys_of)
    found = {
        source for (source,) in db.execute("SELECT source FROM chunks WHERE holds(source, keys)")
    }
    found |= {
        source for (source,) in db.execute("SELECT source FROM history WHERE holds(source, keys)")
    }
    for source, key in keys.items():
        for table in ("retries", "dead_letters"):
            query = f"SELECT 1 FROM {table} WHERE key = ?"  # noqa: S608 - one of two constants
            if db.execute(query, (key,)).fetchone() is not None:
                found.add(source)
    return {source: keys[source] for source in sorted(found)}


def _find_one(
    db: sqlite3.Connection, key: bytes, message_id: str, source: str, names: Mapping[int, str]
) -> EventRecord | None:
    received: float | None = None
    records: _Records = {}
    body: bytes | None = None
    finished = _in_history(db, key, names)
    if finished is not None:
        received, records = finished
    live = _in_chunks(db, key, names)
    if live is not None:
        # What ended on a retry is in the history while its chunk is still pending elsewhere.
        ended = records
        received, records, body = live
        for connection, record in records.items():
            if record.last_error == _DROPPED and connection in ended:
                records[connection] = ended[connection]
    for row_id, connection, at, attempts, error, next_at, user in db.execute(
        "SELECT id, connection, received, attempts, error, next_at, user FROM retries "
        "WHERE key = ? ORDER BY id",
        (key,),
    ):
        received = at if received is None else received
        records[connection] = DeliveryRecord(
            retry_id(row_id),
            names[connection],
            _PENDING,
            None,
            attempts,
            error or None,
            next_at if next_at < PARKED else None,
            False,
            None,
            user,
        )
    for row_id, connection, at, outcome, attempts, reason in db.execute(
        "SELECT id, connection, received, outcome, attempts, reason FROM dead_letters "
        "WHERE key = ? ORDER BY id",
        (key,),
    ):
        received = at if received is None else received
        known = records.get(connection)
        if known is None or known.state != _PENDING:
            records[connection] = DeliveryRecord(
                str(row_id),
                names[connection],
                _DEAD,
                Outcome(outcome),
                attempts,
                reason,
                None,
                False,
                None,
            )
    if received is None:
        return None
    deliveries = list(records.values())
    if not body and any(record.state != _FINISHED for record in deliveries):
        body = _set_apart(db, key)
    return EventRecord(message_id, source, received, deliveries, body or None)


def _set_apart(db: sqlite3.Connection, key: bytes) -> bytes | None:
    """The event where it waits for a retry, or is a dead letter."""
    for table in ("retries", "dead_letters"):
        query = f"SELECT payload FROM {table} WHERE key = ? LIMIT 1"  # noqa: S608 - one of two constants
        row: tuple[bytes] | None = db.execute(query, (key,)).fetchone()
        if row is not None:
            return row[0]
    return None


def _in_chunks(
    db: sqlite3.Connection, key: bytes, names: Mapping[int, str]
) -> tuple[float, _Records, bytes] | None:
    row = db.execute(
        "SELECT id, received, count, routes, which, keys, users, ends FROM chunks "
        "WHERE instr(keys, ?) "
        "ORDER BY id DESC LIMIT 1",
        (key,),
    ).fetchone()
    if row is None:
        return None
    chunk, received, n, routes, which, keys, users, ends = row
    index = index_of_key(keys, key)
    if index is None:
        return None
    progress = progress_of(db, chunk)
    records: _Records = {}
    route = Routing.decoded(routes, which, n).route_of(index)
    for connection in route.pending:
        done, unsupported, moved = (
            mask >> index & 1 for mask in progress.get(connection, (0,) * 3)
        )
        where = fresh_id(chunk, index, connection)
        records[connection] = (
            _ended(where, names[connection], unsupported, moved)
            if done
            else DeliveryRecord(
                where,
                names[connection],
                _PENDING,
                None,
                0,
                None,
                None,
                False,
                None,
                users[index * USER_BYTES : (index + 1) * USER_BYTES],
            )
        )
    _decided_at_once(records, chunk, index, route.unsupported, names, Outcome.UNSUPPORTED)
    _decided_at_once(records, chunk, index, route.filtered, names, Outcome.FILTERED)
    start, end = place_of(ends, index)
    # Of the payload, which may have a megabyte, no more than that.
    (body,) = db.execute(
        "SELECT substr(payload, ?, ?) FROM chunks WHERE id = ?", (start + 1, end - start, chunk)
    ).fetchone()
    return received, records, body


def _in_history(
    db: sqlite3.Connection, key: bytes, names: Mapping[int, str]
) -> tuple[float, _Records] | None:
    rows = db.execute(
        "SELECT id, received, count, routes, which, odd, keys, connection, outcome, attempts "
        "FROM history WHERE instr(keys, ?) ORDER BY id",
        (key,),
    )
    received: float | None = None
    records: _Records = {}
    for row_id, at, n, routes, which, odd, keys, connection, outcome, attempts in rows:
        index = index_of_key(keys, key)
        if index is None:
            continue
        received = at
        if connection is not None:
            records[connection] = DeliveryRecord(
                f"h{row_id}",
                names[connection],
                _FINISHED,
                Outcome(outcome),
                attempts,
                None,
                None,
                False,
                None,
            )
            continue
        ended_otherwise = decode_odd(odd)
        route = Routing.decoded(routes, which, n).route_of(index)
        for one in route.pending:
            unsupported, moved = (
                from_blob(mask) >> index & 1 for mask in ended_otherwise.get(one, (b"", b""))
            )
            # What ended on a retry may have been written down before its chunk was.
            if not (moved and one in records):
                records[one] = _ended(f"h{row_id}.{index}.{one}", names[one], unsupported, moved)
        _decided_at_once(records, row_id, index, route.unsupported, names, Outcome.UNSUPPORTED)
        _decided_at_once(records, row_id, index, route.filtered, names, Outcome.FILTERED)
    return None if received is None else (received, records)


def _ended(where: str, name: str, unsupported: int, moved: int) -> DeliveryRecord:
    if moved:
        # Found among neither retries nor dead letters, else they would speak for it.
        return DeliveryRecord(
            where, name, _FINISHED, Outcome.FAILED, 1, _DROPPED, None, False, None
        )
    outcome = Outcome.UNSUPPORTED if unsupported else Outcome.DELIVERED
    return DeliveryRecord(where, name, _FINISHED, outcome, 1, None, None, False, None)


def _decided_at_once(
    records: _Records,
    chunk: int,
    index: int,
    connections: tuple[int, ...],
    names: Mapping[int, str],
    outcome: Outcome,
) -> None:
    for connection in connections:
        records[connection] = DeliveryRecord(
            fresh_id(chunk, index, connection),
            names[connection],
            _FINISHED,
            outcome,
            0,
            None,
            None,
            False,
            None,
        )


def recount(db: sqlite3.Connection) -> dict[int, int]:
    """What is pending of each connection, counted event by event in the store.

    Wants to run in a read transaction, so that it sees one state.
    """
    pending: dict[int, int] = {}
    done = {
        (chunk, connection): from_blob(mask)
        for chunk, connection, mask in db.execute("SELECT chunk, connection, done FROM progress")
    }
    rows = db.execute("SELECT id, count, routes, which FROM chunks")
    for chunk, n, routes, which in rows:
        for connection, mask in Routing.decoded(routes, which, n).masks().items():
            mask &= ~done.get((chunk, connection), 0)
            pending[connection] = pending.get(connection, 0) + mask.bit_count()
    for connection, n in db.execute("SELECT connection, count(*) FROM retries GROUP BY connection"):
        pending[connection] = pending.get(connection, 0) + n
    return pending
