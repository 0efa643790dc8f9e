"""Pending deliveries that become dead letters on disk, and chunks that are made smaller.

Owns what happens to a backlog that is over its share of the disk, or whose
connection has left the config, and the compaction of chunks that are mostly
dead. Each job is one slice within the writer's transaction. Must not touch
the state in memory: what a slice has changed, it returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from supervisor.queue import Outcome
from supervisor.queue.sqlite.chunks import (
    EVENT_OVERHEAD,
    KEY_BYTES,
    USER_BYTES,
    Routing,
    bits_of,
    bodies_of,
    compacted,
    from_blob,
    mask_of,
    to_blob,
)
from supervisor.queue.sqlite.counters import (
    COUNTERS,
    DEAD_LETTER_BYTES,
    DEAD_LETTERS,
    FAILED,
    PENDING,
    PENDING_BYTES,
    RETRYING,
)
from supervisor.queue.sqlite.dead_letters import DEAD_LETTER_OVERHEAD, message_id_of
from supervisor.queue.sqlite.journal import (
    DEAD_LETTER,
    DEAD_LETTER_FROM_RETRY,
    SET_PROGRESS,
    Deltas,
    Meta,
    count,
    delete_chunks,
    encode_odd,
    history_size,
)
from supervisor.queue.sqlite.schema import PARKED

#: Deliveries that one transaction evicts, and chunks that one looks at.
SLICE, CHUNKS = 1000, 200


@dataclass(slots=True)
class Evicted:
    """What a slice has done. `chunks` has, by chunk id, the mask that is gone.

    `barriers` and `parked` are the users of `retries`: of those that were to be tried
    again, and of those that waited behind them. `cursor` is where the next slice
    goes on, None at the end of the backlog.
    """

    n: int = 0
    size_bytes: int = 0
    cursor: int | None = None
    retries: list[int] = field(default_factory=list)
    barriers: list[bytes] = field(default_factory=list)
    parked: list[bytes] = field(default_factory=list)
    retry_bytes: int = 0
    chunks: dict[int, int] = field(default_factory=dict)
    finished: dict[int, int] = field(default_factory=dict)
    history_bytes: int = 0
    deltas: Deltas = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvictJob:
    """Deliveries of one connection go: the oldest, up to `size_bytes` (None: all of them).

    What is leased stays: the lease decides it. Dead letters get row ids from `first_row_id` on.
    `is_overflow`: they go for want of room, and are counted as evicted.
    """

    connection: int
    source: int
    size_bytes: int | None
    reason: str
    is_overflow: bool
    leased: Mapping[int, int]
    leased_retries: frozenset[int]
    now: float
    first_row_id: int
    keeps_history: bool
    cursor: int

    def run(self, db: sqlite3.Connection, meta: Meta) -> Evicted:
        """Up to `SLICE` deliveries: retries first, which have left the log earlier."""
        done = _evict_slice(db, self)
        meta.history_bytes += done.history_bytes
        if self.is_overflow:
            meta.evicted += done.n
        return done


def _evict_slice(db: sqlite3.Connection, job: EvictJob) -> Evicted:
    done = Evicted(cursor=job.cursor)
    limit = float("inf") if job.size_bytes is None else job.size_bytes
    _evict_retries(db, job, limit, done)
    if done.n < SLICE and done.size_bytes < limit:
        _evict_fresh(db, job, limit, done)
    delta = [0] * len(COUNTERS)
    delta[FAILED] += done.n
    delta[PENDING] -= done.n
    delta[PENDING_BYTES] -= done.size_bytes
    delta[RETRYING] -= len(done.retries)
    delta[DEAD_LETTERS] += done.n
    delta[DEAD_LETTER_BYTES] += done.size_bytes + done.n * DEAD_LETTER_OVERHEAD
    done.deltas = {job.connection: delta}
    count(db, done.deltas)
    return done


def _evict_retries(db: sqlite3.Connection, job: EvictJob, limit: float, done: Evicted) -> None:
    rows = db.execute(
        "SELECT id, attempts, first_at, received, user, error, payload, next_at FROM retries "
        "WHERE connection = ? ORDER BY id LIMIT ?",
        (job.connection, SLICE + len(job.leased_retries)),
    )
    for row_id, attempts, first_at, received, user, error, payload, next_at in rows.fetchall():
        if done.n >= SLICE or done.size_bytes >= limit:
            return
        if row_id in job.leased_retries:
            continue
        db.execute(
            DEAD_LETTER_FROM_RETRY,
            (
                job.first_row_id + done.n,
                job.connection,
                Outcome.FAILED,
                attempts,
                first_at,
                job.now,
                received,
                len(payload),
                None,
                message_id_of(payload),
                f"{job.reason}; last error: {error}" if error else job.reason,
                user,
                payload,
                row_id,
            ),
        )
        db.execute("DELETE FROM retries WHERE id = ?", (row_id,))
        done.retries.append(row_id)
        (done.parked if next_at >= PARKED else done.barriers).append(user)
        done.retry_bytes += len(payload)
        done.n += 1
        done.size_bytes += len(payload)


def _evict_fresh(db: sqlite3.Connection, job: EvictJob, limit: float, done: Evicted) -> None:
    rows = db.execute(
        "SELECT id, count, routes, which, received FROM chunks "
        "WHERE source = ? AND id > ? ORDER BY id LIMIT ?",
        (job.source, job.cursor, CHUNKS),
    ).fetchall()
    for chunk, size, routes, which, received in rows:
        if done.n >= SLICE or done.size_bytes >= limit:
            return
        masks = Routing.decoded(routes, which, size).masks()
        progress = progress_of(db, chunk)
        wanted = masks.get(job.connection, 0) & ~job.leased.get(chunk, 0)
        if job.connection in progress:
            wanted &= ~progress[job.connection][0]
        if wanted:
            gone = _dead_letter(db, job, chunk, wanted, received, limit, done)
            _, unsupported, moved = progress.get(job.connection, (0, 0, 0))
            left = {c: mask & ~progress.get(c, (0,))[0] for c, mask in masks.items()}
            left[job.connection] &= ~gone
            mine = (masks[job.connection] & ~left[job.connection], unsupported, moved | gone)
            progress[job.connection] = mine
            done.chunks[chunk] = gone
            if any(left.values()):
                db.execute(SET_PROGRESS, (chunk, job.connection, *map(to_blob, mine)))
            else:
                _finish(db, job, chunk, size, progress, done)
            if wanted & ~gone:
                return  # the slice was full: the next one looks here again
        done.cursor = chunk
    if len(rows) < CHUNKS:
        done.cursor = None


def _dead_letter(
    db: sqlite3.Connection,
    job: EvictJob,
    chunk: int,
    mask: int,
    received: float,
    limit: float,
    done: Evicted,
) -> int:
    keys, users, ends, payload = db.execute(
        "SELECT keys, users, ends, payload FROM chunks WHERE id = ?", (chunk,)
    ).fetchone()
    bodies = bodies_of(ends, payload)
    gone: list[int] = []
    for index in bits_of(mask):
        if done.n >= SLICE or done.size_bytes >= limit:
            break
        body = bodies[index]
        db.execute(
            DEAD_LETTER,
            (
                job.first_row_id + done.n,
                job.connection,
                Outcome.FAILED,
                0,
                None,
                job.now,
                received,
                len(body),
                None,
                message_id_of(body),
                job.reason,
                users[index * USER_BYTES : (index + 1) * USER_BYTES],
                body,
                keys[index * KEY_BYTES : (index + 1) * KEY_BYTES],
            ),
        )
        gone.append(index)
        done.n += 1
        done.size_bytes += len(body)
    return mask_of(gone)


def progress_of(db: sqlite3.Connection, chunk: int) -> dict[int, tuple[int, int, int]]:
    """By connection, the masks of what is done, unsupported and moved."""
    rows = db.execute(
        "SELECT connection, done, unsupported, moved FROM progress WHERE chunk = ?", (chunk,)
    )
    return {c: (from_blob(d), from_blob(u), from_blob(m)) for c, d, u, m in rows}


def _finish(
    db: sqlite3.Connection,
    job: EvictJob,
    chunk: int,
    size: int,
    progress: Mapping[int, tuple[int, int, int]],
    done: Evicted,
) -> None:
    (freed,) = db.execute("SELECT size FROM chunks WHERE id = ?", (chunk,)).fetchone()
    if job.keeps_history:
        odd = encode_odd({c: (u, m) for c, (_, u, m) in progress.items() if u or m})
        db.execute(
            "INSERT INTO history (source, received, count, size, routes, which, odd, keys) "
            "SELECT source, received, count, ?, routes, which, ?, keys FROM chunks WHERE id = ?",
            (history_size(size), odd, chunk),
        )
        done.history_bytes += history_size(size)
    delete_chunks(db, [chunk])
    done.finished[chunk] = freed


@dataclass(slots=True)
class Compacted:
    """New sizes by chunk id, and where to go on; None at the end of the log."""

    sizes: dict[int, int] = field(default_factory=dict)
    freed: int = 0
    cursor: int | None = None


@dataclass(frozen=True, slots=True)
class CompactJob:
    """Dead events' payload leaves chunks after `cursor` that are less than half alive."""

    cursor: int

    def run(self, db: sqlite3.Connection, meta: Meta) -> Compacted:
        """One slice of the log."""
        return _compact_slice(db, self.cursor)


