"""New events on their way to disk: repeats left out, cut into chunks, counted.

Owns what an `append` asks for and the SQL that stores it, on the writer's thread within its
transaction. Must not touch the state in memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import Protocol

from supervisor.queue import NewEvent
from supervisor.queue.sqlite.chunks import EVENT_OVERHEAD, NewChunk, RouteIds, build, keys_of
from supervisor.queue.sqlite.counters import (
    ACCEPTED,
    COUNTERS,
    FILTERED,
    PENDING,
    PENDING_BYTES,
    UNSUPPORTED,
)
from supervisor.queue.sqlite.ledger import Deltas, Meta, add_deltas, history_size

_ADD_CHUNK = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NOTHING_PENDING = """
    INSERT INTO history (source, received, count, size, routes, which, odd, keys)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


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


def take_in(
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
