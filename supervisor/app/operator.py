"""What operators see and do: the service behind the admin API.

Owns the snapshot of the whole service, put together from what each part says of itself, and the
few things that may be done to it by hand. Reads memory only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Protocol

from supervisor import VERSION
from supervisor.admin.debug import DiagnosticsSource
from supervisor.admin.plan import Planner
from supervisor.app.reloading import Reloader
from supervisor.app.watching import Watching
from supervisor.catalog.probe import Declarations
from supervisor.config import Config
from supervisor.core.scheduling.scheduler import BlockReason
from supervisor.delivery.at_work import pool_at_work
from supervisor.delivery.pool import PoolRunner
from supervisor.delivery.status import delivery_waits_for, not_loaded, pool_status, queue_status
from supervisor.diagnostics.exits import ExitStore
from supervisor.egress.broker import Broker
from supervisor.errors import NotFound, Refused
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.queue import DeliveryRecord, Queue
from supervisor.runtime.clock import ServiceClock
from supervisor.state.paused import Paused
from supervisor.telemetry.at_work import PoolAtWork
from supervisor.telemetry.metrics import Metrics
from supervisor.telemetry.status import (
    ClockStatus,
    LimitsStatus,
    PoolStatus,
    QueueStatus,
    ServiceState,
    Status,
    StoreStatus,
    ZygoteStatus,
)
from supervisor.telemetry.steps import in_steps
from supervisor.workers.code import KeptCode
from supervisor.workers.fleet import WorkerFleet

#: Names that an error lists: a config may have ten thousand.
MOST_NAMED = 100


class RunningService(Protocol):
    """The parts of the service that operators see and act on, as they are now."""

    @property
    def config(self) -> Config:
        """What is in force."""

    @property
    def said(self) -> Declarations:
        """What destinations declared for it."""

    @property
    def state(self) -> ServiceState:
        """Where the service stands."""

    @property
    def started(self) -> float:
        """When it was started, in seconds of the monotonic clock."""

    @property
    def clock(self) -> ServiceClock:
        """The service's clock."""

    @property
    def queue(self) -> Queue:
        """The durable queue."""

    @property
    def watching(self) -> Watching:
        """What is kept for people to look at."""

    @property
    def runners(self) -> Mapping[str, PoolRunner]:
        """Pools by name."""

    @property
    def fleet(self) -> WorkerFleet:
        """All worker processes."""

    @property
    def broker(self) -> Broker:
        """The way out of workers."""

    @property
    def paused(self) -> Paused:
        """Connections that an operator has paused."""

    @property
    def exits(self) -> ExitStore:
        """Every worker's exit."""

    @property
    def metrics(self) -> Metrics:
        """What `GET /metrics` renders."""

    @property
    def diagnostics(self) -> DiagnosticsSource:
        """Heaps, stacks and what was kept of them."""

    @property
    def code(self) -> KeptCode:
        """The plugin code that workers run."""

    @property
    def reloader(self) -> Reloader:
        """What follows the config file."""

    def pool_of(self, connection: str) -> PoolRunner | None:
        """The pool that runs a connection; None for one that the config does not have."""


