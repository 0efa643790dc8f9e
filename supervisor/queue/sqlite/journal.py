"""What goes to disk with the next commit, and the transaction that puts it there.

Owns the journal (filled on the event loop, written by the writer's thread) and
the SQL of the hot path: chunks in, progress, chunks out, counters. One journal
is one transaction, so the books move together with what they speak of. Must
not touch the state in memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, Protocol

import msgspec

from supervisor.queue import Delivery, NewEvent
from supervisor.queue.sqlite.chunk_progress import Chunk, ChunkProgress
from supervisor.queue.sqlite.chunks import (
    EVENT_OVERHEAD,
    KEY_BYTES,
    NewChunk,
    RouteIds,
    build,
    keys_of,
    to_blob,
)
from supervisor.queue.sqlite.counters import (
    ACCEPTED,
    COUNTERS,
    FILTERED,
    PENDING,
    PENDING_BYTES,
    UNSUPPORTED,
)
from supervisor.queue.sqlite.retry_heap import RetryEntry

#: Bytes that a row of the history is reckoned at, beside its keys.
HISTORY_OVERHEAD = 100

Deltas = dict[int, list[int]]
#: A statement with its parameters; Any: whatever SQLite can bind.
Statement = tuple[str, tuple[Any, ...]]

ADD_RETRY = """
    INSERT INTO retries (id, connection, next_at, alone, received, size, attempts, first_at, error,
                         user, payload, key)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {key})
"""
KEY_IN_CHUNK = "(SELECT substr(keys, ? * 16 + 1, 16) FROM chunks WHERE id = ?)"
assert KEY_BYTES == 16
RETRY_FROM_CHUNK = ADD_RETRY.format(key=KEY_IN_CHUNK)
RETRY_AGAIN = (
    "UPDATE retries SET next_at = ?, alone = ?, attempts = ?, first_at = ?, error = ? WHERE id = ?"
)
END_RETRY = "DELETE FROM retries WHERE id = ?"
_DEAD_LETTER = """
    INSERT INTO dead_letters (id, connection, outcome, attempts, first_at, last_at, received, size,
                              exit, message_id, reason, user, payload, key)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {key})
"""
DEAD_LETTER_FROM_CHUNK = _DEAD_LETTER.format(key=KEY_IN_CHUNK)
DEAD_LETTER_FROM_RETRY = _DEAD_LETTER.format(key="(SELECT key FROM retries WHERE id = ?)")
DEAD_LETTER = _DEAD_LETTER.format(key="?")
ENDED_ON_RETRY = """
    INSERT INTO history (source, received, count, size, connection, outcome, attempts, keys)
    SELECT ?, received, 1, ?, connection, ?, ?, key
    FROM retries WHERE id = ?
"""
_ADD_CHUNK = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NOTHING_PENDING = """
    INSERT INTO history (source, received, count, size, routes, which, odd, keys)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_CHUNK_ENDED = """
    INSERT INTO history (source, received, count, size, routes, which, odd, keys)
    SELECT source, received, count, ?, routes, which, ?, keys FROM chunks WHERE id = ?
"""
SET_PROGRESS = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?)"
_BOOKS = (
    f"INSERT INTO books (connection, {', '.join(COUNTERS)}) "  # noqa: S608 - constants
    f"VALUES (?{', ?' * len(COUNTERS)}) ON CONFLICT (connection) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTERS)
)


class RepeatDetector(Protocol):
    """What the writer asks of the deduplication index, within its transactions."""

    def is_repeat(
        self, db: sqlite3.Connection, keys: Sequence[bytes], now: float
    ) -> list[bool]: ...

    def stage(self, db: sqlite3.Connection, keys: Sequence[bytes], now: float) -> None: ...

    def committed(self) -> None: ...

    def rolled_back(self) -> None: ...


@dataclass(slots=True)
class PendingAppend:
    """Events of one `append`; `answer` says which were accepted."""

    source: int
    source_name: str
    events: Sequence[NewEvent]
    received_at: float
    route_ids: Mapping[int, RouteIds]
    size_bytes: int
    answer: asyncio.Future[Sequence[bool]]


