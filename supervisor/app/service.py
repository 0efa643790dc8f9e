"""Starts and stops everything, in one readable order, and follows the config.

Owns the lifetime of the service: state directory, sockets, zygote, pools, APIs,
signals. Each part does its own work; what is decided here is only the order,
and which part hears of what.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
import uvloop
from aiohttp import web

from supervisor import VERSION
from supervisor.admin.access import Access
from supervisor.admin.routes import AdminApi
from supervisor.app.diagnostics import Diagnostics
from supervisor.app.operator import Operator
from supervisor.app.reload import changes
from supervisor.catalog.catalog import declare_all, keeper, refuse_impossible
from supervisor.catalog.probe import Declarations
from supervisor.config import Address, Config, ConfigError, load
from supervisor.delivery.connections import code_of, pool_connections_of, retry_of
from supervisor.delivery.pool import PoolRunner
from supervisor.delivery.settlement import MAX_OUTCOME_WAIT_S
from supervisor.diagnostics.exits import ExitStore
from supervisor.diagnostics.reports import Reporter
from supervisor.diagnostics.snapshots import SnapshotStore
from supervisor.egress.broker import Broker
from supervisor.egress.names import Resolver
from supervisor.ingest.api import TrackingApi
from supervisor.ingest.router import Router
from supervisor.queue import ConnectionSpec, Queue
from supervisor.queue.engines import last_seen, make_queue
from supervisor.runtime import allocator, garbage, systemd
from supervisor.runtime.clock import Clock, anchored_clock
from supervisor.state.backoff import BackoffStore
from supervisor.state.paused import Paused
from supervisor.telemetry import log
from supervisor.telemetry.metrics import SUPERVISOR, Metrics
from supervisor.telemetry.status import ServiceState
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.spawn import pool_spec_of
from supervisor.workers.zygote import become_subreaper, hide_memory

_log = structlog.get_logger(__name__)

#: Environment variable with name servers to ask in place of the system's: ADDRESS:PORT, by commas.
NAMESERVERS = "BULKHEAD_NAMESERVERS"
#: Connects for workers that are under way at once, where the limit of open files allows it.
MOST_CONNECTING = 8192
#: Seconds that a client may take between two requests before its connection is closed.
KEEP_ALIVE_S = 75.0
#: Seconds between two measurements of the event loop's lag.
LAG_EVERY_S = 1.0


def run(config: Config) -> int:
    """Run the service in the foreground until SIGTERM or SIGINT; returns the exit code.

    Raises ConfigError where the config cannot work: settings that a destination
    refuses, a required sandbox layer that is missing.
    """
    allocator.settle()
    return uvloop.run(_run(config))


async def _run(config: Config) -> int:
    hide_memory()
    # Whatever we write is nobody else's to read; what has to be is said where it is made.
    os.umask(0o077)
    redactor = log.configure(config.secrets)
    service = Service(config, redactor)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, service.reload_soon)
    try:
        await service.start(systemd.inherited_sockets())
        await stop.wait()
    finally:
        await service.stop()
    return 0


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
        self.clock: Clock
        self.queue: Queue
        self.paused: Paused
        self.backoff_store: BackoffStore
        self.exits: ExitStore
        self.broker: Broker
        self.diagnostics: Diagnostics
        self._redactor = redactor
        self._code = ""
        self._notifier = systemd.Notifier.from_environment()
        self._resolver: Resolver | None = None
        self._own_ports: frozenset[int] = frozenset()
        self._pool_of: dict[str, PoolRunner] = {}
        self._tracking: TrackingApi | None = None
        self._admin: AdminApi | None = None
        self._sites: list[web.AppRunner] = []
        self._paths: list[Path] = []
        self._tasks: set[asyncio.Task[Any]] = set()  # Any: results of background tasks go nowhere
        self._reloading = asyncio.Lock()
        self._queue_is_open = False

    # --- start ---

    async def start(self, inherited: Sequence[systemd.InheritedSocket]) -> None:
        """Everything up, in order; the service takes events when this returns."""
        config = self.config
        sockets = self._bind(inherited)
        become_subreaper()
        self.fleet.start()
        state_dir = config.service.state_dir
        self.clock = anchored_clock(not_before=last_seen(state_dir))
        self.queue = make_queue(
            state_dir,
            config.queue,
            self.clock,
            # Not retry.max_delay: what a destination asked for holds over a restart, too.
            max_retry_delay_s=MAX_OUTCOME_WAIT_S,
        )
        await self.queue.start(_specs(config), self._work_came)
        self._queue_is_open = True
        # Not before the queue is open: that is how we know that no other service lives here.
        self.fleet.resources.prepare()
        self.paused = Paused(state_dir)
        self.backoff_store = BackoffStore(state_dir, self.clock)
        self.exits = ExitStore(state_dir)
        self._start_broker(sockets.values())
        self.diagnostics = Diagnostics(
            self.runners,
            SnapshotStore(state_dir / "snapshots", max_bytes=config.service.snapshots),
            self.metrics,
            Reporter(self.fleet.spared.add, self.fleet.spared.discard),
        )
        self.said = await declare_all(config, self.fleet, keeper(self.exits, self.metrics))
        refuse_impossible(config, self.said)
        self._report(config, self.said)
        router = Router(config.connections, self.said.by_destination, config.sources)
        self._code = code_of(config.service.plugin_paths)
        self._apply_pools(config, renew=())
        self._tracking = TrackingApi(
            sources=config.sources,
            limits=config.api,
            router=router,
            queue=self.queue,
            metrics=self.metrics,
        )
        operator = Operator(self)
        self.metrics.follow(operator.status)
        self._admin = AdminApi(operator, Access(config.admin.listen, config.admin.token))
        await self._serve(self._tracking.app, sockets["api"])
        await self._serve(self._admin.app, sockets["admin"])
        garbage.settle()
        self.state = ServiceState.RUNNING
        self._background(self._measure_lag())
        self._background(self._notifier.keep_alive())
        self._notifier.ready(self._summary())
        _log.info(
            "service_runs",
            version=VERSION,
            pid=os.getpid(),
            api=str(config.api.listen),
            admin=str(config.admin.listen),
            pools=len(config.pools),
            connections=len(config.connections),
        )

    def _bind(self, inherited: Sequence[systemd.InheritedSocket]) -> dict[str, socket.socket]:
        """Sockets of both APIs, first of all: a port that is taken must cost nothing."""
        bound = {item.name: item.socket for item in inherited}
        for name, address in (("api", self.config.api.listen), ("admin", self.config.admin.listen)):
            if name not in bound:
                bound[name] = self._listen(address, f"{name}.listen")
        return bound

    def _listen(self, address: Address, key: str) -> socket.socket:
        try:
            if address.path is not None:
                return self._listen_unix(address.path)
            found = socket.getaddrinfo(
                address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, where = found[0]
            sock = socket.socket(family, kind, protocol)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
            sock.listen(1024)
        except OSError as error:
            reason = f"{self.config.path}: {key}: cannot listen on {address}: {error.strerror}"
            raise ConfigError([reason]) from error
        return sock

    def _listen_unix(self, path: Path) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if path.is_socket():
            # Left behind by a service that was killed, unless somebody answers there.
            try:
                sock.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                sock.close()
                raise OSError(98, "somebody listens there already")
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        sock.listen(1024)
        self._paths.append(path)
        return sock

    async def _serve(self, app: web.Application, sock: socket.socket) -> None:
        site = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_S)
        await site.setup()
        await web.SockSite(site, sock).start()
        self._sites.append(site)

    def _start_broker(self, sockets: Iterable[socket.socket]) -> None:
        # A worker's connections are open files of ours until it has them.
        _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
        self._resolver = Resolver([*filter(None, os.environ.get(NAMESERVERS, "").split(","))])
        self.broker = Broker(
            self._resolver,
            counted=self.metrics.egress,
            most_connecting=min(MOST_CONNECTING, most_files // 4),
        )
        self._own_ports = frozenset(
            sock.getsockname()[1] for sock in sockets if sock.family != socket.AF_UNIX
        )

    # --- config ---

    def reload_soon(self) -> None:
        """SIGHUP: read the config file again."""
        self._background(self.reload())

    async def reload(self) -> bool:
        """Follow the config file; whether it was valid. An invalid one changes nothing."""
        async with self._reloading:
            if self.state is not ServiceState.RUNNING:
                return False
            self._notifier.reloading("reading the config")
            try:
                config = load(self.config.path, environ=os.environ)
                said = await declare_all(config, self.fleet, keeper(self.exits, self.metrics))
                refuse_impossible(config, said)
            except ConfigError as error:
                for line in error.errors:
                    _log.error("reload_refused", error=line, consequence="the running config stays")
                self._notifier.ready("reload refused: the running config stays in force")
                return False
            await self._follow(config, said)
            garbage.settle()
            self._notifier.ready(self._summary())
            return True

    async def _follow(self, wanted: Config, said: Declarations) -> None:
        code = code_of(wanted.service.plugin_paths)
        plugins = wanted.destinations.keys() if code != self._code else ()
        changed = changes(self.config, wanted, changed_code=plugins)
        config = changed.config
        for notice in changed.needs_restart:
            _log.warning("reload_needs_restart", notice=notice)
        self._redactor.follow(config.secrets)
        self._report(config, said)
        self.config, self.said, self._code = config, said, code
        self.diagnostics.store.max_bytes = config.service.snapshots
        # New routes first, then the queue: no event may be routed to a connection that is gone.
        router = Router(config.connections, said.by_destination, config.sources)
        if self._tracking is not None and self._admin is not None:
            self._tracking.reconfigure(sources=config.sources, limits=config.api, router=router)
            self._admin.reconfigure(Access(config.admin.listen, config.admin.token))
        renewed = self._apply_pools(config, renew=changed.pools_replaced)
        buried = await self.queue.set_connections(_specs(config))
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

    def _apply_pools(self, config: Config, *, renew: Collection[str]) -> list[str]:
        """Start, change and stop pools as the config says; names of those with new workers."""
        renewed = []
        retry = retry_of(config)
        self.broker.follow(config.sandbox.proxy, self._own_ports)
        self.broker.retain(config.connections.keys())
        pool_of: dict[str, PoolRunner] = {}
        for name in config.pools:
            pool_spec = pool_spec_of(config, name, self.said.broken)
            runner = self.runners.get(name)
            if runner is None:
                runner = self.runners[name] = PoolRunner(
                    pool_spec,
                    queue=self.queue,
                    fleet=self.fleet,
                    metrics=self.metrics,
                    exits=self.exits,
                    clock=self.clock,
                    retry=retry,
                    broker=self.broker,
                    backoff_store=self.backoff_store,
                    begin_snapshot=self.diagnostics.take_soon,
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

    def _summary(self) -> str:
        config = self.config
        return f"{len(config.connections)} connections in {len(config.pools)} pools"

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.metrics.loop_lag(SUPERVISOR, max(0.0, loop.time() - due))
            self.diagnostics.look_for_baselines()

    def _background(self, work: Coroutine[Any, Any, Any]) -> None:  # Any: results go nowhere
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: asyncio.Task[Any]) -> None:  # Any: see above
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background_task_failed", exc_info=error)

    # --- stop ---

    async def stop(self) -> None:
        """Drain: no new events, what is with workers ends, then everybody goes."""
        self.state = ServiceState.DRAINING
        self._notifier.stopping("draining")
        if self._tracking is not None:
            self._tracking.start_draining()
        limit_s = self.config.service.drain_timeout_s
        until = time.monotonic() + limit_s
        for runner in self.runners.values():
            runner.stop_sending()
        counting = asyncio.create_task(self._count_down(until))
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.gather(*(runner.drained() for runner in self.runners.values()))
        except TimeoutError:
            _log.warning("drain_limit_reached", inflight=self._inflight(), limit_s=limit_s)
        if self._queue_is_open:
            await self.diagnostics.close()
        for runner in self.runners.values():
            runner.shut()
        await self.fleet.stop(max(1.0, until - time.monotonic()) if not self._inflight() else 0.0)
        await asyncio.gather(*(runner.drained() for runner in self.runners.values()))
        counting.cancel()
        if self._resolver is not None:
            await self._resolver.close()
        for site in self._sites:
            await site.cleanup()
        for path in self._paths:
            path.unlink(missing_ok=True)
        for task in list(self._tasks):
            task.cancel()
        if self._queue_is_open:
            await self.backoff_store.close()
            await self.queue.close()
            self.exits.close()
        self._notifier.close()
        _log.info("service_stopped")

    def _inflight(self) -> int:
        return sum(runner.state.inflight for runner in self.runners.values())

    async def _count_down(self, until: float) -> None:
        while True:
            left = max(0.0, until - time.monotonic())
            _log.info("draining", inflight=self._inflight(), seconds_left=round(left, 1))
            self._notifier.status(f"draining: {self._inflight()} deliveries in flight")
            await asyncio.sleep(1.0)


def _specs(config: Config) -> Mapping[str, ConnectionSpec]:
    return {
        connection.name: ConnectionSpec(
            connection.source, connection.max_backlog, connection.ordering == "user"
        )
        for connection in config.connections.values()
    }
