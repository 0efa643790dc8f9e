"""One pool at work: its workers, its scheduler, and the batches in between.

The shell around `core/lifecycle/pool_layout.py`: has workers forked, placed, replaced and
retired, and hears what they say. What they are sent is `dispatcher.py`'s, which of them are late
`deadlines.py`'s. A returned batch and a dead worker go through the same function: every
delivery of a batch gets a verdict, exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import structlog

from sandbox.protocol import (
    MAX_DETAIL,
    BatchDone,
    Begun,
    Collected,
    FromWorker,
    FromWorkerChannel,
    Limits,
    Log,
    Outcomes,
    OutOfMemory,
    ProtocolError,
    Stats,
    Stray,
)
from supervisor.core.effects import Assign, ExitReason, Fork, Isolate, Retire, Wake
from supervisor.core.lifecycle.pool_layout import Effect, PoolLayout
from supervisor.core.scheduling.retry import RetryPolicy
from supervisor.core.scheduling.scheduler import Scheduler
from supervisor.delivery.deadlines import Deadlines
from supervisor.delivery.dispatcher import Dispatcher, ready_in
from supervisor.delivery.exit_record import exit_record
from supervisor.delivery.isolation import Suspects
from supervisor.delivery.records import PoolConnection, PoolWorker, SlotRecord
from supervisor.delivery.settlement import InflightBatch, Settlement
from supervisor.delivery.watchdog import Watchdog
from supervisor.diagnostics.collector import Collector
from supervisor.diagnostics.exits import ExitStore
from supervisor.diagnostics.snapshots import Snapshot
from supervisor.egress.broker import Broker, EgressSession
from supervisor.egress.policy import EgressPolicy
from supervisor.queue import Queue
from supervisor.runtime.clock import Clock
from supervisor.state.backoff import BackoffStore
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.log_lines import log_line, log_printed, log_stray
from supervisor.workers.output import Printed
from supervisor.workers.process import Exit, Worker
from supervisor.workers.spawn import PoolSpec

_log = structlog.get_logger(__name__)

#: A worker that dies within so many seconds of a zygote died of the same cause: of nobody's batch.
TOGETHER_S = 1.0


#: Begins a snapshot of (pool, worker), kept under (reason, connection to blame).
TakeSnapshot = Callable[[str, Worker, str, str | None], asyncio.Task[Snapshot | None]]


class PoolRunner:
    """Runs one pool. Implements `process.Listener` and `isolation.Host`."""

    def __init__(
        self,
        pool_spec: PoolSpec,
        *,
        queue: Queue,
        fleet: WorkerFleet,
        metrics: Metrics,
        exits: ExitStore,
        clock: Clock,
        retry: RetryPolicy,
        broker: Broker,
        backoff_store: BackoffStore,
        take_snapshot: TakeSnapshot,
    ) -> None:
        self.pool_spec = pool_spec
        self.pool_connections: dict[str, PoolConnection] = {}
        self.slots: dict[int, SlotRecord] = {}
        self.layers: dict[str, str] = {}
        self._fleet = fleet
        self._metrics = metrics
        self._exits = exits
        self._clock = clock
        self._broker = broker
        self.collector = Collector()
        self._backoff_store = backoff_store
        self._take_snapshot = take_snapshot
        self.scheduler = Scheduler(partial(ready_in, queue))
        self._core = PoolLayout(fleet.numbers, pool_spec.workers, pool_spec.spares)
        self._pool_workers: dict[int, PoolWorker] = {}
        self._settlement = Settlement(
            queue=queue,
            metrics=metrics,
            clock=clock,
            retry=retry,
            retry_after=self._retry_after,
            on_settled=lambda: self.dispatcher.tell_if_idle(),
        )
        self.suspects = Suspects(
            self,
            self.pool_connections,
            queue=queue,
            scheduler=self.scheduler,
            settlement=self._settlement,
            metrics=metrics,
            clock=clock,
        )
        self._wake: asyncio.TimerHandle | None = None
        self._deadlines = Deadlines(
            self._pool_workers,
            suspects=self.suspects,
            collector=self.collector,
            clock=clock,
            recycle=lambda child, now: self._carry_out(self._core.recycled(child, now)),
        )
        self.watchdog = Watchdog(self)
        self.dispatcher = Dispatcher(
            self._pool_workers,
            self.pool_connections,
            self.slots,
            batch_timeout_s=pool_spec.batch_timeout_s,
            queue=queue,
            scheduler=self.scheduler,
            settlement=self._settlement,
            suspects=self.suspects,
            watchdog=self.watchdog,
            metrics=metrics,
            clock=clock,
        )
        self._failure = ""

    # --- life ---

    def start(self) -> None:
        """Fork the workers."""
        self._carry_out(self._core.started(self._clock()))
        self._deadlines.start()
        self.watchdog.start()

    def apply(self, pool_spec: PoolSpec, retry: RetryPolicy, *, renew: bool) -> bool:
        """Follow the config; `renew` replaces the workers. Whether they are replaced."""
        # Destinations are imported, and limits taken on, once in a worker's life.
        renew |= (pool_spec.destinations, pool_spec.limits) != (
            self.pool_spec.destinations,
            self.pool_spec.limits,
        )
        self.pool_spec, self._settlement.retry = pool_spec, retry
        self.dispatcher.batch_timeout_s = pool_spec.batch_timeout_s
        now = self._clock()
        self._carry_out(self._core.resized(pool_spec.workers, pool_spec.spares, now))
        if renew:
            self.watchdog.renewed()
            self._carry_out(self._core.renewed(now))
        return renew

    def set_connections(self, pool_connections: Iterable[PoolConnection]) -> None:
        """Follow the config's connections of this pool."""
        wanted = {pool_connection.name: pool_connection for pool_connection in pool_connections}
        for name in self.pool_connections.keys() - wanted.keys():
            self.scheduler.removed(name)
            self.suspects.removed(name)
            self.dispatcher.removed(name)
        self.pool_connections.clear()
        self.pool_connections |= wanted
        for pool_connection in wanted.values():
            self.scheduler.opened(
                pool_connection.name, pool_connection.terms, pool_connection.closed
            )
            # What a destination asked for before a restart still holds.
            self.scheduler.retry_after(
                pool_connection.name, self._backoff_store.until(pool_connection.name)
            )
        self.dispatcher.pump_soon()

    def _retry_after(self, connection: str, until: float) -> None:
        self.scheduler.retry_after(connection, until)
        self._backoff_store.asked(connection, until)

    def recycle(self, slot: int) -> bool:
        """Drain and replace the worker of a slot; False where it has none."""
        child = self._core.slots.get(slot)
        if child is None:
            return False
        self._carry_out(self._core.recycled(child, self._clock()))
        return True

    def take_evidence(self, worker: Worker, reason: str, connection: str | None) -> None:
        """Have a snapshot of its heap taken, once; it stays for that long."""
        pool_worker = self._pool_workers[worker.number]
        if pool_worker.evidence is None and not self.dispatcher.is_stopped:
            pool_worker.evidence = self._take_snapshot(
                self.pool_spec.name, worker, reason, connection
            )

    def replace(self, worker: Worker, reason: ExitReason, *, at_once: bool) -> bool:
        """Put another worker in the place of one that serves, which then finishes and exits.

        Not `at_once`: only where a spare is ready, and nobody else of the pool is leaving.
        """
        others = [
            pool_worker
            for pool_worker in self._pool_workers.values()
            if pool_worker.worker is not worker
        ]
        if not at_once and (
            any(pool_worker.is_leaving for pool_worker in others)
            or (self.pool_spec.spares and not self._core.spares)
        ):
            return False
        effects = self._core.recycled(worker.number, self._clock(), reason)
        self._carry_out(effects)
        return bool(effects)

    def used_up(self, connection: str, reason: ExitReason, detail: str) -> None:
        """This connection has left a worker with nothing of what all need."""
        self.suspects.used_up(connection, reason, detail)

    def narrow(self, worker: Worker, *, is_narrow: bool) -> None:
        """Give a worker one batch at a time, or as many as it takes."""
        pool_worker = self._pool_workers.get(worker.number)
        if pool_worker is not None:
            pool_worker.is_narrow = is_narrow
            self.dispatcher.grant(pool_worker)

    def stop_sending(self) -> None:
        """Lease nothing any more."""
        self.dispatcher.stop()
        self.suspects.draining()

    def shut(self) -> None:
        """Tell every worker to finish and exit."""
        self.dispatcher.stop()
        self._carry_out(self._core.shut())
        if self._wake is not None:
            self._wake.cancel()
        self._close_if_over()

    def _close_if_over(self) -> None:
        """Stop looking at deadlines once the pool is shut and its workers are gone."""
        if self._core.closed and not self._pool_workers:
            self._deadlines.stop()
            self.watchdog.stop()

    # --- what is to be seen ---

    @property
    def name(self) -> str:
        """What the config calls it."""
        return self.pool_spec.name

    @property
    def limits(self) -> Limits:
        """What new workers are forked under."""
        return self.pool_spec.limits

    def living(self) -> list[Worker]:
        """All that were asked for and are not gone."""
        return [pool_worker.worker for pool_worker in self._pool_workers.values()]

    @property
    def is_failing(self) -> bool:
        """No worker serves, and starts fail."""
        return self._core.is_failing

    @property
    def slots_serving(self) -> int:
        """Slots that have a worker."""
        return len(self._core.children())

    @property
    def slots_wanted(self) -> range:
        """Numbers of the slots that the config asks for."""
        return range(1, self._core.slots_wanted + 1)

    @property
    def failure(self) -> str:
        """Why the last start failed, "" where none did."""
        return self._failure

    def spare_workers(self) -> list[PoolWorker]:
        """Workers that are ready and wait, oldest first."""
        return [self._pool_workers[child] for child in self._core.spares]

    def dedicated_workers(self) -> list[PoolWorker]:
        """Workers that serve one connection alone."""
        return [
            self._pool_workers[child]
            for child in self._core.cells.values()
            if child in self._pool_workers
        ]

    @property
    def pause_s(self) -> float:
        """Seconds until dead workers are replaced again, 0 where they are at once."""
        return self._core.pause_s(self._clock())

    def pool_workers(self) -> dict[int, PoolWorker | None]:
        """Who serves in which slot."""
        return {
            slot: None if child is None else self._pool_workers.get(child)
            for slot, child in sorted(self._core.slots.items())
        }

    # --- decisions carried out ---

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Fork(child=child):
                    self._spawn(child)
                case Assign(child=child, slot=slot):
                    self._assign(child, slot)
                case Isolate(child=child, connection=connection):
                    self._set_apart(child, connection)
                case Retire(child=child, reason=reason):
                    self._retire(child, reason)
                case Wake(at=at):
                    self._plan_wake(at)

    def _spawn(self, child: int) -> None:
        order = self.pool_spec.order(child, f"{self.pool_spec.name}#{child}", declare=False)
        worker = self._fleet.spawn(order, self)
        egress_session = EgressSession(
            self._broker,
            egress_policy_of=lambda connection: self._egress_policy_of(child, connection),
            send=worker.channel.send,
            condemn=lambda why: worker.kill(ExitReason.EGRESS, why),
        )
        self._pool_workers[child] = PoolWorker(worker, egress_session)

    def _egress_policy_of(self, child: int, connection: str) -> EgressPolicy | None:
        """What a worker may reach for a connection: as the config says now, or said at its end."""
        given = self._pool_workers[child].configured.get(connection)
        return None if given is None else self.pool_connections.get(connection, given).egress_policy

    def _assign(self, child: int, slot: int) -> None:
        pool_worker = self._pool_workers[child]
        pool_worker.slot = slot
        pool_worker.worker.come_forward()
        pool_worker.worker.label = f"{self.pool_spec.name}-{slot}"
        record = self.slots.setdefault(slot, SlotRecord())
        record.processes += 1
        self.scheduler.worker_came(child, pool_worker.credits)
        _log.info(
            "worker_serves",
            pool=self.pool_spec.name,
            worker=pool_worker.worker.label,
            pid=pool_worker.worker.pid,
        )
        self.dispatcher.pump()

    def _set_apart(self, child: int, connection: str) -> None:
        pool_worker = self._pool_workers[child]
        pool_worker.only = connection
        pool_worker.worker.give_way()
        pool_worker.worker.label = f"{self.pool_spec.name}:{connection}"
        _log.info(
            "worker_serves_apart",
            pool=self.pool_spec.name,
            worker=pool_worker.worker.label,
            pid=pool_worker.worker.pid,
            connection=connection,
        )
        self.suspects.came(pool_worker)
        self.dispatcher.pump_soon()

    def _retire(self, child: int, reason: ExitReason) -> None:
        pool_worker = self._pool_workers.get(child)
        if pool_worker is None:
            return
        self.scheduler.worker_left(child)
        pool_worker.is_leaving = True
        if pool_worker.evidence is not None and pool_worker.is_giving_evidence:
            # Its copy would end with it. It gets no work any more, and its place is taken.
            pool_worker.evidence.add_done_callback(lambda _: self._let_go(pool_worker, reason))
        else:
            self._let_go(pool_worker, reason)

    def _let_go(self, pool_worker: PoolWorker, reason: ExitReason) -> None:
        if not pool_worker.batches:
            pool_worker.idle_since = self._clock()
        pool_worker.worker.retire(reason)

    def _plan_wake(self, at: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        delay = max(0.0, at - self._clock())
        self._wake = asyncio.get_running_loop().call_later(delay, self._woke)

    def _woke(self) -> None:
        self._carry_out(self._core.woke(self._clock()))

    # --- suspects.Host ---

    def isolate(self, connection: str) -> None:
        """Get a worker for this connection alone."""
        self._carry_out(self._core.isolated(connection, self._clock()))

    def rejoin(self, connection: str) -> None:
        """That worker is not needed any more, or was not yet there."""
        self._carry_out(self._core.rejoined(connection, self._clock()))
        self.dispatcher.pump_soon()

    def try_again(
        self,
        pool_worker: PoolWorker,
        pool_connection: PoolConnection,
        batch: InflightBatch,
        indices: tuple[int, ...],
    ) -> InflightBatch:
        """Hand some of a batch to a worker, out of turn, as a batch of their own."""
        return self.dispatcher.send_part(pool_worker, pool_connection, batch, indices)

    # --- workers.Listener ---

    def ready(self, worker: Worker, credits: int, layers: dict[str, str]) -> None:
        """A worker has started: a slot for it, or it waits as a spare."""
        if not 0 < credits <= 1024:
            worker.kill(ExitReason.PROTOCOL, f"it grants {credits} credits")
            return
        self._pool_workers[worker.number].credits = credits
        self.layers = layers
        self._metrics.worker_start_seconds(self.pool_spec.name, time.monotonic() - worker.asked_at)
        self._carry_out(self._core.child_ready(worker.number, self._clock()))

    def said(self, worker: Worker, message: FromWorker) -> None:
        """Outcomes, mostly. Raises ProtocolError where it is out of turn."""
        pool_worker = self._pool_workers[worker.number]
        match message:
            case Outcomes():
                self.dispatcher.outcomes(pool_worker, message)
            case BatchDone():
                self.dispatcher.batch_done(pool_worker, message.batch)
            case OutOfMemory():
                if (
                    len(message.text) > MAX_DETAIL
                    or message.connection not in pool_worker.configured
                ):
                    raise ProtocolError("out of memory in a connection that it does not have")
                self.watchdog.ran_out(worker, message)
            case Stray():
                if len(message.text) > MAX_DETAIL or message.connection not in (
                    "",
                    *pool_worker.configured,
                ):
                    raise ProtocolError("a stray exception of a connection that it does not have")
                log_stray(self.name, worker, message, self._metrics)
            case Stats():
                if message.connection not in ("", *pool_worker.configured):
                    raise ProtocolError("open files of a connection that it does not have")
                pool_worker.loop_lag_s, pool_worker.running_batches = (
                    message.loop_lag_s,
                    message.tasks,
                )
                self.watchdog.told_open_files(worker, message.open_files, message.connection)
                self._metrics.loop_lag(worker.label, message.loop_lag_s)
            case Log():
                if len(message.text) > MAX_DETAIL or len(message.connection) > MAX_DETAIL:
                    raise ProtocolError("a log line longer than any honest one")
                log_line(self.name, worker, message, pool_worker.configured, self._metrics)
            case Begun() | Collected():
                self.collector.said(worker, message)
            case _:
                raise ProtocolError(f"{type(message).__name__} from a worker that serves")

    def asked(self, worker: Worker, message: FromWorkerChannel) -> None:
        """It wants to be connected. Raises ProtocolError where it is out of turn."""
        self._pool_workers[worker.number].egress_session.said(message)

    def printed(self, worker: Worker, printed: Printed) -> None:
        """It wrote past Python: in the log under whose step ran, as far as one can tell."""
        mark = worker.marked()
        connection = None if mark is None else mark.connection
        self._metrics.output_bytes(connection or "", printed.size_bytes)
        log_printed(worker, printed, connection)

    def vacated(self, worker: Worker) -> None:
        """A worker is dead or as good as: its slot to a spare, which can work at once."""
        self._pool_workers[worker.number].egress_session.close()
        self.scheduler.worker_left(worker.number)
        self._carry_out(
            self._core.child_gone(
                worker.number,
                was_ready=worker.ready_at is not None,
                has_worked=self._pool_workers[worker.number].finished > 0,
                now=self._clock(),
            )
        )

    def gone(self, worker: Worker, end: Exit) -> None:
        """It is buried: what it had is released, or under suspicion."""
        pool_worker = self._pool_workers.pop(worker.number)
        self.collector.gone(worker)
        batches = list(pool_worker.batches.values())
        record = self._exits.add(exit_record(self.pool_spec.name, pool_worker, end), end.stacks)
        _log.log(
            20 if end.reason in (ExitReason.DRAIN, ExitReason.RECYCLE) else 30,
            "worker_exited",
            pool=self.pool_spec.name,
            worker=worker.label,
            pid=worker.pid,
            reason=end.reason,
            detail=end.detail,
            connection=record.connection,
            connections=record.connections,
            unreported=record.unreported,
            exit=record.id,
        )
        self._metrics.worker_exit(self.pool_spec.name, end.reason)
        is_ours = self.dispatcher.is_stopped or self._fleet.zygote.died_within(TOGETHER_S)
        if pool_worker.slot is not None:
            self.slots[pool_worker.slot].last_exit = record
        if not end.was_ready:
            self._failure = f"a worker did not start: {end.reason} ({end.detail})"
        elif not is_ours:
            self._failure = f"a worker died: {end.reason} ({end.detail})"
        end = replace(end, connection=record.connection)
        self.suspects.died(pool_worker, end, record.id, is_ours=is_ours)
        self.dispatcher.lost(batches)
        self.dispatcher.pump()
        self._close_if_over()
