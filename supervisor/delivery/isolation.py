"""Carries out what the isolation machine decides: suspected batches, probes, verdicts, trips.

Keeps the leases of suspected batches: nothing of them goes back to the queue before it is decided.
If the supervisor dies, all of it is pending again and nobody is charged. Must not decide anything:
`core/isolation/machine.py` does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from supervisor.core.isolation.effects import (
    BlameKind,
    CountBlame,
    ExtendLease,
    ForgetLease,
    HoldLease,
    PlaceConnection,
    PostponeAlone,
    QuarantineDelivery,
    RecordFates,
    ReportDecided,
    ReportNoisyNeighbour,
    ReportProbation,
    ReportTrust,
    Requeue,
    Resend,
    Trip,
)
from supervisor.core.isolation.facts import (
    BreakerOpened,
    IsolationFact,
    LeaseLost,
    LostBatch,
    ProbeRefused,
    ProbeSent,
    RunningMark,
    WorkerDied,
)
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.placement import Dedicated, Placement, Shared, Waiting
from supervisor.core.scheduling.scheduler import Scheduler
from supervisor.delivery.dispatcher import Dispatcher
from supervisor.delivery.exit_record import with_fates
from supervisor.delivery.records import InflightBatch, PoolWorker
from supervisor.delivery.settlement import DeliveryWatch, Settlement
from supervisor.delivery.state import PoolRecords
from supervisor.diagnostics.exits import ExitStore
from supervisor.insight.attempts import Trial
from supervisor.queue import LeaseExpired, Queue, QueueUnavailable
from supervisor.runtime.clock import Clock
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.handle import Exit, Mark

_log = structlog.get_logger(__name__)

#: Effects that are this module's to carry out; for the others the pool asks its layout.
CarriedOut = (
    PlaceConnection
    | HoldLease
    | ExtendLease
    | ForgetLease
    | Resend
    | Requeue
    | PostponeAlone
    | QuarantineDelivery
    | RecordFates
    | Trip
    | CountBlame
    | ReportProbation
    | ReportDecided
    | ReportTrust
    | ReportNoisyNeighbour
)


def worker_died(pool_worker: PoolWorker, end: Exit, *, is_ours: bool) -> WorkerDied:
    """The fact for the machine, of no record yet; `is_ours`: for reasons that charge nobody."""
    return WorkerDied(
        worker=pool_worker.number,
        reason=end.reason,
        detail=end.detail,
        batches=tuple(_lost(batch) for batch in pool_worker.batches.values()),
        mark=_running(pool_worker, pool_worker.hint if end.is_anybodys else end.mark),
        overdue=frozenset(pool_worker.overdue),
        ended=pool_worker.ended if end.is_anybodys else frozenset(),
        configured=frozenset(pool_worker.configured),
        is_ours=is_ours,
        is_leaving=pool_worker.is_leaving,
        has_finished=pool_worker.finished > 0,
        label=pool_worker.worker.label,
    )


def _running(pool_worker: PoolWorker, mark: Mark | None) -> RunningMark | None:
    """What it was at, or who is tried first; of whom that is another batch may be there by now."""
    if mark is None or not mark.is_running:
        return None
    if pool_worker.hint is mark and mark.batch not in pool_worker.batches:
        for batch in pool_worker.batches.values():
            if batch.connection == mark.connection:
                return RunningMark(mark.connection, batch.id)
    return RunningMark(mark.connection, mark.batch, mark.event)


def _lost(batch: InflightBatch) -> LostBatch:
    unreported = _unreported(batch)
    deliveries = batch.lease.deliveries
    return LostBatch(
        batch=batch.id,
        connection=batch.connection,
        size=len(batch.reported),
        unreported=tuple(unreported),
        keys=tuple(hash((batch.connection, deliveries[index].body)) for index in unreported),
        leased_until=batch.lease.expires_at,
    )


def _unreported(batch: InflightBatch) -> list[int]:
    return [index for index, reported in enumerate(batch.reported) if not reported]


class SuspectedBatches:
    """That of one pool; `tell` takes what the machine is to hear of an effect, or later."""

    def __init__(
        self,
        state: PoolRecords,
        *,
        queue: Queue,
        scheduler: Scheduler,
        settlement: Settlement,
        dispatcher: Dispatcher,
        metrics: Metrics,
        exits: ExitStore,
        watch: DeliveryWatch,
        clock: Clock,
        tell: Callable[[IsolationFact], None],
    ) -> None:
        self._state = state
        self._queue = queue
        self._scheduler = scheduler
        self._settlement = settlement
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._exits = exits
        self._watch = watch
        self._clock = clock
        self._tell = tell
        self._held: dict[int, InflightBatch] = {}
        self._lost: dict[int, InflightBatch] = {}
        self._how = ""
        self._exit_id: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def lost(
        self, batches: Iterable[InflightBatch], how: str = "", exit_id: str | None = None
    ) -> None:
        """These were with a worker that has died so, of which the machine is told next."""
        self._lost = {batch.id: batch for batch in batches}
        self._how, self._exit_id = how, exit_id
        for batch in self._lost.values():
            if batch.places is not None:  # nothing else is decided of a probe but what is next
                reason = f"its worker died again: {how}"
                self._say(batch, _unreported(batch), "suspected", reason, exit_id)

    def carry_out(self, effect: CarriedOut) -> None:
        """Do one thing."""
        match effect:
            case PlaceConnection(connection=connection, placement=placement):
                self._scheduler.place(connection, placement)
                self._prioritize(placement)
                self._dispatcher.pump_soon()
            case HoldLease(batch=batch):
                self._hold(self._lost[batch])
            case ForgetLease(batch=batch):
                del self._held[batch]
            case ExtendLease(batch=batch, for_s=for_s):
                self._extend(batch, for_s)
            case Resend():
                self._resend(effect)
            case Requeue(batch=batch, indices=indices):
                self._release(self._batch(batch), indices, is_held=batch in self._held)
            case PostponeAlone(batch=batch, indices=indices, reason=reason):
                self._settlement.postponed(self._batch(batch), indices, reason)
            case QuarantineDelivery():
                self._quarantine(effect)
            case RecordFates(exit_id=exit_id, fates=fates):
                self._exits.decided(exit_id, partial(with_fates, fates))
            case Trip(connection=connection, reason=reason):
                self._trip(connection, reason)
            case CountBlame(connection=connection, kind=kind):
                self._count(connection, kind)
            case ReportProbation() | ReportDecided() | ReportTrust() | ReportNoisyNeighbour():
                _report(effect)

    def _prioritize(self, placement: Placement) -> None:
        """A connection that is unproven gives way; what a probe shows is waited for."""
        match placement:
            case Dedicated(worker=number, is_probed=is_probed):
                pool_worker = self._state.worker(number)
                if pool_worker is None:
                    return
                if is_probed:
                    pool_worker.worker.come_forward()
                else:
                    pool_worker.worker.give_way()
            case Shared() | Waiting():
                pass

    def _hold(self, batch: InflightBatch) -> None:
        self._held[batch.id] = batch
        reason = f"its worker died, and it may be of this event: {self._how}"
        self._say(batch, _unreported(batch), "suspected", reason, self._exit_id)

    def _release(self, batch: InflightBatch, indices: tuple[int, ...], *, is_held: bool) -> None:
        self._settlement.released(batch, indices)
        if is_held:
            self._say(batch, indices, "released", "it is sent again like any other")
        else:
            reason = f"its worker ended, not by its fault: {self._how}"
            self._say(batch, indices, "released", reason, self._exit_id)

    def _say(
        self,
        batch: InflightBatch,
        indices: Iterable[int],
        outcome: Trial,
        reason: str,
        exit_id: str | None = None,
    ) -> None:
        deliveries = [batch.lease.deliveries[index] for index in indices]
        self._watch.tried(batch.connection, outcome, reason, batch.label, deliveries, exit_id)

    def _batch(self, batch: int) -> InflightBatch:
        held = self._held.get(batch)
        return self._lost[batch] if held is None else held

    def _extend(self, batch: int, for_s: float) -> None:
        task = asyncio.get_running_loop().create_task(self._extended(batch, for_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _extended(self, batch: int, for_s: float) -> None:
        held = self._held.get(batch)
        if held is None:
            return  # it was decided meanwhile
        try:
            await self._queue.extend(held.lease, for_s)
        except (LeaseExpired, QueueUnavailable) as error:
            # They are pending again, or will be when the store is back: not ours any more.
            _log.warning("suspects_lost", connection=held.connection, error=str(error))
            self._tell(LeaseLost(batch))

    def _resend(self, effect: Resend) -> None:
        pool_worker = self._state.worker(effect.worker)
        connection = self._state.connections.get(effect.connection)
        if (
            connection is None
            or pool_worker is None
            or pool_worker.batches
            or pool_worker.worker.state is not ProcessState.READY
        ):
            self._tell(ProbeRefused(effect.connection))
            return
        self._metrics.suspect_executions(effect.connection, len(effect.indices))
        probe = self._dispatcher.send_part(
            pool_worker, connection, self._held[effect.batch], effect.indices
        )
        others = len(effect.indices) - 1
        company = f"with {others} others of its batch and" if others else "alone, with"
        reason = f"sent again {company} nothing else in its worker"
        self._say(probe, range(len(effect.indices)), "tried", reason)
        self._tell(ProbeSent(effect.connection, probe.id))

    def _quarantine(self, effect: QuarantineDelivery) -> None:
        self._settlement.quarantined(
            self._batch(effect.batch), effect.index, effect.why, effect.exit_id
        )
        _log.error(
            "delivery_quarantined",
            connection=effect.connection,
            reason=effect.reason,
            detail=effect.detail,
        )

    def _trip(self, connection: str, reason: str) -> None:
        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
        if self._scheduler.tripped(connection, reason, self._clock(), jitter):
            _log.error("connection_tripped", connection=connection, reason=reason)
            self._tell(BreakerOpened(connection))

    def _count(self, connection: str, kind: BlameKind) -> None:
        match kind:
            case BlameKind.DEATH:
                self._metrics.connection_death(connection)
            case BlameKind.USED_UP:
                self._metrics.connection_used_up(connection)
            case BlameKind.HOGGED:
                self._metrics.connection_hogged(connection)


def _report(
    effect: ReportProbation | ReportDecided | ReportTrust | ReportNoisyNeighbour,
) -> None:
    match effect:
        case ReportProbation():
            _log.warning(
                "connection_on_probation",
                connection=effect.connection,
                reason=effect.reason,
                detail=effect.detail,
                deliveries=effect.deliveries,
                accused=effect.accused,
            )
        case ReportDecided(connection=connection, deaths=deaths):
            _log.info("probation_over", connection=connection, deaths=deaths)
        case ReportTrust(connection=connection):
            _log.info("connection_trusted_again", connection=connection)
        case ReportNoisyNeighbour(connection=connection, how=how):
            _log.warning("connection_hogs", connection=connection, reason=f"it {how}")