@dataclass(slots=True)
class UnwrittenRetry:
    """A retry that the disk may not have like this yet; times are epoch seconds."""

    id: int
    next_at: float
    alone: bool
    attempts: int
    first_at: float | None
    delivery: Delivery

    @property
    def entry(self) -> RetryEntry:
        """The same as memory orders it."""
        return (self.next_at, self.id, self.alone, self.delivery.received_at)

    @property
    def next_delivery(self) -> Delivery:
        """The same as a lease has it."""
        known = self.delivery
        return Delivery(
            known.body, self.attempts + 1, known.received_at, known.user_key, self.first_at
        )


@dataclass(slots=True)
class Journal:
    """Everything since the last commit. What failed to be written goes in front of what followed.

    `dirty` is the progress that a commit has to write, `finished` has the chunks that all
    connections are through with; `deltas` are changes of counters by connection.
    """

    intake: list[PendingAppend] = field(default_factory=list)
    sources: list[tuple[int, str]] = field(default_factory=list)
    connections: list[tuple[int, str, int]] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    dirty: dict[ChunkProgress, None] = field(default_factory=dict)
    sealed: list[tuple[int, int, bytes, bytes, bytes]] = field(default_factory=list)
    finished: list[Chunk] = field(default_factory=list)
    retries: dict[int, UnwrittenRetry] = field(default_factory=dict)
    ended_retries: list[int] = field(default_factory=list)
    history_bytes: int = 0
    deltas: Deltas = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Nothing waits for a commit."""
        return not (
            self.intake
            or self.statements
            or self.dirty
            or self.finished
            or self.deltas
            or self.connections
            or self.sources
        )

    def count(self, connection: int, counter: int, n: int) -> None:
        """Change one counter of one connection."""
        self._delta_of(connection)[counter] += n

    def count_ended(self, connection: int, counter: int, n: int, size_bytes: int) -> None:
        """So many deliveries are not pending any more: they count as something else."""
        delta = self._delta_of(connection)
        delta[counter] += n
        delta[PENDING] -= n
        delta[PENDING_BYTES] -= size_bytes

    def _delta_of(self, connection: int) -> list[int]:
        delta = self.deltas.get(connection)
        if delta is None:
            delta = self.deltas[connection] = [0] * len(COUNTERS)
        return delta

    def seal(self) -> None:
        """Write down the progress as of now; nothing is added after this."""
        self.sealed = [_columns_of(progress) for progress in self.dirty]

    def note_progress(self, progress: ChunkProgress) -> None:
        """A connection has settled something of a chunk."""
        if progress not in self.dirty:
            self.dirty[progress] = None
            progress.chunk.progress_noted()

    def note_finished(self, chunk: Chunk) -> None:
        """All connections are through with a chunk: it goes, and its progress with it."""
        self.finished.append(chunk)
        for progress in chunk.progress.values():
            if progress in self.dirty:
                del self.dirty[progress]
                chunk.progress_written()

    def put_before(self, later: Journal) -> Journal:
        """This journal, which could not be written, and what came since; intake is not kept."""
        for progress in self.dirty.keys() & later.dirty.keys():
            progress.chunk.progress_written()  # it was noted twice, and will be written once
        merged = Journal(
            later.intake,
            self.sources + later.sources,
            self.connections + later.connections,
            self.statements + later.statements,
            self.dirty | later.dirty,
            finished=self.finished + later.finished,
            retries=self.retries | later.retries,
            ended_retries=self.ended_retries + later.ended_retries,
            history_bytes=self.history_bytes + later.history_bytes,
            deltas={connection: list(delta) for connection, delta in self.deltas.items()},
        )
        add_deltas(merged.deltas, later.deltas)
        return merged


@dataclass(slots=True)
class Meta:
    """The one row of `meta`: what has no other place. `clock` is epoch seconds."""

    clock: float
    chunk_id: int
    row_id: int
    history_bytes: int
    letters_dropped: int
    evicted: int

    def write(self, db: sqlite3.Connection) -> None:
        """Part of the open transaction."""
        db.execute(
            "UPDATE meta SET clock = ?, chunk_id = ?, row_id = ?, history_bytes = ?, "
            "letters_dropped = ?, evicted = ?",
            (
                self.clock,
                self.chunk_id,
                self.row_id,
                self.history_bytes,
                self.letters_dropped,
                self.evicted,
            ),
        )


@dataclass(slots=True)
class WrittenChunk:
    """A chunk that was written: its number, its source's and its size on disk."""

    id: int
    source: int
    size: int
    chunk: NewChunk
    masks: dict[int, int]