def _compact_slice(db: sqlite3.Connection, cursor: int) -> Compacted:
    done = Compacted()
    rows = db.execute(
        "SELECT id, count, size, routes, which FROM chunks WHERE id > ? "
        "AND EXISTS (SELECT 1 FROM progress WHERE chunk = chunks.id) ORDER BY id LIMIT ?",
        (cursor, CHUNKS),
    ).fetchall()
    for chunk, n, size, routes, which in rows:
        progress = progress_of(db, chunk)
        alive = 0
        for connection, mask in Routing.decoded(routes, which, n).masks().items():
            alive |= mask & ~progress[connection][0] if connection in progress else mask
        if alive.bit_count() == n:
            continue
        ends, payload = db.execute(
            "SELECT ends, payload FROM chunks WHERE id = ?", (chunk,)
        ).fetchone()
        smaller = compacted(ends, payload, alive)
        if smaller is not None:
            new_size = len(smaller[1]) + EVENT_OVERHEAD * n
            db.execute(
                "UPDATE chunks SET size = ?, ends = ?, payload = ? WHERE id = ?",
                (new_size, *smaller, chunk),
            )
            done.sizes[chunk] = new_size
            done.freed += size - new_size
    done.cursor = rows[-1][0] if len(rows) == CHUNKS else None
    return done
