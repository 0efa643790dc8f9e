"""One pool at work: its parts and how they are wired, its life, and what is done to it by hand.

Owns the order in which the parts are made, started and stopped. What workers say comes in through
`listener.py`; what the parts decide is carried out by `executor.py`, in turn (`agenda.py`). Must
not decide anything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from supervisor.core.isolation.facts import ConnectionOpened, ConnectionRemoved, Draining
from supervisor.core.isolation.machine import Isolation
from supervisor.core.isolation.responsiveness import Responsiveness
from supervisor.core.lifecycle.pool_layout import PoolLayout
from supervisor.core.scheduling.connection import Blocked
from supervisor.core.scheduling.retry import RetryPolicy
from supervisor.core.scheduling.scheduler import Scheduler
from supervisor.delivery.activity import Activity
from supervisor.delivery.agenda import Agenda
from supervisor.delivery.credentials import CredentialFaults
from supervisor.delivery.dispatcher import Dispatcher, ready_in
from supervisor.delivery.executor import BeginSnapshot, Executor, PoolAgenda
from supervisor.delivery.isolation import SuspectedBatches
from supervisor.delivery.listener import WorkerListener
from supervisor.delivery.records import PoolConnection, PoolWorker
from supervisor.delivery.settlement import DeliveryWatch, Settlement
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.tokens import TokenBroker
from supervisor.delivery.watchdog import Watchdog
from supervisor.diagnostics.collector import Collector
from supervisor.diagnostics.exits import ExitStore
from supervisor.egress.broker import Broker
from supervisor.queue import Queue
from supervisor.runtime.clock import Clock
from supervisor.state.backoff import BackoffStore
from supervisor.state.credentials import CredentialStore
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.spawn import PoolSpec


@dataclass(frozen=True, slots=True)
class _RetryAfter:
    """A destination's wish to be let alone: heeded now, and after a restart."""

    scheduler: Scheduler
    backoff_store: BackoffStore

    def __call__(self, connection: str, until: float, why: str) -> None:
        self.scheduler.retry_after(connection, until, why)
        self.backoff_store.asked(connection, until)