@dataclass(slots=True)
class Committed:
    """What a transaction has done that the event loop does not know yet."""

    stored: list[WrittenChunk] = field(default_factory=list)
    accepted: list[list[bool]] = field(default_factory=list)
    deltas: Deltas = field(default_factory=dict)


def add_deltas(to: Deltas, more: Mapping[int, Sequence[int]]) -> None:
    """Add changes of counters to others."""
    for connection, delta in more.items():
        known = to.get(connection)
        if known is None:
            to[connection] = list(delta)
        else:
            for counter, n in enumerate(delta):
                known[counter] += n


def write(
    db: sqlite3.Connection,
    journal: Journal,
    dedupe: RepeatDetector | None,
    meta: Meta,
    *,
    keeps_history: bool,
) -> Committed:
    """Write a journal as part of the open transaction; `meta` is brought up to date, not written.

    Raises sqlite3.Error; the caller rolls back.
    """
    result = Committed()
    if journal.sources:
        db.executemany("INSERT INTO sources VALUES (?, ?)", journal.sources)
    if journal.connections:
        db.executemany("INSERT OR REPLACE INTO connections VALUES (?, ?, ?)", journal.connections)
    for sql, group in groupby(journal.statements, itemgetter(0)):
        db.executemany(sql, map(itemgetter(1), group))
    if journal.sealed:
        db.executemany(SET_PROGRESS, journal.sealed)
    if journal.finished:
        _end_chunks(db, journal.finished, meta, keeps_history=keeps_history)
    meta.history_bytes += journal.history_bytes
    if journal.intake:
        _take_in(db, journal.intake, dedupe, meta, result, keeps_history=keeps_history)
    deltas = {connection: list(delta) for connection, delta in journal.deltas.items()}
    add_deltas(deltas, result.deltas)
    count(db, deltas)
    result.deltas = deltas
    return result


def count(db: sqlite3.Connection, deltas: Deltas) -> None:
    """Add changes to the counters on disk."""
    if deltas:
        db.executemany(_BOOKS, [(connection, *delta) for connection, delta in deltas.items()])


def _columns_of(progress: ChunkProgress) -> tuple[int, int, bytes, bytes, bytes]:
    return (
        progress.chunk.id,
        progress.connection,
        to_blob(progress.route & ~progress.unsettled),
        to_blob(progress.unsupported),
        to_blob(progress.moved),
    )


def _end_chunks(
    db: sqlite3.Connection, finished: list[Chunk], meta: Meta, *, keeps_history: bool
) -> None:
    if keeps_history:
        rows = []
        for chunk in finished:
            size = history_size(chunk.count)
            meta.history_bytes += size
            rows.append((size, _odd_of(chunk), chunk.id))
        db.executemany(_CHUNK_ENDED, rows)
    delete_chunks(db, [chunk.id for chunk in finished])


def history_size(count: int) -> int:
    """Bytes that the history of a chunk is reckoned at."""
    return count * (KEY_BYTES + 1) + HISTORY_OVERHEAD


