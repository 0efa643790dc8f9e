"""What the workers of a pool are at, as `GET /pools/{name}` has it.

Owns the translation of the pool's records. Reads, and changes nothing.
"""

from __future__ import annotations

import time

from supervisor.delivery.apart import apart_why
from supervisor.delivery.pool import PoolRunner
from supervisor.delivery.records import InflightBatch, PoolWorker, ago
from supervisor.delivery.status import blame_status, pool_status, worker_state
from supervisor.telemetry.at_work import BatchAtWork, BlameAtWork, PoolAtWork, WorkerAtWork
from supervisor.telemetry.status import BlameStatus, LastExit
from supervisor.workers.handle import Mark

#: Connections whose blame is listed, and batches of one worker.
MOST_BLAMED, MOST_BATCHES = 100, 200
_BLAMELESS = BlameStatus()


def pool_at_work(runner: PoolRunner, now: float) -> PoolAtWork:
    """A pool as it is at `now`, in seconds of the service's clock."""
    told = pool_status(runner, now)
    serving = runner.serving()
    slots = [runner.state.slot(slot) for slot in serving]
    return PoolAtWork(
        name=told.name,
        state=told.state,
        state_reason=told.state_reason,
        workers=[
            _worker(
                runner,
                pool_worker,
                now,
                id=status.id,
                events=slot.events,
                restarts=status.restarts,
                last_exit=status.last_exit,
            )
            for status, slot, pool_worker in zip(told.workers, slots, serving.values(), strict=True)
        ],
        spares=[_worker(runner, spare, now) for spare in runner.spares()],
        apart=[
            _worker(runner, one, now, connection=connection)
            for connection, one in runner.dedicated().items()
        ],
        loosened=told.loosened,
        leaks_together=told.leaks_together,
        blame=_blamed(runner, now),
    )


def _worker(
    runner: PoolRunner,
    pool_worker: PoolWorker | None,
    now: float,
    *,
    id: str = "",
    connection: str | None = None,
    events: int = 0,
    restarts: int = 0,
    last_exit: LastExit | None = None,
) -> WorkerAtWork:
    state = worker_state(pool_worker)
    if pool_worker is None:
        return WorkerAtWork(
            id=id, pid=None, state=state, events=events, restarts=restarts, last_exit=last_exit
        )
    worker, seen = pool_worker.worker, pool_worker.seen
    mark, moment = pool_worker.believed_mark(), time.monotonic()
    return WorkerAtWork(
        id=id or worker.label,
        pid=worker.pid,
        state=state,
        rss_bytes=worker.rss_bytes,
        uptime_s=round(worker.uptime_s, 3),
        inflight_batches=len(pool_worker.batches),
        events=events,
        restarts=restarts,
        last_exit=last_exit,
        connection=connection,
        batches=[
            BatchAtWork(
                batch.connection,
                len(batch.reported),
                round(max(0.0, now - batch.started), 3),
                _step(batch, mark),
            )
            for batch in list(pool_worker.batches.values())[:MOST_BATCHES]
        ],
        memory_limit_bytes=worker.limits.memory_limit,
        memory_soft_bytes=worker.limits.memory_soft_limit,
        lag_s=round(pool_worker.loop_lag_s, 4),
        open_connections=seen.open_now,
        open_curve=ago(seen.open, moment),
        rss_curve=ago(seen.rss, moment),
        credits=pool_worker.credits,
        flags=_flags(runner, pool_worker),
        why=None if connection is None else apart_why(runner.isolation.status(connection), now),
    )


def _step(batch: InflightBatch, mark: Mark | None) -> str | None:
    if mark is None or mark.connection != batch.connection or mark.batch != batch.id & 0xFFFFFFFF:
        return None
    if mark.event is None:
        return "running" if mark.is_running else "waiting"
    return f"event {mark.event + 1} of {len(batch.reported)}" + (
        "" if mark.is_running else ", waiting"
    )


def _flags(runner: PoolRunner, pool_worker: PoolWorker) -> list[str]:
    found = {
        "leaving": pool_worker.is_leaving,
        "left alone": runner.state.is_left_alone(pool_worker),
        "serial": runner.state.serial == pool_worker.number,
        "evidence": pool_worker.is_giving_evidence,
    }
    return [flag for flag, holds in found.items() if holds]


def _blamed(runner: PoolRunner, now: float) -> list[BlameAtWork]:
    found = [
        BlameAtWork(name, blame)
        for name in runner.state.connections
        if (blame := blame_status(runner.isolation.status(name), now)) != _BLAMELESS
    ]
    found.sort(key=lambda one: (-one.blame.score, -one.blame.worker_deaths, one.connection))
    return found[:MOST_BLAMED]
