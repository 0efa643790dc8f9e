"""What is read from disk into memory: at start, and when a window has run empty.

Owns the reader's SQL of the lease path. All of it is bounded: a page of chunks
without payload, the payloads of a few chunks, a window of retries. Must not
touch the state in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from supervisor.queue import Delivery
from supervisor.queue.sqlite.chunks import Routing, deliveries_of
from supervisor.queue.sqlite.counters import COUNTERS, PENDING, RETRYING
from supervisor.queue.sqlite.eviction import progress_of
from supervisor.queue.sqlite.parked import parked_by_connection
from supervisor.queue.sqlite.retry_heap import RetryEntry
from supervisor.queue.sqlite.schema import PARKED

#: Chunks that one page brings, and chunks that are looked at for it.
PAGE, LOOKED_AT = 256, 8192
#: Chunks of a page for each connection that did not ask for it.
ALONG = 2
#: Retries that are read for each connection at start, most and least.
FIRST_RETRIES, FEWEST_RETRIES = 256, 4
#: Retries that are read at start for all connections together, as far as those bounds allow.
START_RETRIES = 65_536


@dataclass(slots=True, frozen=True)
class StoredConnection:
    """A connection as it was on disk: counts, counters, and how far it is in the log.

    `retries` are its next ones, None where it has none at all; `has_all_retries`: there are no
    others.
    """

    id: int
    name: str
    source: int
    books: Sequence[int]
    fresh: int
    retrying: int
    parked: int
    cursor: int
    newest: int
    retries: Sequence[RetryEntry] | None
    has_all_retries: bool


@dataclass(slots=True, frozen=True)
class StoredState:
    """What memory starts with. `sources` are numbers by name."""

    sources: dict[str, int]
    connections: list[StoredConnection]
    chunk_bytes: int
    retry_bytes: int


@dataclass(slots=True)
class StoredProgress:
    """One connection's part of a chunk, as it was on disk."""

    connection: int
    route: int
    done: int
    unsupported: int
    moved: int


@dataclass(slots=True)
class StoredChunk:
    """A chunk without its payload, as it was on disk."""

    id: int
    count: int
    received: float
    size: int
    parts: Sequence[StoredProgress]


@dataclass(slots=True)
class LogPage:
    """The next chunks, each with the connections that take it.

    `cursors` is how far was looked for each connection.
    """

    chunks: list[tuple[StoredChunk, set[int]]]
    cursors: dict[int, int]


