"""What a pool says of itself: its workers and its connections, as `/status` has them.

Owns the translation of the pool's records and its parts' own snapshots into status types. Reads,
and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from supervisor.core.isolation.records import IsolationStatus
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.scheduling.scheduler import BlockReason
from supervisor.delivery.apart import apart_why
from supervisor.delivery.explain import queue_state, text_of, waiting_for
from supervisor.delivery.pool import PoolRunner
from supervisor.delivery.records import PoolConnection, PoolWorker, SlotRecord
from supervisor.diagnostics.exits import ExitRecord
from supervisor.egress.broker import Refusals
from supervisor.queue import DeliveryRecord, Depth
from supervisor.runtime.rfc3339 import rfc3339
from supervisor.telemetry.status import (
    ApartStatus,
    ApartWhy,
    BlameStatus,
    LastExit,
    LeakingGroup,
    PoolState,
    PoolStatus,
    QueueStatus,
    SpareStatus,
    WorkerState,
    WorkerStatus,
)

_BLAMELESS = BlameStatus()


def pool_status(runner: PoolRunner, now: float) -> PoolStatus:
    """A pool and its workers as they are at `now`, in seconds of the service's clock."""
    name, layout = runner.name, runner.layout
    serving = runner.serving()
    workers = [
        _worker(f"{name}-{slot}", pool_worker, runner.state.slot(slot))
        for slot, pool_worker in serving.items()
    ]
    count = sum(pool_worker is not None for pool_worker in serving.values())
    if layout.is_failing:
        state, reason = PoolState.FAILED, runner.failure
    elif count < len(serving):
        state, reason = PoolState.DEGRADED, f"{count} of {len(serving)} workers serve"
    else:
        state, reason = PoolState.RUNNING, ""
    if reason and runner.pause_s:
        reason = f"{reason}; the next start is in {runner.pause_s:.1f} s"
    return PoolStatus(
        name,
        state,
        workers,
        [_spare(pool_worker) for pool_worker in runner.spares()],
        reason,
        [
            _apart(connection, one, apart_why(runner.isolation.status(connection), now))
            for connection, one in runner.dedicated().items()
        ],
        loosened=runner.pool_spec.loosenings,
        leaks_together=[
            LeakingGroup(group.connections, round(group.per_event_bytes, 1), group.held_by)
            for group in runner.watchdog.leaks.together
        ],
    )


def queue_status(
    runner: PoolRunner,
    connection: PoolConnection,
    source: str,
    depth: Depth,
    now: float,
    *,
    refusals: Refusals | None,
    broken: Mapping[str, str],
) -> QueueStatus:
    """One connection of a pool; `broken` says why destinations could not be loaded."""
    name = connection.name
    schedule = runner.scheduler.status(name, now)
    blocked = schedule.blocked
    state, reason = queue_state(schedule, depth)
    if blocked.rule is BlockReason.UNKNOWN:
        reason = not_loaded(connection, broken)
    next_at = depth.next_retry_at if blocked.until is None else blocked.until
    leak = runner.watchdog.leaks.leaks.get(name)
    group = runner.watchdog.leaks.in_question.get(name)
    return QueueStatus(
        connection=name,
        source=source,
        destination=connection.destination,
        pool=runner.name,
        depth=depth.pending,
        inflight=depth.leased,
        oldest_s=None if depth.oldest_at is None else max(0.0, now - depth.oldest_at),
        state=state,
        state_reason=reason,
        next_attempt_in_s=None if next_at is None else max(0.0, next_at - now),
        waiting_for=text_of(blocked) if depth.pending > depth.leased else "",
        concurrency=schedule.concurrency,
        batch_events=schedule.batch_events,
        trips=schedule.trips,
        credentials_refused=bool(schedule.credentials),
        proven_per_s=schedule.proven_per_s,
        retries_per_s=round(schedule.retries_per_s, 1),
        egress_refused=0 if refusals is None else refusals.count,
        last_egress_refusal=None if refusals is None else refusals.last,
        blame=blame_status(runner.isolation.status(name), now),
        held_users=depth.held_users,
        held_deliveries=depth.parked,
        held_s=None if depth.held_since is None else max(0.0, now - depth.held_since),
        leak_bytes_per_event=None if leak is None else round(leak.per_event_bytes, 1),
        leaks_together_bytes_per_event=None if group is None else round(group.per_event_bytes, 1),
    )


