"""Starts and stops everything, in one readable order, and follows the config.

Owns the lifetime of the service: state directory, sockets, zygote, pools, APIs,
signals. Each part does its own work; what is decided here is only the order,
and which part hears of what.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from supervisor import VERSION
from supervisor.admin.access import Access
from supervisor.admin.routes import AdminApi
from supervisor.app.clock_watch import ClockWatch
from supervisor.app.code import taken
from supervisor.app.console import ConsoleParts
from supervisor.app.diagnostics import Diagnostics
from supervisor.app.failed_starts import FailedStarts
from supervisor.app.listeners import Listeners
from supervisor.app.operator import Operator
from supervisor.app.reload import changes
from supervisor.app.reloading import Reloader
from supervisor.app.stopping import STEP_S, LastBound
from supervisor.app.watching import Watching
from supervisor.catalog.catalog import declare_all, keeper, refuse_impossible
from supervisor.catalog.probe import Declarations, declare
from supervisor.config import Config
from supervisor.delivery.connections import pool_connections_of, queue_specs_of, retry_of
from supervisor.delivery.open_connections import look_at_open
from supervisor.delivery.pool import PoolRunner
from supervisor.delivery.settlement import MAX_OUTCOME_WAIT_S
from supervisor.delivery.tokens import TokenBroker
from supervisor.diagnostics.exits import ExitStore
from supervisor.diagnostics.reports import Reporter
from supervisor.diagnostics.snapshots import SnapshotStore
from supervisor.egress.broker import Broker
from supervisor.egress.names import Resolver
from supervisor.ingest.api import TrackingApi
from supervisor.ingest.router import Router
from supervisor.queue import Queue
from supervisor.queue.engines import last_run, make_queue
from supervisor.runtime import garbage, systemd
from supervisor.runtime.clock import ServiceClock, anchored_clock
from supervisor.runtime.descriptors import Shares, raise_limit
from supervisor.state import format as state_format
from supervisor.state.backoff import BackoffStore
from supervisor.state.credentials import CredentialStore
from supervisor.state.paused import Paused
from supervisor.state.tokens import FileTokenStore
from supervisor.telemetry import log
from supervisor.telemetry.metrics import SUPERVISOR, Metrics
from supervisor.telemetry.status import ServiceState
from supervisor.workers.code import CodeStore, KeptCode
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.spawn import pool_spec_of
from supervisor.workers.zygote import become_subreaper

_log = structlog.get_logger(__name__)

#: Environment variable with name servers to ask in place of the system's: ADDRESS:PORT, by commas.
NAMESERVERS = "BULKHEAD_NAMESERVERS"
#: Connects for workers that are under way at once, where the limit of open files allows it.
MOST_CONNECTING = 8192
#: Steps of the stop that have a place of their own in it, by what the log calls them.
QUEUE, EXITS = "the queue is closed", "exit records are written"
COUNTS = "what was counted is kept"
EVIDENCE = "evidence that is being taken is stopped"
#: Seconds between two measurements of the event loop's lag.
LAG_EVERY_S = 1.0


class Service:
    """All parts of a running service."""

    def __init__(self, config: Config, redactor: log.Redactor) -> None:
        self.config = config
        self.state = ServiceState.STARTING
        self.started = time.monotonic()
        self.metrics = Metrics(VERSION)
        self.fleet = WorkerFleet(WorkerResources.of_service(config.service.state_dir))
        self.said = Declarations()
        self.runners: dict[str, PoolRunner] = {}
        self.clock: ServiceClock
        self.queue: Queue
        self.watching: Watching
        self.paused: Paused
        self.backoff_store: BackoffStore
        self.credential_store: CredentialStore
        self.tokens: TokenBroker
        self.code_store: CodeStore
        self.code = KeptCode("", (), ())
        self.exits: ExitStore
        self.broker: Broker
        self.diagnostics: Diagnostics
        self._redactor = redactor
        self._notifier = systemd.Notifier.from_environment()
        self._resolver: Resolver | None = None
        self._own_ports: frozenset[int] = frozenset()
        self._pool_of: dict[str, PoolRunner] = {}
        self._tracking: TrackingApi | None = None
        self._admin: AdminApi | None = None
        self._console: ConsoleParts
        self._listeners = Listeners(config.path)
        self._tasks: set[asyncio.Task[Any]] = set()  # Any: results of background tasks go nowhere
        self._failed_starts = FailedStarts(self.runners, self._broken_now, self._leave_out)
        self.reloader: Reloader
        self._reloading: asyncio.Task[None] | None = None
        self._alive: asyncio.Task[None] | None = None
        #: How what was made so far is closed, by what the log calls that. A start that fails, or
        #: is stopped, half-way has made some of it.
        self._closers: dict[str, Callable[[], Awaitable[object]]] = {}
        self.last_bound = LastBound(self.fleet.pids)

    # --- start ---

    async def start(
        self, inherited: Sequence[systemd.InheritedSocket], reload_asked: asyncio.Event
    ) -> None:
        """Everything up, in order; the service takes events when this returns.

        Whatever it raises, and wherever it is cancelled, `stop` closes what was made. From then on
        the config is read anew each time that `reload_asked` is set.
        """
        config = self.config
        # First of all: a port that is taken must cost nothing.
        self._listeners.bind({"api": config.api.listen, "admin": config.admin.listen}, inherited)
        shares = Shares.of(raise_limit())
        become_subreaper()
        self.fleet.come_first()
        self.fleet.start()
        state_dir = config.service.state_dir
        state_format.require_known(state_dir)
        self.clock = anchored_clock(last_run(state_dir))
        # Not retry.max_delay: what a destination asked for holds over a restart, too.
        self.queue = make_queue(
            state_dir,
            config.queue,
            self.clock,
            max_retry_delay_s=MAX_OUTCOME_WAIT_S,
            anchored=self.clock.anchored,
        )
        self._closers[QUEUE] = self.queue.close
        self.watching = Watching(config, self.queue, self.metrics, self.clock, self._redactor)
        await self.queue.start(queue_specs_of(config), self._work_came, self.watching.evicted)
        self.watching.start()
        self._closers[COUNTS] = self.watching.close
        # Not before the queue is open: that is how we know that no other service lives here.
        state_format.bring_forward(state_dir)
        self.fleet.resources.prepare()
        self.paused = Paused(state_dir)
        self.backoff_store = BackoffStore(state_dir, self.clock, self.clock.reanchored_s)
        self._closers["holds are written"] = self.backoff_store.close
        self.credential_store = CredentialStore(state_dir, self.clock.reanchored_s)
        self._closers["refused credentials are written"] = self.credential_store.close
        self.tokens = TokenBroker(FileTokenStore(state_dir), self._redactor.also)
        await self.tokens.start()
        self._closers["renewed tokens are kept"] = self.tokens.close
        self.exits = ExitStore(state_dir, self._redactor)
        self._closers[EXITS] = partial(asyncio.to_thread, self.exits.close)
        # A worker's connections are open files of ours until it has them.
        self._start_broker(shares.egress)
        self.diagnostics = Diagnostics(
            self.runners,
            SnapshotStore(state_dir / "snapshots", max_bytes=config.service.snapshots),
            self.metrics,
            Reporter(self.fleet.spared.add, self.fleet.spared.discard),
            self.fleet.unanswered,
        )
        self._closers[EVIDENCE] = self.diagnostics.close
        self.code_store = CodeStore(state_dir / "code", is_searched=True)
        self.code = await taken(self.code_store, config)
        self.said = await declare_all(
            self.code.running(config), self.fleet, keeper(self.exits, self.metrics)
        )
        refuse_impossible(config, self.said)
        self._report(config, self.said)
        router = Router(config.connections, self.said.by_destination, config.sources)
        self._apply_pools(config, renew=())
        self._tracking = TrackingApi(
            sources=config.sources,
            limits=config.api,
            router=router,
            queue=self.queue,
            clock=self.clock,
            metrics=self.metrics,
            watch=self.watching.told,
        )
        self.reloader = Reloader(self, reload_asked, self._notifier)
        await self.reloader.began()
        operator = Operator(self)
        self.metrics.follow(operator.status)
        self._console = ConsoleParts(self, operator)
        self._closers["the console is closed"] = self._console.close
        await self._console.start()
        self._admin = AdminApi(
            operator,
            Access.of(config.admin),
            self._console.rows,
            sessions=self._console.sessions,
            heard=self._console.heard,
        )
        self._admin.app.on_shutdown.append(self._console.hang_up)
        await self._listeners.serve(
            "api", self._tracking.app, shares.tracking, self._tracking.not_http
        )
        await self._listeners.serve("admin", self._admin.app, shares.admin, self._admin.not_http)
        garbage.settle()
        self.state = ServiceState.RUNNING
        self._background(self._measure_lag())
        self._alive = asyncio.create_task(self._notifier.keep_alive())
        self._alive.add_done_callback(self._background_done)
        self._reloading = asyncio.create_task(self.reloader.serve())
        self._reloading.add_done_callback(self._background_done)
        self._notifier.ready(self.summary)
        _log.info(
            "service_runs",
            version=VERSION,
            pid=os.getpid(),
            api=str(config.api.listen),
            admin=str(config.admin.listen),
            pools=len(config.pools),
            connections=len(config.connections),
        )

    def _start_broker(self, most_connecting: int) -> None:
        self._resolver = Resolver([*filter(None, os.environ.get(NAMESERVERS, "").split(","))])
        self.broker = Broker(
            self._resolver,
            counted=self.metrics.egress,
            most_connecting=min(MOST_CONNECTING, most_connecting),
        )
        self._closers["the resolver is closed"] = self._resolver.close
        self._own_ports = self._listeners.ports

    # --- config ---

    async def follow(self, wanted: Config, said: Declarations, code: KeptCode) -> Mapping[str, int]:
        """Bring a config into force; how much became dead letters, by connections that are gone.

        For `Reloader` alone, which has judged it.
        """
        plugins = wanted.destinations.keys() if code.digest != self.code.digest else ()
        changed = changes(self.config, wanted, changed_code=plugins)
        config = changed.config
        for notice in changed.needs_restart:
            _log.warning("reload_needs_restart", notice=notice)
        self._redactor.follow(config.secrets)
        self._report(config, said)
        self.config, self.said, self.code = config, said, code
        self.diagnostics.store.max_bytes = config.service.snapshots
        if self._resolver is not None:
            self._resolver.follow()
        # New routes first, then the queue: no event may be routed to a connection that is gone.
        router = Router(config.connections, said.by_destination, config.sources)
        if self._tracking is not None and self._admin is not None:
            self._tracking.reconfigure(sources=config.sources, limits=config.api, router=router)
            self._console.follow(config)
            self.watching.follow(config)
            self._admin.reconfigure(Access.of(config.admin), are_rows_open=self._console.is_on)
        renewed = self._apply_pools(config, renew=changed.pools_replaced)
        buried = await self.queue.set_connections(queue_specs_of(config))
        for connection, n in buried.items():
            _log.warning("connection_removed", connection=connection, dead_letters=n)
        self.metrics.retain(
            sources=config.sources.keys(),
            connections=config.connections.keys(),
            pools=config.pools.keys(),
        )
        for name in config.connections:
            self._work_came(name)
        _log.info("config_reloaded", pools_renewed=renewed, connections=len(config.connections))
        return buried

    def _apply_pools(self, config: Config, *, renew: Collection[str]) -> list[str]:
        """Start, change and stop pools as the config says; names of those with new workers."""
        renewed = []
        retry = retry_of(config)
        self.broker.follow(config.sandbox.proxy, self._own_ports)
        self.broker.retain(config.connections.keys())
        self.credential_store.retain(config.connections.keys())
        pool_of: dict[str, PoolRunner] = {}
        for name in config.pools:
            pool_spec = pool_spec_of(self.code.running(config), name, self.said.broken)
            runner = self.runners.get(name)
            if runner is None:
                runner = self.runners[name] = PoolRunner(
                    pool_spec,
                    queue=self.queue,
                    fleet=self.fleet,
                    metrics=self.metrics,
                    watch=self.watching.told,
                    exits=self.exits,
                    clock=self.clock,
                    retry=retry,
                    broker=self.broker,
                    backoff_store=self.backoff_store,
                    credential_store=self.credential_store,
                    tokens=self.tokens,
                    begin_snapshot=self.diagnostics.take_soon,
                    redact=self._redactor,
                )
                runner.start()
                renewed.append(name)
            elif runner.apply(pool_spec, retry, renew=name in renew):
                renewed.append(name)
            pool_connections = pool_connections_of(config, name, self.said.by_destination)
            pool_of |= {pool_connection.name: runner for pool_connection in pool_connections}
            runner.set_connections(pool_connections)
            for pool_connection in pool_connections:
                if pool_connection.name in self.paused:
                    runner.pause(pool_connection.name)
        self._pool_of = pool_of
        for name in self.runners.keys() - config.pools.keys():
            self._background(self._close_pool(self.runners.pop(name)))
        return renewed

    async def _broken_now(self, pool: str) -> Mapping[str, str]:
        """Which destinations of a pool cannot be imported any more, and why."""
        said = self.said
        asked = pool_spec_of(self.code.running(self.config), pool, said.broken)
        found = await declare(self.fleet, asked, (), keeper(self.exits, self.metrics))
        # A reload that came between has asked them all.
        is_current = said is self.said and self.state is ServiceState.RUNNING
        return found.broken if is_current else {}

    def _leave_out(self, broken: Mapping[str, str]) -> None:
        self.said = self.said.without(broken)
        self._apply_pools(self.config, renew=())

    async def _close_pool(self, runner: PoolRunner) -> None:
        runner.set_connections(())
        runner.stop_sending()
        await runner.drained()
        runner.shut()

    def _report(self, config: Config, said: Declarations) -> None:
        """Say what the operator asked for and does not get."""
        for destination, reason in said.broken.items():
            _log.error("destination_not_loaded", destination=destination, reason=reason)
        for pool in config.pools:
            for loosened in pool_spec_of(config, pool, {}).loosenings:
                _log.warning("sandbox_loosened", pool=pool, how=loosened)
        for layer, state in said.layers.items():
            if state != "on":
                _log.warning("sandbox_layer_off", layer=layer, reason=state)

    # --- work ---

    def pool_of(self, connection: str) -> PoolRunner | None:
        """Who runs a connection; None for one that the config does not have."""
        return self._pool_of.get(connection)

    def _work_came(self, connection: str) -> None:
        runner = self._pool_of.get(connection)
        if runner is not None:
            runner.work_came(connection)

    @property
    def summary(self) -> str:
        """What runs, in a few words."""
        config = self.config
        return f"{len(config.connections)} connections in {len(config.pools)} pools"

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        clock_watch = ClockWatch(self.clock)
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.metrics.loop_lag(SUPERVISOR, max(0.0, loop.time() - due))
            self.diagnostics.look_for_baselines()
            self._failed_starts.look()
            clock_watch.look()
            await look_at_open(one for run in self.runners.values() for one in run.state.workers)

    def _background(self, work: Coroutine[Any, Any, Any]) -> None:  # Any: results go nowhere
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: asyncio.Task[Any]) -> None:  # Any: see above
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background_task_failed", exc_info=error)

    # --- stop ---

    async def stop(self, starting: asyncio.Task[None], hurry: asyncio.Event) -> None:
        """Drain: no new events, what is with workers ends, then everybody goes.

        `starting` is the task of `start`, which is ended where it still runs; whatever it has made
        is closed, and nothing else. `hurry` ends the wait for workers. Each step has a limit, past
        which it is told and left behind.
        """
        within = self.last_bound.within
        self.state = ServiceState.DRAINING
        self._notifier.stopping("draining")
        if self._tracking is not None:
            self._tracking.start_draining()
        if not starting.done():
            _log.warning("start_cancelled")
            starting.cancel()
            await within("the start ends", asyncio.wait({starting}))
        if self._reloading is not None:
            self._reloading.cancel()
            await within("the reload ends", self.reloader.ended())
        limit_s = self.config.service.drain_timeout_s
        until = time.monotonic() + limit_s
        for runner in self.runners.values():
            runner.stop_sending()
        counting = asyncio.create_task(self._count_down(until))
        self.last_bound.step = "deliveries in flight end"
        if not await self._drained(limit_s, hurry):
            _log.warning("drain_limit_reached", inflight=self._inflight(), limit_s=limit_s)
        await self._close(EVIDENCE)
        for runner in self.runners.values():
            runner.shut()
        self.last_bound.step = "workers end"
        is_idle = not self._inflight() and not hurry.is_set()
        await self.fleet.stop(max(1.0, until - time.monotonic()) if is_idle else 0.0)
        await within("what workers had is settled", self._settled())
        counting.cancel()
        await within("both APIs are closed", self._listeners.close())
        self._failed_starts.close()
        for task in list(self._tasks):
            task.cancel()
        for step in [step for step in self._closers if step not in (QUEUE, COUNTS, EXITS)]:
            await self._close(step)
        # No limit but the last bound: the copy of a large log into the file takes its time.
        await self._close(QUEUE, limit_s=None)
        await self._close(COUNTS)
        await self._close(EXITS, limit_s=None)
        if self._alive is not None:
            self._alive.cancel()
        self._notifier.close()
        self.last_bound.step = "the process ends"
        _log.info("service_stopped")

    async def _drained(self, limit_s: float, hurry: asyncio.Event) -> bool:
        """Wait for what is with workers, until the limit or until somebody is in a hurry."""
        drained = asyncio.create_task(self._settled())
        hurried = asyncio.create_task(hurry.wait())
        either: set[asyncio.Task[Any]] = {drained, hurried}  # Any: only which one is asked
        await asyncio.wait(either, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        is_drained = drained.done()
        hurried.cancel()
        drained.cancel()
        return is_drained

    async def _settled(self) -> None:
        """Return when no pool has anything with its workers, and none of it is yet to be settled.

        One after the other: of a `gather` that nobody awaits to its end asyncio tells an error.
        """
        for runner in list(self.runners.values()):
            await runner.drained()

    async def _close(self, step: str, limit_s: float | None = STEP_S) -> None:
        """Close what was made, once."""
        closer = self._closers.pop(step, None)
        if closer is not None:
            await self.last_bound.within(step, closer(), limit_s)

    def _inflight(self) -> int:
        return sum(runner.state.inflight for runner in self.runners.values())

    async def _count_down(self, until: float) -> None:
        while True:
            left = max(0.0, until - time.monotonic())
            _log.info("draining", inflight=self._inflight(), seconds_left=round(left, 1))
            self._notifier.status(f"draining: {self._inflight()} deliveries in flight")
            await asyncio.sleep(1.0)