class Operator:
    """Implements `admin.control.Control`."""

    def __init__(self, service: RunningService) -> None:
        self._service = service

    @property
    def queue(self) -> Queue:
        """The durable queue."""
        return self._service.queue

    @property
    def evidence(self) -> DiagnosticsSource:
        """Heaps, stacks and what was kept of them."""
        return self._service.diagnostics

    @property
    def metrics(self) -> Metrics:
        """What `GET /metrics` renders."""
        return self._service.metrics

    @property
    def exits(self) -> ExitStore:
        """Every worker's exit."""
        return self._service.exits

    @property
    def planner(self) -> Planner:
        """The config file: what it would change, and following it."""
        return self._service.reloader

    @property
    def insight(self) -> Insight | None:
        """What is kept for people to look at; None where nothing is."""
        insight = self._service.watching.insight
        return None if insight is None or insight.is_off else insight

    @property
    def masking(self) -> Masking:
        """What of an event who may see."""
        return self._service.watching.masking

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
        now = self._service.clock()
        return [pool_status(runner, now) for runner in self._service.runners.values()]

    def pool(self, name: str) -> PoolAtWork:
        """One pool, and who is in which worker. Raises NotFound."""
        runner = self._service.runners.get(name)
        if runner is None:
            raise NotFound(
                f"there is no pool {name!r}; there are {', '.join(self._service.runners)}"
            )
        return pool_at_work(runner, self._service.clock())

    def queue_status(self, connection: str) -> QueueStatus:
        """One connection's queue as it is now. Raises NotFound."""
        return self._queue(connection, self._runner(connection))

    async def status(self) -> Status:
        """The service as it is now. Among many connections, others have their turn meanwhile."""
        service = self._service
        queues: list[QueueStatus] = []
        async for names in in_steps(list(service.config.connections)):
            for name in names:
                runner = service.pool_of(name)
                if runner is not None:  # else the config has changed in between
                    queues.append(self._queue(name, runner))
        stats = service.queue.stats()
        return Status(
            version=VERSION,
            state=service.state,
            uptime_s=round(time.monotonic() - service.started, 3),
            pools=self.pools(),
            queues=queues,
            books=service.queue.books(),
            sandbox=_layers(service),
            limits=_limits(service),
            dedupe=stats.dedupe,
            store=StoreStatus.of(stats),
            zygote=ZygoteStatus(service.fleet.zygote.pid),
            pid=os.getpid(),
            unanswered=service.fleet.unanswered.last(),
            clock=ClockStatus(
                round(service.clock.ahead_s, 3), round(service.clock.reanchored_s, 3)
            ),
            state_dir=str(service.config.service.state_dir.absolute()),
        )

    def _queue(self, name: str, runner: PoolRunner) -> QueueStatus:
        service = self._service
        return queue_status(
            runner,
            runner.state.connections[name],
            service.config.connections[name].source,
            service.queue.depth(name),
            service.clock(),
            refusals=service.broker.refusals.get(name),
            broken=service.said.broken,
        )

    def waiting_for(self, connection: str, record: DeliveryRecord) -> str:
        """The rule that a pending delivery waits for."""
        runner = self._service.pool_of(connection)
        if runner is None:
            return "its connection to come back into the config"
        pool_connection = runner.state.connections[connection]
        if pool_connection.closed is BlockReason.UNKNOWN:
            return not_loaded(pool_connection, self._service.said.broken)
        return delivery_waits_for(runner, pool_connection, record, self._service.clock())

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
        runner.pause(connection)

    async def resume(self, connection: str) -> None:
        """Undo `pause`, and end a back-off. Raises NotFound or Refused."""
        runner = self._openable(connection)
        self._service.paused.remove(connection)
        runner.resume(connection)

    async def probe(self, connection: str) -> None:
        """Let one batch through now. Raises NotFound or Refused."""
        runner = self._openable(connection)
        runner.probe(connection)

    def _runner(self, connection: str) -> PoolRunner:
        runner = self._service.pool_of(connection)
        if runner is None:
            known = ", ".join(list(self._service.config.connections)[:MOST_NAMED])
            raise NotFound(f"there is no connection {connection!r}; there are {known}")
        return runner

    def _openable(self, connection: str) -> PoolRunner:
        runner = self._runner(connection)
        pool_connection = runner.state.connections[connection]
        if pool_connection.closed is BlockReason.DISABLED:
            raise Refused(f"{connection} is disabled in the config: set enabled = true and reload")
        if pool_connection.closed is not None:
            why = not_loaded(pool_connection, self._service.said.broken)
            raise Refused(f"{connection} cannot send: {why}")
        return runner


def _layers(service: RunningService) -> dict[str, str]:
    """What declaring workers said at start, and where any worker said otherwise, that."""
    layers = dict(service.said.layers)
    for runner in service.runners.values():
        for layer, state in runner.layers.items():
            if state != "on":
                layers[layer] = state
    return layers


def _limits(service: RunningService) -> LimitsStatus:
    scratch, unheld = service.fleet.resources.limits()
    return LimitsStatus(scratch, unheld)