def delete_chunks(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Chunks that every connection has finished, with their progress."""
    rows = [(chunk,) for chunk in ids]
    db.executemany("DELETE FROM chunks WHERE id = ?", rows)
    db.executemany("DELETE FROM progress WHERE chunk = ?", rows)


def _odd_of(chunk: Chunk) -> bytes:
    """What did not end as delivered, by connection; mostly nothing."""
    return encode_odd(
        {
            progress.connection: (progress.unsupported, progress.moved)
            for progress in chunk.progress.values()
            if progress.unsupported or progress.moved
        }
    )


def encode_odd(masks: Mapping[int, tuple[int, int]]) -> bytes:
    """The `odd` column: by connection, the masks of unsupported and of moved."""
    if not masks:
        return b""
    return msgspec.msgpack.encode({c: (to_blob(u), to_blob(m)) for c, (u, m) in masks.items()})


def decode_odd(odd: bytes) -> dict[int, tuple[bytes, bytes]]:
    """The other way round."""
    return msgspec.msgpack.decode(odd, type=dict[int, tuple[bytes, bytes]]) if odd else {}


def _take_in(
    db: sqlite3.Connection,
    intake: Sequence[PendingAppend],
    dedupe: RepeatDetector | None,
    meta: Meta,
    result: Committed,
    *,
    keeps_history: bool,
) -> None:
    keys_by_intake = [keys_of(item.source_name, item.events) for item in intake]
    repeats: list[bool] | None = None
    if dedupe is not None:
        keys = [key for some in keys_by_intake for key in some]
        repeats = dedupe.is_repeat(db, keys, meta.clock)
        if True in repeats:
            keys = [key for key, repeat in zip(keys, repeats, strict=True) if not repeat]
        else:
            repeats = None
        dedupe.stage(db, keys, meta.clock)
    by_source: dict[int, list[tuple[PendingAppend, Sequence[NewEvent], list[bytes]]]] = {}
    at = 0
    for item, some in zip(intake, keys_by_intake, strict=True):
        events = item.events
        accepted = [True] * len(some)
        if repeats is not None:
            accepted = [not repeat for repeat in repeats[at : at + len(some)]]
            if False in accepted:
                events = [e for e, new in zip(events, accepted, strict=True) if new]
                some = [key for key, new in zip(some, accepted, strict=True) if new]
        at += len(accepted)
        result.accepted.append(accepted)
        if events:
            by_source.setdefault(item.source, []).append((item, events, some))
    for source, parts in by_source.items():
        _store(db, source, parts, meta, result, keeps_history=keeps_history)


def _store(
    db: sqlite3.Connection,
    source: int,
    parts: list[tuple[PendingAppend, Sequence[NewEvent], list[bytes]]],
    meta: Meta,
    result: Committed,
    *,
    keeps_history: bool,
) -> None:
    first, events, keys = parts[0]
    route_ids = first.route_ids
    if len(parts) > 1:
        route_ids = {way: ids for item, _, _ in parts for way, ids in item.route_ids.items()}
        events = [event for _, some, _ in parts for event in some]
        keys = [key for _, _, some in parts for key in some]
    received = min(map(_received_at_of, map(itemgetter(0), parts)))
    for chunk in build(events, keys, received, route_ids):
        routing = chunk.routing
        masks = routing.masks()
        _count_in(chunk, masks, result.deltas)
        routes = routing.encoded_routes()
        if not masks:
            if keeps_history:
                size = history_size(routing.count)
                meta.history_bytes += size
                db.execute(
                    _NOTHING_PENDING,
                    (source, received, routing.count, size, routes, routing.which, b"", chunk.keys),
                )
            continue
        meta.chunk_id += 1
        size = len(chunk.payload) + EVENT_OVERHEAD * routing.count
        db.execute(
            _ADD_CHUNK,
            (
                meta.chunk_id,
                source,
                received,
                routing.count,
                size,
                routes,
                routing.which,
                chunk.keys,
                chunk.users,
                chunk.ends,
                chunk.payload,
            ),
        )
        result.stored.append(WrittenChunk(meta.chunk_id, source, size, chunk, masks))


_received_at_of = attrgetter("received_at")


def _count_in(chunk: NewChunk, masks: Mapping[int, int], deltas: Deltas) -> None:
    routing = chunk.routing
    added: dict[int, list[int]] = {}

    def delta_of(connection: int) -> list[int]:
        return added.setdefault(connection, [0] * len(COUNTERS))

    for route, mask in routing.by_route():
        n = mask.bit_count()
        for connection in route.unsupported:
            delta_of(connection)[UNSUPPORTED] += n
            delta_of(connection)[ACCEPTED] += n
        for connection in route.filtered:
            delta_of(connection)[FILTERED] += n
            delta_of(connection)[ACCEPTED] += n
        if route.pending:
            size = (
                len(chunk.payload)
                if n == routing.count
                else sum(
                    len(chunk.deliveries[index].body)
                    for index, way in enumerate(routing.which)
                    if routing.routes[way] is route
                )
            )
            for connection in route.pending:
                delta_of(connection)[PENDING_BYTES] += size
    for connection, mask in masks.items():
        delta = delta_of(connection)
        delta[PENDING] += mask.bit_count()
        delta[ACCEPTED] += mask.bit_count()
    add_deltas(deltas, added)
