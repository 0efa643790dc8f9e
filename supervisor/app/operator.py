"""What operators see and do: the service behind the admin API.

Owns the translation of the running service into `telemetry/status.py`'s snapshot,
and the few things that may be done to it by hand. Reads memory only.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from supervisor import VERSION
from supervisor.app.diagnostics import Diagnostics
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.scheduling.scheduler import BlockReason
from supervisor.delivery.explain import queue_state, text_of, waiting_for
from supervisor.delivery.pool import PoolRunner
from supervisor.delivery.records import PoolConnection, PoolWorker, SlotRecord
from supervisor.diagnostics.exits import ExitRecord, ExitStore
from supervisor.errors import NotFound, Refused
from supervisor.queue import DeliveryRecord, Queue
from supervisor.runtime.rfc3339 import rfc3339
from supervisor.telemetry.metrics import Metrics
from supervisor.telemetry.status import (
    ApartStatus,
    BlameStatus,
    LastExit,
    LeakingGroup,
    PoolState,
    PoolStatus,
    QueueStatus,
    ServiceState,
    SpareStatus,
    Status,
    StoreStatus,
    WorkerState,
    WorkerStatus,
    ZygoteStatus,
)
from supervisor.telemetry.steps import in_steps

if TYPE_CHECKING:
    from supervisor.app.service import Service


_BLAMELESS = BlameStatus()


class Operator:
    """Implements `admin.status.Control`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def queue(self) -> Queue:
        """The durable queue."""
        return self._service.queue

    @property
    def evidence(self) -> Diagnostics:
        """Heaps, stacks and what was kept of them."""
        return self._service.evidence

    @property
    def metrics(self) -> Metrics:
        """What `GET /metrics` renders."""
        return self._service.metrics

    @property
    def exits(self) -> ExitStore:
        """Every worker's exit."""
        return self._service.exits

    # --- seeing ---

    def not_ready(self) -> str | None:
        """Why the service takes no events now; None where it does."""
        state = self._service.state
        if state is not ServiceState.RUNNING:
            return f"the service is {state}"
        intake = self._service.queue.stats().intake
        return None if intake == "open" else intake

    def pools(self) -> list[PoolStatus]:
        """The pools and their workers as they are now."""
        return [_pool(name, runner) for name, runner in self._service.runners.items()]

    async def status(self) -> Status:
        """The service as it is now. Among many connections, others have their turn meanwhile."""
        service = self._service
        queues: list[QueueStatus] = []
        async for names in in_steps(list(service.config.connections)):
            for name in names:
                runner = service.pool_of(name)
                if runner is not None:  # else the config has changed in between
                    queues.append(self._queue(name, runner, runner.pool_connections[name]))
        stats = service.queue.stats()
        return Status(
            version=VERSION,
            state=service.state,
            uptime_s=round(time.monotonic() - service.started, 3),
            pools=self.pools(),
            queues=queues,
            books=service.queue.books(),
            sandbox=_layers(service),
            dedupe=stats.dedupe,
            store=StoreStatus.of(stats),
            zygote=ZygoteStatus(service.fleet.zygote.pid),
            pid=os.getpid(),
        )

    def _queue(self, name: str, runner: PoolRunner, pool_connection: PoolConnection) -> QueueStatus:
        now = self._service.clock()
        depth = self._service.queue.depth(name)
        state, reason, hold = queue_state(runner.scheduler, name, depth, now)
        if hold.rule is BlockReason.UNKNOWN:
            reason = self._unknown(pool_connection)
        scheduled = runner.scheduler.schedules[name]
        next_at = hold.until if hold.until is not None else depth.next_retry_at
        refusals = self._service.broker.refusals.get(name)
        leak = runner.watchdog.leaks.get(name)
        group = runner.watchdog.in_question.get(name)
        return QueueStatus(
            connection=name,
            source=self._service.config.connections[name].source,
            destination=pool_connection.destination,
            pool=runner.pool_spec.name,
            depth=depth.pending,
            inflight=depth.leased,
            oldest_s=None if depth.oldest_at is None else max(0.0, now - depth.oldest_at),
            state=state,
            state_reason=reason,
            next_attempt_in_s=None if next_at is None else max(0.0, next_at - now),
            waiting_for=text_of(hold) if depth.pending > depth.leased else "",
            concurrency=min(
                int(scheduled.concurrency.limit), pool_connection.terms.max_concurrency
            ),
            batch_events=scheduled.batch_sizer.most(pool_connection.terms.batch_events),
            trips=scheduled.breaker.trips,
            proven_per_s=scheduled.governor.proven(now),
            retries_per_s=round(scheduled.governor.rate(now), 1),
            egress_refused=0 if refusals is None else refusals.count,
            last_egress_refusal=None if refusals is None else refusals.last,
            blame=_blame(runner, name),
            held_users=depth.held_users,
            held_deliveries=depth.parked,
            held_s=None if depth.held_since is None else max(0.0, now - depth.held_since),
            leak_bytes_per_event=None if leak is None else round(leak.per_event_bytes, 1),
            leaks_together_bytes_per_event=(
                None if group is None else round(group.per_event_bytes, 1)
            ),
        )

    def _unknown(self, pool_connection: PoolConnection) -> str:
        why = self._service.said.broken.get(pool_connection.destination, "it was not declared")
        return f"destination {pool_connection.destination} could not be loaded: {why}"

    def waiting_for(self, connection: str, record: DeliveryRecord) -> str:
        """The rule that a pending delivery waits for."""
        runner = self._service.pool_of(connection)
        if runner is None:
            return "its connection to come back into the config"
        pool_connection = runner.pool_connections[connection]
        if pool_connection.closed is BlockReason.UNKNOWN:
            return self._unknown(pool_connection)
        missing = (
            "" if runner.slots_serving else f"pool {runner.pool_spec.name} has none that serves"
        )
        if record.is_leased and runner.suspects.undecided(connection):
            return "its trial: a worker died with its batch, and each of that is tried apart"
        now = self._service.clock()
        return waiting_for(runner.scheduler, connection, record, now, no_workers=missing)

    # --- doing ---

    async def recycle(self, worker_id: str) -> None:
        """Have a worker finish its batches and be replaced. Raises NotFound or Refused."""
        pool, _, slot = worker_id.rpartition("-")
        runner = self._service.runners.get(pool)
        if runner is None or not slot.isdigit() or int(slot) not in runner.slots_wanted:
            known = [
                f"{name}-{n}"
                for name, runner in self._service.runners.items()
                for n in runner.slots_wanted
            ]
            raise NotFound(f"there is no worker {worker_id!r}; there are {', '.join(known)}")
        if not runner.recycle(int(slot)):
            raise Refused(f"{worker_id} has no process now: it is being started")

    async def pause(self, connection: str) -> None:
        """Lease no more for a connection until `resume`. Raises NotFound."""
        runner = self._runner(connection)
        self._service.paused.add(connection)
        runner.scheduler.paused(connection)

    async def resume(self, connection: str) -> None:
        """Undo `pause`, and end a back-off. Raises NotFound or Refused."""
        runner = self._openable(connection)
        self._service.paused.remove(connection)
        runner.scheduler.resumed(connection)
        self._service.backoff_store.forget(connection)
        runner.dispatcher.pump_soon()

    async def probe(self, connection: str) -> None:
        """Let one batch through now. Raises NotFound or Refused."""
        runner = self._openable(connection)
        runner.scheduler.probed(connection, self._service.clock())
        runner.dispatcher.pump_soon()

    def _runner(self, connection: str) -> PoolRunner:
        runner = self._service.pool_of(connection)
        if runner is None:
            known = ", ".join(self._service.config.connections)
            raise NotFound(f"there is no connection {connection!r}; there are {known}")
        return runner

    def _openable(self, connection: str) -> PoolRunner:
        runner = self._runner(connection)
        pool_connection = runner.pool_connections[connection]
        if pool_connection.closed is BlockReason.DISABLED:
            raise Refused(f"{connection} is disabled in the config: set enabled = true and reload")
        if pool_connection.closed is not None:
            raise Refused(f"{connection} cannot send: {self._unknown(pool_connection)}")
        return runner