def load(db: sqlite3.Connection, *, latest: float) -> StoredState:
    """Read counters and the first windows of retries.

    No retry lies further ahead than `latest` (epoch seconds): where the clock
    was set back while the service was down, it would wait for the past to pass.
    """
    (chunk_bytes,) = db.execute("SELECT coalesce(sum(size), 0) FROM chunks").fetchone()
    (retry_bytes,) = db.execute("SELECT coalesce(sum(size), 0) FROM retries").fetchone()
    newest = dict(db.execute("SELECT source, max(id) FROM chunks GROUP BY source"))
    first = dict(db.execute("SELECT source, min(id) FROM chunks GROUP BY source"))
    books = {
        row[0]: row[1:]
        for row in db.execute(
            f"SELECT connection, {', '.join(COUNTERS)} FROM books"  # noqa: S608 - constants
        )
    }
    parked = parked_by_connection(db)
    waiting = sum(row[RETRYING] > parked.get(connection, 0) for connection, row in books.items())
    want = max(FEWEST_RETRIES, min(FIRST_RETRIES, START_RETRIES // max(1, waiting)))
    connections: list[StoredConnection] = []
    for number, name, source in db.execute(
        "SELECT id, name, source FROM connections ORDER BY id"
    ).fetchall():
        counted = books.get(number, (0,) * len(COUNTERS))
        fresh = counted[PENDING] - counted[RETRYING]
        retrying = counted[RETRYING] - parked.get(number, 0)
        up_to = newest.get(source, 0)
        retries = _first_retries(db, number, latest, want) if retrying else None
        connections.append(
            StoredConnection(
                number,
                name,
                source,
                counted,
                fresh,
                retrying,
                parked.get(number, 0),
                first.get(source, 1) - 1 if fresh else up_to,
                up_to,
                retries,
                retries is None or len(retries) < want,
            )
        )
    sources = {name: number for number, name in db.execute("SELECT id, name FROM sources")}
    return StoredState(sources, connections, int(chunk_bytes), int(retry_bytes))


def _first_retries(
    db: sqlite3.Connection, connection: int, latest: float, want: int
) -> list[RetryEntry]:
    db.execute(
        "UPDATE retries SET next_at = ? WHERE connection = ? AND next_at > ? AND next_at < ?",
        (latest, connection, latest, PARKED),
    )
    return read_due(db, connection=connection, after=(float("-inf"), 0), want=want)


def read_due(
    db: sqlite3.Connection, *, connection: int, after: tuple[float, int], want: int
) -> list[RetryEntry]:
    """The next `want` retries of a connection behind `after` (time and id), soonest first."""
    rows = db.execute(
        "SELECT next_at, id, alone, received FROM retries "
        "WHERE connection = ? AND (next_at, id) > (?, ?) AND next_at < ? "
        "ORDER BY next_at, id LIMIT ?",
        (connection, *after, PARKED, want),
    )
    return [(at, row_id, bool(alone), received) for at, row_id, alone, received in rows]


def read_retries(db: sqlite3.Connection, *, ids: Sequence[int]) -> dict[int, Delivery]:
    """Retries with their payload, by id."""
    rows = db.execute(
        "SELECT id, payload, attempts + 1, received, user, first_at FROM retries "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(ids).decode(),),
    )
    return {row[0]: Delivery(*row[1:]) for row in rows}


def read_page(
    db: sqlite3.Connection,
    *,
    source: int,
    after: int,
    upto: int,
    wanted: Mapping[int, int],
    first: int,
) -> LogPage:
    """The next chunks of a source in (after, upto], for all connections that wait at `after`.

    `wanted` is how many chunks each connection may take; the page ends where
    connection `first` has its own. Reading for the others too costs next to
    nothing, where each of thousands would look through the same log again.
    """
    left = dict(wanted)
    page = LogPage([], {})
    last = after
    for chunk, n, received, size, routes, which in db.execute(
        "SELECT id, count, received, size, routes, which FROM chunks "
        "WHERE source = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?",
        (source, after, upto, LOOKED_AT),
    ):
        last = chunk
        masks = Routing.decoded(routes, which, n).masks()
        takers = left.keys() & masks.keys()
        if not takers:
            continue
        progress = progress_of(db, chunk)
        takers = {one for one in takers if masks[one] & ~progress.get(one, (0,))[0]}
        if not takers:
            continue
        parts = [
            StoredProgress(one, mask, *progress.get(one, (0, 0, 0))) for one, mask in masks.items()
        ]
        page.chunks.append((StoredChunk(chunk, n, received, size, parts), takers))
        for one in takers:
            left[one] -= 1
            if not left[one]:
                page.cursors[one] = chunk
                del left[one]
        if first not in left:
            break
    else:
        # It ran to its end: there is nothing more, unless it was cut short by its limit.
        (more,) = db.execute(
            "SELECT EXISTS (SELECT 1 FROM chunks WHERE source = ? AND id > ? AND id <= ?)",
            (source, last, upto),
        ).fetchone()
        last = last if more else upto
    page.cursors |= dict.fromkeys(left, last)
    return page


def read_payloads(db: sqlite3.Connection, *, ids: Sequence[int]) -> dict[int, list[Delivery]]:
    """The events of chunks, by chunk."""
    rows = db.execute(
        "SELECT id, received, users, ends, payload FROM chunks "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(ids).decode(),),
    )
    return {
        chunk: deliveries_of(received, users, ends, payload)
        for chunk, received, users, ends, payload in rows
    }
