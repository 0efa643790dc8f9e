"""What is read from disk into memory: at start, and when a window has run empty.

Owns the reader's SQL of the lease path. All of it is bounded: a page of chunks
without payload, the payloads of a few chunks, a window of retries. Must not
touch the state in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from supervisor.queue import Delivery
from supervisor.queue.sqlite.backlog import Due, Lane
from supervisor.queue.sqlite.chunks import Routing, deliveries_of
from supervisor.queue.sqlite.eviction import progress_of
from supervisor.queue.sqlite.memory import LoadedChunk, LoadedShare, Page
from supervisor.queue.sqlite.parked import aside_by_connection
from supervisor.queue.sqlite.schema import ASIDE, COUNTERS, PENDING, RETRYING

#: Chunks that one page brings, and chunks that are looked at for it.
PAGE, LOOKED_AT = 256, 8192
#: Chunks of a page that those may take who did not ask for it.
ALONG = 2
#: Retries that are read for each connection at start, most and least.
FIRST_RETRIES, FEWEST_RETRIES = 256, 4


@dataclass(slots=True)
class Loaded:
    """What memory starts with. `retries` has, by lane, its next ones and whether it is all."""

    sources: dict[str, int]
    lanes: list[Lane]
    live_bytes: int
    retry_bytes: int
    retries: list[tuple[Lane, list[Due], bool]] = field(default_factory=list)


def load(db: sqlite3.Connection, *, latest: float) -> Loaded:
    """Read counters and the first windows of retries.

    No retry lies further ahead than `latest` (epoch seconds): where the clock
    was set back while the service was down, it would wait for the past to pass.
    """
    (live,) = db.execute("SELECT coalesce(sum(size), 0) FROM chunks").fetchone()
    (waiting,) = db.execute("SELECT coalesce(sum(size), 0) FROM retries").fetchone()
    newest = dict(db.execute("SELECT source, max(id) FROM chunks GROUP BY source"))
    first = dict(db.execute("SELECT source, min(id) FROM chunks GROUP BY source"))
    lanes: list[Lane] = []
    loaded = Loaded(
        {name: number for number, name in db.execute("SELECT id, name FROM sources")},
        lanes,
        int(live),
        int(waiting),
    )
    books = {
        row[0]: list(row[1:])
        for row in db.execute(
            f"SELECT connection, {', '.join(COUNTERS)} FROM books"  # noqa: S608 - constants
        )
    }
    for number, name, source in db.execute("SELECT id, name, source FROM connections ORDER BY id"):
        lane = Lane(number, name, source, None)
        lane.books = books.get(number, lane.books)
        lane.retrying = lane.books[RETRYING]
        lane.fresh = lane.books[PENDING] - lane.retrying
        lane.newest = newest.get(source, 0)
        lane.cursor = first.get(source, 1) - 1 if lane.fresh else lane.newest
        lanes.append(lane)
    by_id = {lane.id: lane for lane in lanes}
    for number, aside in aside_by_connection(db).items():
        lane = by_id[number]
        lane.aside = aside
        lane.retrying -= aside
    retrying = [lane for lane in lanes if lane.retrying]
    want = max(FEWEST_RETRIES, min(FIRST_RETRIES, 65_536 // max(1, len(retrying))))
    for lane in retrying:
        db.execute(
            "UPDATE retries SET next_at = ? WHERE connection = ? AND next_at > ? AND next_at < ?",
            (latest, lane.id, latest, ASIDE),
        )
        rows = read_due(db, connection=lane.id, after=(float("-inf"), 0), want=want)
        loaded.retries.append((lane, rows, len(rows) < want))
    return loaded


def read_due(
    db: sqlite3.Connection, *, connection: int, after: tuple[float, int], want: int
) -> list[Due]:
    """The next `want` retries of a connection behind `after` (time and id), soonest first."""
    rows = db.execute(
        "SELECT next_at, id, alone, received FROM retries "
        "WHERE connection = ? AND (next_at, id) > (?, ?) AND next_at < ? "
        "ORDER BY next_at, id LIMIT ?",
        (connection, *after, ASIDE, want),
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
) -> Page:
    """The next chunks of a source in (after, upto], for all connections that wait at `after`.

    `wanted` is how many chunks each connection may take; the page ends where
    connection `first` has its own. Reading for the others too costs next to
    nothing, where each of thousands would look through the same log again.
    """
    left = dict(wanted)
    page = Page([], {})
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
        shares = [
            LoadedShare(one, mask, *progress.get(one, (0, 0, 0))) for one, mask in masks.items()
        ]
        page.chunks.append((LoadedChunk(chunk, n, received, size, shares), takers))
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
