"""Carries out what the parts of a pool decide: forks, places, replaces and retires its workers.

Owns the one place where effects become actions. An action may add effects and facts to the agenda;
it never runs them. Must not decide anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from sandbox.protocol import Holdings
from supervisor.core.effects import Assign, ExitReason, Fork, Isolate, Retire, Wake
from supervisor.core.isolation.effects import IsolationEffect, RequestWorker, ReturnWorker
from supervisor.core.isolation.facts import (
    IsolationFact,
    Ticked,
    WorkerDedicated,
)
from supervisor.core.isolation.machine import Isolation
from supervisor.core.lifecycle.pool_layout import Effect as LayoutEffect
from supervisor.core.lifecycle.pool_layout import PoolLayout
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.scheduling.scheduler import Scheduler
from supervisor.delivery.agenda import Agenda
from supervisor.delivery.dispatcher import Dispatcher
from supervisor.delivery.isolation import SuspectedBatches
from supervisor.delivery.records import PoolWorker
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog import Watchdog
from supervisor.delivery.watchdog.effects import (
    CountHoldings,
    EndIdleWorker,
    EndWorker,
    GrantBatches,
    MakeSerial,
    RecycleWorker,
    ReplaceWorker,
    TakeSnapshot,
    Tell,
    TickIsolation,
    WatchdogEffect,
)
from supervisor.diagnostics.collector import CollectFailed, Collector
from supervisor.diagnostics.holdings import count_holdings
from supervisor.diagnostics.snapshots import Snapshot
from supervisor.egress.broker import Broker, EgressSession
from supervisor.egress.policy import EgressPolicy
from supervisor.errors import Busy
from supervisor.runtime.clock import Clock
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.handle import Listener, WorkerHandle
from supervisor.workers.spawn import PoolSpec

_log = structlog.get_logger(__name__)

#: Begins a snapshot of (pool, worker), kept under (reason, connection to blame).
BeginSnapshot = Callable[[str, WorkerHandle, str, str | None], "asyncio.Task[Snapshot | None]"]

PoolEffect = LayoutEffect | IsolationEffect | WatchdogEffect
PoolAgenda = Agenda[IsolationFact, PoolEffect]


class Executor:
    """That of one pool; workers are forked as `pool_spec` says."""

    def __init__(
        self,
        pool_spec: PoolSpec,
        state: PoolRecords,
        *,
        agenda: PoolAgenda,
        layout: PoolLayout,
        scheduler: Scheduler,
        isolation: Isolation,
        suspected: SuspectedBatches,
        dispatcher: Dispatcher,
        watchdog: Watchdog,
        listener: Listener,
        fleet: WorkerFleet,
        broker: Broker,
        collector: Collector,
        begin_snapshot: BeginSnapshot,
        clock: Clock,
    ) -> None:
        self.pool_spec = pool_spec
        self._state = state
        self._agenda = agenda
        self._layout = layout
        self._scheduler = scheduler
        self._isolation = isolation
        self._suspected = suspected
        self._dispatcher = dispatcher
        self._watchdog = watchdog
        self._listener = listener
        self._fleet = fleet
        self._broker = broker
        self._collector = collector
        self._begin_snapshot = begin_snapshot
        self._clock = clock
        self._wake: asyncio.TimerHandle | None = None
        self._counting: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """No worker is forked any more."""
        if self._wake is not None:
            self._wake.cancel()
        if self._counting is not None:
            self._counting.cancel()

    def decide(self, fact: IsolationFact) -> Iterable[PoolEffect]:
        """What follows from a fact."""
        return self._isolation.handle(fact, self._clock())

    def carry_out(self, effect: PoolEffect) -> None:
        """Do one thing."""
        match effect:
            case Fork(child=child):
                self._fork(child)
            case Assign(child=child, slot=slot):
                self._assign(child, slot)
            case Isolate(child=child, connection=connection):
                self._dedicate(child, connection)
            case Retire(child=child, reason=reason):
                self._retire(child, reason)
            case Wake(at=at):
                self._plan_wake(at)
            case RequestWorker(connection=connection):
                self._agenda.do(self._layout.isolated(connection, self._clock()))
            case ReturnWorker(connection=connection):
                self._agenda.do(self._layout.rejoined(connection, self._clock()))
                self._dispatcher.pump_soon()
            case (
                EndWorker()
                | EndIdleWorker()
                | ReplaceWorker()
                | RecycleWorker()
                | TakeSnapshot()
                | CountHoldings()
                | GrantBatches()
            ):
                pool_worker = self._state.worker(effect.worker)
                if pool_worker is not None:
                    self._act_on(pool_worker, effect)
            case MakeSerial(worker=number):
                for changed in self._state.make_serial(number):
                    self._dispatcher.grant(changed)
            case Tell(fact=fact):
                self._agenda.tell(fact)
            case TickIsolation():
                self.tick()
            case _:  # the type checker knows that the others are what `carry_out` takes
                self._suspected.carry_out(effect)

    def tick(self) -> None:
        """Time has passed: leases are kept, dedicated workers given back and asked for again."""
        now = self._clock()
        would_send = {
            name for name in self._isolation.dormant() if self._scheduler.would_send(name, now)
        }
        self._agenda.tell(Ticked(frozenset(would_send)))

    # --- layout ---

    def _fork(self, child: int) -> None:
        order = self.pool_spec.order(child, f"{self.pool_spec.name}#{child}", declare=False)
        worker = self._fleet.spawn(order, self._listener)
        egress_session = EgressSession(
            self._broker,
            egress_policy_of=partial(self._egress_policy_of, child),
            send=worker.channel.send,
            condemn=partial(worker.kill, ExitReason.EGRESS),
        )
        self._state.forked(PoolWorker(worker, egress_session))

    def _egress_policy_of(self, child: int, connection: str) -> EgressPolicy | None:
        """What a worker may reach for a connection: as the config says now, or said at its end."""
        pool_worker = self._state.worker(child)
        given = None if pool_worker is None else pool_worker.configured.get(connection)
        return (
            None if given is None else self._state.connections.get(connection, given).egress_policy
        )

    def _assign(self, child: int, slot: int) -> None:
        pool_worker = self._serves(child, f"{self.pool_spec.name}-{slot}")
        pool_worker.worker.come_forward()
        self._state.assigned(pool_worker, slot)
        self._scheduler.worker_came(child, pool_worker.credits)
        _log.info(
            "worker_serves",
            pool=self.pool_spec.name,
            worker=pool_worker.worker.label,
            pid=pool_worker.worker.pid,
        )
        self._dispatcher.pump()

    def _dedicate(self, child: int, connection: str) -> None:
        pool_worker = self._serves(child, f"{self.pool_spec.name}:{connection}")
        _log.info(
            "worker_serves_apart",
            pool=self.pool_spec.name,
            worker=pool_worker.worker.label,
            pid=pool_worker.worker.pid,
            connection=connection,
        )
        self._agenda.tell(WorkerDedicated(child, connection))
        self._dispatcher.pump_soon()

    def _serves(self, child: int, label: str) -> PoolWorker:
        pool_worker = self._state.worker(child)
        assert pool_worker is not None, "the layout knows of a worker that nobody forked"
        pool_worker.worker.label = label
        return pool_worker

    def _retire(self, child: int, reason: ExitReason) -> None:
        pool_worker = self._state.worker(child)
        if pool_worker is None:
            return
        self._scheduler.worker_left(child)
        pool_worker.is_leaving = True
        if pool_worker.evidence is not None and pool_worker.is_giving_evidence:
            # Its copy would end with it. It gets no work any more, and its place is taken.
            pool_worker.evidence.add_done_callback(lambda _: self._let_go(pool_worker, reason))
        else:
            self._let_go(pool_worker, reason)

    def _let_go(self, pool_worker: PoolWorker, reason: ExitReason) -> None:
        if not pool_worker.batches:
            pool_worker.rests(self._clock())
        pool_worker.worker.retire(reason)

    def _plan_wake(self, at: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        delay = max(0.0, at - self._clock())
        self._wake = asyncio.get_running_loop().call_later(delay, self._woke)

    def _woke(self) -> None:
        self._agenda.do(self._layout.woke(self._clock()))

    # --- watchdog ---

    def _act_on(
        self,
        pool_worker: PoolWorker,
        effect: EndWorker
        | EndIdleWorker
        | ReplaceWorker
        | RecycleWorker
        | TakeSnapshot
        | CountHoldings
        | GrantBatches,
    ) -> None:
        worker = pool_worker.worker
        match effect:
            case EndWorker(reason=reason, detail=detail, connection=connection):
                if effect.is_anybodys or connection is not None:
                    worker.blame(detail, connection)
                    pool_worker.ended, pool_worker.hint = effect.ended, effect.hint
                worker.kill(reason, detail)
            case EndIdleWorker(detail=detail):
                worker.kill_late(detail)
            case RecycleWorker(worker=number):
                self._agenda.do(self._layout.recycled(number, self._clock()))
            case TakeSnapshot(reason=reason, connection=connection):
                is_gone = worker.state is ProcessState.KILLED or self._dispatcher.is_stopped
                if pool_worker.evidence is None and not is_gone:
                    pool_worker.evidence = self._begin_snapshot(
                        self.pool_spec.name, worker, reason, connection
                    )
            case CountHoldings():
                if self._counting is not None:
                    self._counting.cancel()
                self._counting = asyncio.get_running_loop().create_task(self._count(worker))
            case GrantBatches():
                self._dispatcher.grant(pool_worker)
            case ReplaceWorker():
                self._replace(pool_worker, effect)

    async def _count(self, worker: WorkerHandle) -> None:
        found: Holdings | None = None
        try:
            found = await count_holdings(self._collector, worker)
        except Busy:
            return self._watchdog.leaks.put_off(worker.number)
        except CollectFailed as error:
            _log.info("holdings_not_counted", pool=self.pool_spec.name, error=str(error))
        return self._watchdog.leaks.counted(worker.number, found)

    def _replace(self, pool_worker: PoolWorker, wanted: ReplaceWorker) -> None:
        worker = pool_worker.worker
        worker.blame(wanted.detail, wanted.connection)
        if wanted.reason is ExitReason.LIMIT:
            worker.below.end()
        effects: list[LayoutEffect] = []
        if wanted.is_urgent or self._has_room_to_replace(pool_worker):
            effects = self._layout.recycled(worker.number, self._clock(), wanted.reason)
        if effects:
            self._watchdog.limits.replaced(worker.number)
            self._agenda.do(effects)
            if wanted.charged is not None:
                self._agenda.tell(wanted.charged)
        elif wanted.ends_instead:
            worker.kill(wanted.reason, wanted.detail)

    def _has_room_to_replace(self, pool_worker: PoolWorker) -> bool:
        """A spare is ready, where the pool has any, and no other worker is leaving."""
        others = (other for other in self._state.workers if other is not pool_worker)
        has_spare = bool(self._layout.spares) or not self.pool_spec.spares
        return has_spare and not any(other.is_leaving for other in others)