def delivery_waits_for(
    runner: PoolRunner, connection: PoolConnection, record: DeliveryRecord, now: float
) -> str:
    """The rule that a pending delivery waits for, in words that follow "waiting for"."""
    missing = "" if runner.layout.children() else f"pool {runner.name} has none that serves"
    blame = runner.isolation.status(connection.name)
    if record.is_leased and blame is not None and blame.undecided:
        return "its trial: a worker died with its batch, and each of that is tried apart"
    schedule = runner.scheduler.status(connection.name, now)
    return waiting_for(schedule, record, now, no_workers=missing)


def not_loaded(connection: PoolConnection, broken: Mapping[str, str]) -> str:
    """Why the destination of a connection could not be loaded."""
    why = broken.get(connection.destination, "it was not declared")
    return f"destination {connection.destination} could not be loaded: {why}"


def blame_status(status: IsolationStatus | None, now: float) -> BlameStatus:
    """What a connection has cost until `now`."""
    if status is None:
        return _BLAMELESS
    blame = status.blame
    return BlameStatus(
        standing=status.trust.value,
        on_trial=status.undecided,
        score=round(status.score, 2),
        worker_deaths=blame.deaths,
        extra_executions=blame.executions,
        quarantined=blame.quarantined,
        trips=blame.trips,
        workers_used_up=blame.used_up,
        hogged=blame.hogged,
        hogs=blame.hogs,
        apart=apart_why(status, now),
    )


def _worker(id: str, pool_worker: PoolWorker | None, record: SlotRecord) -> WorkerStatus:
    worker = None if pool_worker is None else pool_worker.worker
    return WorkerStatus(
        id=id,
        pid=None if worker is None else worker.pid,
        state=worker_state(pool_worker),
        rss_bytes=0 if worker is None else worker.rss_bytes,
        inflight_batches=0 if pool_worker is None else len(pool_worker.batches),
        batches=record.batches,
        events=record.events,
        restarts=max(0, record.processes - 1),
        uptime_s=0.0 if worker is None else worker.uptime_s,
        last_exit=None if record.last_exit is None else _exit(record.last_exit),
        open_connections=0 if pool_worker is None else sum(pool_worker.seen.open_now.values()),
    )


def worker_state(pool_worker: PoolWorker | None) -> WorkerState:
    """Where a worker stands; a slot without one waits for its next."""
    if pool_worker is None:
        return WorkerState.STARTING
    match pool_worker.worker.state:
        case ProcessState.FORKING | ProcessState.DOOMED | ProcessState.STARTING:
            return WorkerState.STARTING
        case ProcessState.READY:
            return WorkerState.BUSY if pool_worker.batches else WorkerState.IDLE
        case ProcessState.DRAINING:
            return WorkerState.DRAINING
        case ProcessState.KILLED | ProcessState.GONE:
            return WorkerState.STOPPED


def _spare(pool_worker: PoolWorker) -> SpareStatus:
    worker = pool_worker.worker
    return SpareStatus(worker.pid, worker_state(pool_worker), worker.rss_bytes, worker.uptime_s)


def _apart(connection: str, pool_worker: PoolWorker, why: ApartWhy | None) -> ApartStatus:
    worker = pool_worker.worker
    return ApartStatus(
        connection, worker.pid, worker_state(pool_worker), worker.rss_bytes, worker.uptime_s, why
    )


def _exit(end: ExitRecord) -> LastExit:
    return LastExit(
        end.reason,
        end.detail,
        rfc3339(end.at),
        end.connection,
        snapshot=end.snapshot,
        stacks=end.stacks,
        exit=end.id,
    )
