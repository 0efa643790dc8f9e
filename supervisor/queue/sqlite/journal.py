"""What goes to disk with the next commit, and the transaction that puts it there.

Owns the journal (filled on the event loop, written by the writer's thread) and
the SQL of the hot path beside that of intake: progress, retries, dead letters,
chunks out. One journal is one transaction, so the books move together with
what they speak of. Must not touch the state in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from supervisor.queue import Delivery
from supervisor.queue.sqlite.chunk_progress import Chunk, ChunkProgress
from supervisor.queue.sqlite.chunks import (
    KEY_BYTES,
    to_blob,
)
from supervisor.queue.sqlite.counters import COUNTERS, PENDING, PENDING_BYTES
from supervisor.queue.sqlite.intake import Committed, PendingAppend, RepeatDetector, take_in
from supervisor.queue.sqlite.ledger import Deltas, Meta, add_deltas, count, history_size
from supervisor.queue.sqlite.retry_heap import RetryEntry

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
_CHUNK_ENDED = """
    INSERT INTO history (source, received, count, size, routes, which, odd, keys)
    SELECT source, received, count, ?, routes, which, ?, keys FROM chunks WHERE id = ?
"""
SET_PROGRESS = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?)"


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
        take_in(db, journal.intake, dedupe, meta, result, keeps_history=keeps_history)
    deltas = {connection: list(delta) for connection, delta in journal.deltas.items()}
    add_deltas(deltas, result.deltas)
    count(db, deltas)
    result.deltas = deltas
    return result


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
