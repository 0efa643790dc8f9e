"""The record of one worker's end, from what the fleet saw of it.

Owns the id of an exit and what every record has, whatever the worker was for. Who is to
blame is said by those that gave the worker its work.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from supervisor.diagnostics.exits import ExitRecord, HeldBatch
from supervisor.diagnostics.usage import Usage
from supervisor.workers.handle import Exit, WorkerHandle


def worker_exit(
    pool: str,
    worker: WorkerHandle,
    end: Exit,
    *,
    connection: str | None,
    destination: str | None,
    connections: tuple[str, ...] = (),
    event: str | None = None,
    events: tuple[str, ...] = (),
    unreported: int = 0,
    batches: tuple[HeldBatch, ...] = (),
    more_batches: int = 0,
    snapshot: str | None = None,
    open_connections: Mapping[str, int] | None = None,
    open_curve: tuple[tuple[float, int], ...] = (),
) -> ExitRecord:
    """The record, see `ExitRecord` for the fields; a worker that only declares had no events."""
    return ExitRecord(
        id=_exit_id(pool, worker, end),
        at=end.at,
        pool=pool,
        worker=worker.label,
        pid=worker.pid,
        reason=end.reason.value,
        detail=end.detail,
        connection=connection,
        destination=destination,
        connections=connections,
        event=event,
        events=events,
        unreported=unreported,
        batches=batches,
        more_batches=more_batches,
        uptime_s=round(worker.uptime_s, 3),
        usage=None if end.usage is None else Usage.of(end.usage),
        snapshot=snapshot,
        open_connections=open_connections or {},
        open_curve=open_curve,
    )


def _exit_id(pool: str, worker: WorkerHandle, end: Exit) -> str:
    """Sorts by time, can stand in a path, and is unique: a number is given once in a run."""
    when = datetime.fromtimestamp(end.at, UTC)
    return f"{when:%Y%m%dT%H%M%S}.{when.microsecond // 1000:03d}Z-{pool}-{worker.number}"
