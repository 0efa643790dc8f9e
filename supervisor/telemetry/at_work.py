"""What workers are at just now: the types of `GET /pools/{name}`.

Owns their shape, field for field as the console reads it: more may be added, nothing renamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from supervisor.telemetry.status import (
    ApartWhy,
    BlameStatus,
    LastExit,
    LeakingGroup,
    PoolState,
    WorkerState,
)

#: Points of a curve: seconds ago, and the figure then.
Curve = Sequence[tuple[float, int]]


class BatchAtWork(msgspec.Struct, frozen=True):
    """A batch that a worker has. `step` is what its page says that it is at, a hint."""

    connection: str
    events: int
    since_s: float
    step: str | None


class WorkerAtWork(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, in a slot, spare or apart. `connection` is whom it serves alone, `why` for what.

    `restarts`, `last_exit` and `events` are those of its slot. `credits` are batches that it may
    have at once. `flags` are words of a closed set: `leaving`, `left alone`, `serial`, `evidence`.
    """

    id: str
    pid: int | None
    state: WorkerState
    rss_bytes: int = 0
    uptime_s: float = 0.0
    inflight_batches: int = 0
    events: int = 0
    restarts: int = 0
    last_exit: LastExit | None = None
    connection: str | None = None
    batches: Sequence[BatchAtWork] = ()
    memory_limit_bytes: int | None = None
    memory_soft_bytes: int | None = None
    lag_s: float | None = None
    open_connections: Mapping[str, int] = msgspec.field(default_factory=dict)
    open_curve: Curve = ()
    rss_curve: Curve = ()
    credits: int = 0
    flags: Sequence[str] = ()
    why: ApartWhy | None = None


class BlameAtWork(msgspec.Struct, frozen=True):
    """What a connection of the pool has cost."""

    connection: str
    blame: BlameStatus


class PoolAtWork(msgspec.Struct, frozen=True, kw_only=True):
    """A pool and who is in which worker. `blame` lists connections that have cost something, those
    with the highest score first."""

    name: str
    state: PoolState
    state_reason: str
    workers: Sequence[WorkerAtWork]
    spares: Sequence[WorkerAtWork]
    apart: Sequence[WorkerAtWork]
    loosened: Sequence[str]
    leaks_together: Sequence[LeakingGroup]
    blame: Sequence[BlameAtWork]