def _layers(service: Service) -> dict[str, str]:
    """What declaring workers said at start, and where any worker said otherwise, that."""
    layers = dict(service.said.layers)
    for runner in service.runners.values():
        for layer, state in runner.layers.items():
            if state != "on":
                layers[layer] = state
    return layers


def _pool(name: str, runner: PoolRunner) -> PoolStatus:
    pool_workers = runner.pool_workers()
    workers = [
        _worker(name, slot, pool_worker, runner.slots.get(slot))
        for slot, pool_worker in pool_workers.items()
    ]
    serving = sum(pool_worker is not None for pool_worker in pool_workers.values())
    if runner.is_failing:
        state, reason = PoolState.FAILED, runner.failure
    elif serving < len(pool_workers):
        state, reason = PoolState.DEGRADED, f"{serving} of {len(pool_workers)} workers serve"
    else:
        state, reason = PoolState.RUNNING, ""
    if reason and runner.pause_s:
        reason = f"{reason}; the next start is in {runner.pause_s:.1f} s"
    spares = [_spare(pool_worker) for pool_worker in runner.spare_workers()]
    apart = [_apart(pool_worker) for pool_worker in runner.dedicated_workers()]
    return PoolStatus(
        name,
        state,
        workers,
        spares,
        reason,
        apart,
        loosened=runner.pool_spec.loosenings,
        leaks_together=[
            LeakingGroup(group.connections, round(group.per_event_bytes, 1))
            for group in runner.watchdog.together
        ],
    )


def _apart(pool_worker: PoolWorker) -> ApartStatus:
    worker = pool_worker.worker
    return ApartStatus(
        pool_worker.only or "", worker.pid, _state(pool_worker), worker.rss_bytes, worker.uptime_s
    )


def _blame(runner: PoolRunner, connection: str) -> BlameStatus:
    suspects = runner.suspects
    if not suspects.has_record(connection):
        return _BLAMELESS
    blame = suspects.blame(connection)
    return BlameStatus(
        standing=suspects.standing(connection).value,
        on_trial=suspects.undecided(connection),
        score=round(suspects.score(connection), 2),
        worker_deaths=blame.deaths,
        extra_executions=blame.executions,
        quarantined=blame.quarantined,
        trips=blame.trips,
        workers_used_up=blame.used_up,
        hogged=blame.hogged,
        hogs=blame.hogs,
    )


def _worker(
    pool: str, slot: int, pool_worker: PoolWorker | None, record: SlotRecord | None
) -> WorkerStatus:
    record = record or SlotRecord()
    worker = None if pool_worker is None else pool_worker.worker
    return WorkerStatus(
        id=f"{pool}-{slot}",
        pid=None if worker is None else worker.pid,
        state=_state(pool_worker),
        rss_bytes=0 if worker is None else worker.rss_bytes,
        inflight_batches=0 if pool_worker is None else len(pool_worker.batches),
        batches=record.batches,
        events=record.events,
        restarts=max(0, record.processes - 1),
        uptime_s=0.0 if worker is None else worker.uptime_s,
        last_exit=None if record.last_exit is None else _exit(record.last_exit),
    )


def _state(pool_worker: PoolWorker | None) -> WorkerState:
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
    return SpareStatus(worker.pid, _state(pool_worker), worker.rss_bytes, worker.uptime_s)


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