class PoolRunner:
    """Runs one pool."""

    def __init__(
        self,
        pool_spec: PoolSpec,
        *,
        queue: Queue,
        fleet: WorkerFleet,
        metrics: Metrics,
        watch: DeliveryWatch,
        exits: ExitStore,
        clock: Clock,
        retry: RetryPolicy,
        broker: Broker,
        backoff_store: BackoffStore,
        credential_store: CredentialStore,
        tokens: TokenBroker,
        begin_snapshot: BeginSnapshot,
        redact: Callable[[str], str],
    ) -> None:
        self.name = pool_spec.name
        self.state = PoolRecords()
        self.layout = PoolLayout(fleet.numbers, pool_spec.workers, pool_spec.spares)
        self.scheduler = Scheduler(partial(ready_in, queue))
        self.isolation = Isolation()
        self.collector = Collector()
        self._clock = clock
        self._backoff_store = backoff_store
        self._responsiveness = Responsiveness()
        self._activity = Activity()
        self._agenda: PoolAgenda = Agenda()
        self.watchdog = Watchdog(
            pool_spec,
            self.state,
            isolation=self.isolation,
            responsiveness=self._responsiveness,
            collector=self.collector,
            clock=clock,
            others_wait=self.scheduler.others_wait,
            do=self._agenda.do,
        )
        self._credentials = CredentialFaults(self.scheduler, credential_store, metrics, clock)
        self._settlement = Settlement(
            queue=queue,
            metrics=metrics,
            watch=watch,
            clock=clock,
            retry=retry,
            retry_after=_RetryAfter(self.scheduler, backoff_store),
            credentials=self._credentials,
            activity=self._activity,
            redact=redact,
        )
        self._dispatcher = Dispatcher(
            self.state,
            batch_timeout_s=pool_spec.batch_timeout_s,
            queue=queue,
            scheduler=self.scheduler,
            settlement=self._settlement,
            isolation=self.isolation,
            responsiveness=self._responsiveness,
            watchdog=self.watchdog,
            activity=self._activity,
            clock=clock,
            tell=self._agenda.tell,
        )
        suspected = SuspectedBatches(
            self.state,
            queue=queue,
            scheduler=self.scheduler,
            settlement=self._settlement,
            dispatcher=self._dispatcher,
            metrics=metrics,
            exits=exits,
            watch=watch,
            clock=clock,
            tell=self._agenda.tell,
        )
        self._listener = WorkerListener(
            self.name,
            self.state,
            agenda=self._agenda,
            layout=self.layout,
            scheduler=self.scheduler,
            isolation=self.isolation,
            suspected=suspected,
            responsiveness=self._responsiveness,
            settlement=self._settlement,
            dispatcher=self._dispatcher,
            watchdog=self.watchdog,
            collector=self.collector,
            fleet=fleet,
            exits=exits,
            tokens=tokens,
            metrics=metrics,
            watch=watch,
            clock=clock,
        )
        self._executor = Executor(
            pool_spec,
            self.state,
            agenda=self._agenda,
            layout=self.layout,
            scheduler=self.scheduler,
            isolation=self.isolation,
            suspected=suspected,
            dispatcher=self._dispatcher,
            watchdog=self.watchdog,
            listener=self._listener,
            fleet=fleet,
            broker=broker,
            collector=self.collector,
            begin_snapshot=begin_snapshot,
            clock=clock,
        )
        self._agenda.attach(self._executor.decide, self._executor.carry_out)

    @property
    def pool_spec(self) -> PoolSpec:
        """What its workers run under."""
        return self._executor.pool_spec

    @property
    def layers(self) -> dict[str, str]:
        """Sandbox layers, as the last worker that started reports them."""
        return self._listener.layers

    @property
    def failure(self) -> str:
        """Why the last start or worker ended, "" where none did."""
        return self._listener.failure

    # --- life ---

    def start(self) -> None:
        """Fork the workers."""
        self._agenda.do(self.layout.started(self._clock()))
        self.watchdog.start()

    def apply(self, pool_spec: PoolSpec, retry: RetryPolicy, *, renew: bool) -> bool:
        """Follow the config; `renew` replaces the workers. Whether they are replaced."""
        # Destinations are imported, and limits taken on, once in a worker's life.
        before = self.pool_spec
        renew |= (pool_spec.destinations, pool_spec.limits) != (before.destinations, before.limits)
        self._executor.pool_spec = pool_spec
        self._settlement.follow(retry)
        self._dispatcher.batch_timeout_s = pool_spec.batch_timeout_s
        self.watchdog.follow(pool_spec)
        self._listener.want_samples()
        now = self._clock()
        self._agenda.do(self.layout.resized(pool_spec.workers, pool_spec.spares, now))
        if renew:
            self.watchdog.leaks.renewed()
            self._agenda.do(self.layout.renewed(now))
        return renew

    def set_connections(self, connections: Iterable[PoolConnection]) -> None:
        """Follow the config's connections of this pool."""
        before = dict(self.state.connections)
        for name in self.state.follow(connections):
            self.scheduler.removed(name)
            self._responsiveness.forget_connection(name)
            self._agenda.tell(ConnectionRemoved(name))
        self.watchdog.leaks.destination_of = {
            name: connection.destination for name, connection in self.state.connections.items()
        }
        for connection in self.state.connections.values():
            name, closed = connection.name, connection.closed
            self.scheduler.opened(name, connection.terms, closed)
            # What a destination asked for before a restart still holds.
            self.scheduler.retry_after(name, self._backoff_store.until(name))
            self._credentials.opened(name)
            if name in before and before[name].settings != connection.settings:
                self._credentials.changed(name)
            self._agenda.tell(ConnectionOpened(name, is_closed=closed is not None))
        self._dispatcher.pump_soon()

    def stop_sending(self) -> None:
        """Lease nothing any more."""
        self._dispatcher.stop()
        self._agenda.tell(Draining())

    def shut(self) -> None:
        """Tell every worker to finish and exit."""
        self._dispatcher.stop()
        self._agenda.do(self.layout.shut())
        self._executor.stop()
        self.watchdog.stop_when_empty()

    async def drained(self) -> None:
        """Return when no batch runs and the queue has taken every verdict."""
        while not (self.state.running.is_idle and self._activity.is_idle):
            await self.state.running.idle()
            await self._activity.idle()

    async def idle(self) -> None:
        """Return when nothing is on its way between the queue and the workers.

        Batches may run: what comes next is for a worker, an operator or the clock to say.
        """
        await self._activity.idle()

    def tick(self) -> None:
        """Time has passed: leases are kept, dedicated workers given back and asked for again."""
        self._executor.tick()

    # --- what is to be seen ---

    def serving(self) -> dict[int, PoolWorker | None]:
        """The worker in each slot, None where a slot waits for its next process."""
        return {
            slot: None if child is None else self.state.worker(child)
            for slot, child in sorted(self.layout.slots.items())
        }

    def spares(self) -> list[PoolWorker]:
        """Workers that are ready and wait, oldest first."""
        found = map(self.state.worker, self.layout.spares)
        return [pool_worker for pool_worker in found if pool_worker is not None]

    def dedicated(self) -> dict[str, PoolWorker]:
        """Workers that serve one connection alone, by its name."""
        return {
            connection: pool_worker
            for connection, child in self.layout.cells.items()
            if child is not None and (pool_worker := self.state.worker(child)) is not None
        }

    @property
    def slots_wanted(self) -> range:
        """Numbers of the slots that the config asks for."""
        return range(1, self.layout.slots_wanted + 1)

    @property
    def pause_s(self) -> float:
        """Seconds until dead workers are replaced again, 0 where they are at once."""
        return self.layout.pause_s(self._clock())

    # --- by hand ---

    def work_came(self, connection: str) -> None:
        """The queue has something for a connection of this pool."""
        self._dispatcher.work_came(connection)

    def pump_soon(self) -> None:
        """Send what may be sent, in the next turn of the event loop."""
        self._dispatcher.pump_soon()

    def recycle(self, slot: int) -> bool:
        """Drain and replace the worker of a slot; False where it has none."""
        child = self.layout.slots.get(slot)
        if child is None:
            return False
        self._agenda.do(self.layout.recycled(child, self._clock()))
        return True

    def pause(self, connection: str) -> None:
        """Lease no more for a connection until `resume`."""
        self.scheduler.paused(connection)

    def resume(self, connection: str) -> None:
        """Let a connection go on, whatever has held it back."""
        self._credentials.released(connection)
        self.scheduler.resumed(connection)
        self._backoff_store.forget(connection)
        self._dispatcher.pump_soon()

    def send_by_hand(self, connection: str) -> Blocked | None:
        """One event of it goes past the queue, or what forbids that now."""
        return self.scheduler.schedules[connection].send_by_hand(self._clock())

    def probe(self, connection: str) -> None:
        """Let one batch of a connection through now."""
        self.scheduler.probed(connection, self._clock())
        self._dispatcher.pump_soon()
