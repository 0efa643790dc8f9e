"""What a pool's workers say, and how they end: each to the part of the pool that it concerns.

Owns the way in: a frame that is out of turn costs its worker its life, whatever it says. A returned
batch and a dead worker go through the same settlement, so that every delivery gets one verdict.
Must not decide anything: what follows goes to the agenda.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import structlog

from sandbox.protocol import (
    MAX_DETAIL,
    AskToken,
    BatchDone,
    Collected,
    CollectionStarted,
    FromWorker,
    FromWorkerChannel,
    GiveUpToken,
    KeepToken,
    Log,
    Outcomes,
    OutOfMemory,
    ProtocolError,
    Sampled,
    Stats,
    UnhandledException,
    WantSamples,
)
from supervisor.core.effects import ExitReason
from supervisor.core.isolation.effects import described
from supervisor.core.isolation.facts import BatchFinished
from supervisor.core.isolation.machine import Isolation
from supervisor.core.isolation.responsiveness import Responsiveness
from supervisor.core.lifecycle.pool_layout import PoolLayout
from supervisor.core.scheduling.scheduler import Scheduler
from supervisor.delivery.dispatcher import Dispatcher
from supervisor.delivery.executor import PoolAgenda
from supervisor.delivery.exit_record import exit_record
from supervisor.delivery.isolation import SuspectedBatches, worker_died
from supervisor.delivery.records import PoolWorker
from supervisor.delivery.settlement import DeliveryWatch, Settlement
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.tokens import TokenBroker
from supervisor.delivery.watchdog import Watchdog
from supervisor.diagnostics.collector import Collector
from supervisor.diagnostics.exits import ExitStore
from supervisor.runtime.clock import Clock
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.handle import Exit, WorkerHandle
from supervisor.workers.log_lines import log_line, log_printed, log_unhandled
from supervisor.workers.output import Printed

_log = structlog.get_logger(__name__)

#: A worker that dies within so many seconds of a zygote died of the same cause: of nobody's batch.
#: Of time that counts: what it was without a CPU is added, so many seconds at most.
TOGETHER_S, STARVED_MOST_S = 1.0, 30.0
#: Samples that are held of a batch until its outcomes come.
SAMPLES_A_BATCH = 16


class WorkerListener:
    """That of one pool. Implements `handle.Listener`."""

    def __init__(
        self,
        pool: str,
        state: PoolRecords,
        *,
        agenda: PoolAgenda,
        layout: PoolLayout,
        scheduler: Scheduler,
        isolation: Isolation,
        suspected: SuspectedBatches,
        responsiveness: Responsiveness,
        settlement: Settlement,
        dispatcher: Dispatcher,
        watchdog: Watchdog,
        collector: Collector,
        fleet: WorkerFleet,
        exits: ExitStore,
        tokens: TokenBroker,
        metrics: Metrics,
        watch: DeliveryWatch,
        clock: Clock,
    ) -> None:
        self.layers: dict[str, str] = {}
        """Sandbox layers, as the last worker that started reports them."""
        self.failure = ""
        """Why the last start or worker ended, "" where none did."""
        self._pool = pool
        self._state = state
        self._agenda = agenda
        self._layout = layout
        self._scheduler = scheduler
        self._isolation = isolation
        self._suspected = suspected
        self._responsiveness = responsiveness
        self._settlement = settlement
        self._dispatcher = dispatcher
        self._watchdog = watchdog
        self._collector = collector
        self._fleet = fleet
        self._exits = exits
        self._tokens = tokens
        self._metrics = metrics
        self._watch = watch
        self._wants_samples = watch.wants_samples
        self._clock = clock

    def ready(self, worker: WorkerHandle, credits: int, layers: dict[str, str]) -> None:
        """A worker has started: a slot for it, or it waits as a spare."""
        if not 0 < credits <= 1024:
            worker.kill(ExitReason.PROTOCOL, f"it grants {credits} credits")
            return
        self._of(worker).credits = credits
        self.layers = layers
        if self._wants_samples:
            worker.send(WantSamples(is_wanted=True))
        self._metrics.worker_start_seconds(self._pool, time.monotonic() - worker.asked_at)
        self._agenda.do(self._layout.child_ready(worker.number, self._clock()))

    def said(self, worker: WorkerHandle, message: FromWorker) -> None:
        """Outcomes, mostly. Raises ProtocolError where it is out of turn."""
        pool_worker = self._of(worker)
        match message:
            case Outcomes():
                batch = pool_worker.batches.get(message.batch)
                if batch is None:
                    raise ProtocolError(
                        f"outcomes of batch {message.batch}, which it does not have"
                    )
                self._settlement.outcomes(batch, message)
            case BatchDone():
                self._batch_done(pool_worker, message.batch)
            case OutOfMemory():
                if (
                    len(message.text) > MAX_DETAIL
                    or message.connection not in pool_worker.configured
                ):
                    raise ProtocolError("out of memory in a connection that it does not have")
                self._agenda.do(self._watchdog.limits.ran_out(worker, message))
            case UnhandledException():
                if len(message.text) > MAX_DETAIL or not pool_worker.may_name(message.connection):
                    raise ProtocolError("a stray exception of a connection that it does not have")
                is_logged = pool_worker.stray_lines.takes(self._clock())
                log_unhandled(self._pool, worker, message, self._metrics, is_logged=is_logged)
            case Stats():
                if not pool_worker.may_name(message.connection):
                    raise ProtocolError("open files of a connection that it does not have")
                if not 0.0 <= message.loop_lag_s < math.inf:
                    raise ProtocolError("figures that are none")
                pool_worker.loop_lag_s = message.loop_lag_s
                pool_worker.running_batches = message.tasks
                self._agenda.do(
                    self._watchdog.limits.told_open_files(
                        worker, message.open_files, message.connection
                    )
                )
                self._metrics.loop_lag(worker.label, message.loop_lag_s)
            case Log():
                if len(message.text) > MAX_DETAIL or len(message.connection) > MAX_DETAIL:
                    raise ProtocolError("a log line longer than any honest one")
                is_logged = pool_worker.lines.takes(self._clock())
                known = pool_worker.configured
                log_line(self._pool, worker, message, known, self._metrics, is_logged=is_logged)
            case Sampled():
                self._sampled(pool_worker, message)
            case CollectionStarted() | Collected():
                self._collector.said(worker, message)
            case AskToken() | KeepToken() | GiveUpToken():
                if message.connection not in pool_worker.configured:
                    raise ProtocolError("the token of a connection that it does not have")
                connection = self._state.connections.get(message.connection)
                settings = None if connection is None else connection.settings
                self._tokens.said(worker, settings, message)
            case _:
                raise ProtocolError(f"{type(message).__name__} from a worker that serves")

    def _sampled(self, pool_worker: PoolWorker, message: Sampled) -> None:
        """What was sent in an attempt that failed. Raises ProtocolError where it has none such."""
        batch = pool_worker.batches.get(message.batch)
        if batch is None or not 0 <= message.index < len(batch.reported):
            raise ProtocolError("a sample of an event that it does not have")
        is_heard = pool_worker.samples.takes(self._clock()) and self._watch.wants_samples
        if is_heard and len(batch.samples) < SAMPLES_A_BATCH:
            batch.samples[message.index] = message

    def want_samples(self) -> None:
        """Tell all workers whether samples are wanted, where that has changed."""
        if self._watch.wants_samples is not self._wants_samples:
            self._wants_samples = self._watch.wants_samples
            for pool_worker in self._state.workers:
                pool_worker.worker.send(WantSamples(self._wants_samples))

    def _batch_done(self, pool_worker: PoolWorker, batch_id: int) -> None:
        """A batch has ended. Raises ProtocolError where it is not the worker's, or not all told."""
        batch = pool_worker.batches.get(batch_id)
        if batch is None:
            raise ProtocolError(f"end of batch {batch_id}, which it does not have")
        if batch.unreported:
            raise ProtocolError(f"batch {batch_id} ended with {batch.unreported} outcomes untold")
        now = self._clock()
        self._state.ended(pool_worker, batch_id, now)
        seconds = now - batch.started
        self._metrics.batch_seconds(batch.connection, seconds)
        self._dispatcher.finished(batch, now)
        self._agenda.do(self._watchdog.limits.batch_ended(pool_worker.worker))
        self._agenda.tell(
            BatchFinished(
                worker=pool_worker.number,
                batch=batch_id,
                connection=batch.connection,
                delivered=batch.delivered,
                retried=batch.retried - batch.refused,
                seconds=seconds,
                limit_s=self._dispatcher.batch_timeout_s,
            )
        )
        # A worker that is free again need not wait for the next turn of the loop.
        self._dispatcher.pump()

    def asked(self, worker: WorkerHandle, message: FromWorkerChannel) -> None:
        """It wants to be connected. Raises ProtocolError where it is out of turn."""
        self._of(worker).egress_session.said(message)

    def printed(self, worker: WorkerHandle, printed: Printed) -> None:
        """It wrote past Python: in the log under whose step ran, as far as one can tell."""
        mark = worker.marked()
        connection = None if mark is None else mark.connection
        self._metrics.output_bytes(connection or "", printed.size_bytes)
        log_printed(worker, printed, connection)

    def vacated(self, worker: WorkerHandle) -> None:
        """A worker is dead or as good as: its slot to a spare, which can work at once."""
        pool_worker = self._of(worker)
        pool_worker.egress_session.close()
        self._scheduler.worker_left(worker.number)
        self._agenda.do(
            self._layout.child_gone(
                worker.number,
                was_ready=worker.ready_at is not None,
                has_worked=pool_worker.finished > 0,
                now=self._clock(),
            )
        )

    def gone(self, worker: WorkerHandle, end: Exit) -> None:
        """It is reaped: what it had is given back, or suspected."""
        assert not self._agenda.is_running, "a worker is reaped in a turn of the loop of its own"
        pool_worker = self._state.gone(worker.number)
        self._collector.gone(worker)
        self._tokens.gone(worker.number)
        self._watchdog.limits.gone(worker.number)
        self._responsiveness.forget_worker(worker.number)
        owner = self._isolation.dedicated_to(worker.number)
        together_s = TOGETHER_S + min(pool_worker.lost_s, STARVED_MOST_S)
        is_ours = self._dispatcher.is_stopped or self._fleet.zygote.died_within(together_s)
        death = worker_died(pool_worker, end, is_ours=is_ours)
        is_outsiders = self._isolation.is_outsiders(death)
        record = self._exits.add(
            exit_record(self._pool, pool_worker, owner, end, is_outsiders=is_outsiders), end.stacks
        )
        _log.log(
            20 if end.reason in (ExitReason.DRAIN, ExitReason.RECYCLE) else 30,
            "worker_exited",
            pool=self._pool,
            worker=worker.label,
            pid=worker.pid,
            reason=end.reason,
            detail=end.detail,
            connection=record.connection,
            connections=record.connections,
            unreported=record.unreported,
            exit=record.id,
        )
        self._metrics.worker_exit(self._pool, end.reason)
        self._state.exited(pool_worker, record)
        if not end.was_ready:
            self.failure = f"a worker did not start: {end.reason} ({end.detail})"
        elif not is_ours:
            self.failure = f"a worker died: {end.reason} ({end.detail})"
        batches = list(pool_worker.batches.values())
        self._suspected.lost(batches, described(end.reason, end.detail), record.id)
        self._agenda.tell(replace(death, exit_id=record.id))
        self._suspected.lost(())
        now = self._clock()
        for batch in batches:
            self._dispatcher.finished(batch, now)
        self._dispatcher.pump()
        self._watchdog.worker_gone()

    def _of(self, worker: WorkerHandle) -> PoolWorker:
        pool_worker = self._state.worker(worker.number)
        assert pool_worker is not None, "a worker that is gone has no last words"
        return pool_worker
