"""Events tried: through a jailed worker like in production, with its servers stood in for.

Owns the one worker that a trial takes, and where its connections lead: to
stand-ins that answer by themselves, or on to the real servers, in both cases
only where the config lets the destination connect to. Nothing is queued or
counted. Must not know what is shown or kept of it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import certifi
import msgspec

from sandbox.protocol import (
    DELIVERED,
    FAILED,
    MAX_DETAIL,
    MAX_TRACEBACK,
    UNSUPPORTED,
    BatchDone,
    Begun,
    Collected,
    Declared,
    FromWorker,
    FromWorkerChannel,
    JailTried,
    Log,
    Outcomes,
    OutOfMemory,
    ProtocolError,
    Raised,
    Ready,
    Stats,
    Stray,
    Try,
    Validated,
)
from supervisor.catalog.catalog import asked_of
from supervisor.catalog.declaration import Declaration
from supervisor.catalog.probe import declare
from supervisor.config import Config, Connection
from supervisor.core.effects import ExitReason
from supervisor.delivery.connections import pool_connections_of
from supervisor.egress.broker import Broker, EgressRefused, EgressSession
from supervisor.egress.names import Resolver
from supervisor.egress.policy import EgressPolicy, Target
from supervisor.ingest.router import Router
from supervisor.queue import NewEvent
from supervisor.tapes.authority import Authority
from supervisor.tapes.server import Responder, Server
from supervisor.tapes.upstream import Assumed, Keeping, Kept, Upstream
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.output import Printed
from supervisor.workers.process import Exit, Worker
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.spawn import PoolSpec, pool_spec_of
from supervisor.workers.zygote import become_subreaper

#: What is told of a destination that talks without end: log lines and tracebacks, each.
MOST_TOLD = 200
#: Seconds past the time of a batch, until its worker is ended.
GRACE_S = 2.0
_NAMES = {DELIVERED: "delivered", FAILED: "failed", UNSUPPORTED: "unsupported"}


class DryRunFailed(Exception):
    """The destination cannot be tried; the text says why, one reason a line."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an event ended: `delivered`, `retry`, `failed` or `unsupported`; `after_s` in seconds."""

    outcome: str
    detail: str = ""
    after_s: float | None = None


_PENDING = Ended("retry", "the worker said nothing of it")


@dataclass(slots=True)
class DryRun:
    """All that came of it; `calls` are the requests in order, with the answer or why none came."""

    outcomes: list[Ended]
    kept: Kept = field(default_factory=Kept)
    tracebacks: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    layers: dict[str, str] = field(default_factory=dict)


async def try_events(
    config: Config,
    connection: Connection,
    events: Sequence[NewEvent],
    *,
    is_live: bool,
    responder: Responder | None = None,
) -> DryRun:
    """Deliver `events` once, in batches as in production. With a `responder` that one answers.

    Must run on an event loop in a process that has no other children. Raises
    DryRunFailed where the destination cannot be loaded or refuses its settings.
    """
    become_subreaper()
    async with AsyncExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkhead-try-"))
        # Users of its own: a service that runs with this config has its workers under theirs.
        resources = WorkerResources.of_command(config.service.state_dir / "try", Path(scratch))
        fleet = WorkerFleet(resources)
        fleet.start()
        stack.push_async_callback(fleet.stop, 5.0)
        alone = _alone(config, connection)
        pool = alone.pool_of(connection.destination)
        pool_spec = pool_spec_of(alone, pool, broken={})
        said = await declare(fleet, pool_spec, asked_of(alone, pool))
        problems = list(said.broken.values()) + [
            f"settings.{error}" for found in said.settings_errors.values() for error in found
        ]
        if problems:
            raise DryRunFailed("\n".join(problems))
        declared = said.by_destination[connection.destination]
        (pool_connection,) = pool_connections_of(alone, pool, said.by_destination)
        authority = Authority()
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkhead-try-"))
        os.chmod(folder, 0o755)  # noqa: S103 - a certificate; workers may run as another user
        ca_file = Path(folder, "ca.pem")
        authority.write_certificate(ca_file)
        trial = DryRun([_routed(alone, said.by_destination, event) for event in events])
        trial.layers = said.layers
        pending = [index for index, one in enumerate(trial.outcomes) if one is _PENDING]
        most = pool_connection.terms.batch_events
        batches = [pending[at : at + most] for at in range(0, len(pending), most)]
        upstream = None
        if responder is None and is_live:
            responder = upstream = await stack.enter_async_context(Upstream(_trust(config)))
        elif responder is None:
            responder = Assumed(declared.dry_answers)
        server = await stack.enter_async_context(
            Server(Keeping(responder, trial.kept), authority, host=None)
        )
        resolver = Resolver()
        stack.push_async_callback(resolver.close)
        broker = _StandIns(resolver, server, upstream)
        broker.follow(config.sandbox.proxy, ())
        if batches:
            pool_spec = replace(pool_spec, ca_file=str(ca_file))
            bodies = [[(index, events[index].body) for index in batch] for batch in batches]
            await _run(
                fleet,
                pool_spec,
                _Listener(
                    trial, connection, pool_connection.egress_policy, broker, pool_spec, bodies
                ),
            )
        return trial


def _routed(config: Config, said: Mapping[str, Declaration], event: NewEvent) -> Ended:
    """What becomes of an event before any worker sees it, `_PENDING` where one is to."""
    (connection,) = config.connections.values()
    router = Router(config.connections, said, [connection.source])
    integrations = msgspec.json.decode(event.body).get("integrations")
    route = router.route(connection.source, event.type, integrations)
    if route.filtered:
        return Ended("filtered", "its integrations object excludes this destination")
    if route.unsupported:
        types = ", ".join(sorted(said[connection.destination].types))
        return Ended("unsupported", f"{connection.destination} has a use for {types} only")
    return _PENDING


def _alone(config: Config, connection: Connection) -> Config:
    """The config with this connection only."""
    return msgspec.structs.replace(config, connections={connection.name: connection})


def _trust(config: Config) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(certifi.where())
    if config.sandbox.ca_file is not None:
        context.load_verify_locations(config.sandbox.ca_file)
    return context


async def _run(fleet: WorkerFleet, pool_spec: PoolSpec, listener: _Listener) -> None:
    worker = fleet.spawn(pool_spec.order(next(fleet.numbers), "try", declare=False), listener)
    listener.egress_session = EgressSession(
        listener.broker,
        egress_policy_of=lambda name: (
            listener.egress_policy if name == listener.egress_policy.connection else None
        ),
        send=worker.channel.send,
        condemn=lambda why: worker.kill(ExitReason.EGRESS, why),
    )
    await listener.ended


class _StandIns(Broker):
    """Lets a destination connect as in production, and puts a stand-in between."""

    def __init__(self, names: Resolver, server: Server, upstream: Upstream | None) -> None:
        super().__init__(names, counted=lambda connection, result: None, most_connecting=1024)
        self._server = server
        self._upstream = upstream

    async def open(self, egress_policy: EgressPolicy, asked: Target) -> socket.socket:
        if self._upstream is not None:
            real = await super().open(egress_policy, asked)
            self._upstream.hand(str(asked.host), asked.port, real)
        elif refusal := egress_policy.refusal(asked):
            raise EgressRefused(refusal)
        ours, theirs = _pair()
        self._server.adopt(ours, str(asked.host), asked.port)
        return theirs


def _pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection within this process: what a worker has in production, too."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        while True:
            theirs = socket.create_connection(listening.getsockname())
            ours, peer = listening.accept()
            if peer == theirs.getsockname():
                ours.setblocking(False)
                theirs.setblocking(False)
                return ours, theirs
            ours.close()  # somebody else was quicker to connect to this port
            theirs.close()


class _Listener:
    """The worker of a trial. Implements `process.Listener`."""

    def __init__(
        self,
        trial: DryRun,
        connection: Connection,
        egress_policy: EgressPolicy,
        broker: Broker,
        pool_spec: PoolSpec,
        batches: Sequence[Sequence[tuple[int, bytes]]],
    ) -> None:
        self.egress_policy = egress_policy
        self.broker = broker
        self.egress_session: EgressSession | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._trial = trial
        self._connection = connection
        self._plan = pool_spec
        self._batches = batches
        self._at = -1
        self._timer: asyncio.TimerHandle | None = None
        self._told: set[int] = set()

    def ready(self, worker: Worker, credits: int, layers: dict[str, str]) -> None:
        """It is given one batch after the other."""
        self._trial.layers = layers
        connection = self._connection
        worker.configure(connection.name, connection.destination, dict(connection.settings))
        self._next(worker)

    def _next(self, worker: Worker) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at += 1
        if self._at == len(self._batches):
            worker.retire(ExitReason.DRAIN)
            return
        timeout_s = self._plan.batch_timeout_s
        bodies = [body for _, body in self._batches[self._at]]
        worker.send_batch(Try(self._at, self._connection.name, timeout_s, bodies))
        self._timer = asyncio.get_running_loop().call_later(
            timeout_s + GRACE_S, worker.kill, ExitReason.TIMEOUT, f"longer than {timeout_s:g} s"
        )

    def said(self, worker: Worker, message: FromWorker) -> None:
        """Outcomes, and what it has to tell beside them."""
        match message:
            case Outcomes():
                self._outcomes(message)
            case Raised():
                if len(message.traceback) > MAX_TRACEBACK:
                    raise ProtocolError("a traceback longer than any honest one")
                if len(self._trial.tracebacks) < MOST_TOLD:
                    self._trial.tracebacks.append(message.traceback)
            case Log() | Stray():
                self._note(message.text)
            case OutOfMemory():
                pass  # the outcome of its batch says the same
            case BatchDone():
                if message.batch != self._at:
                    raise ProtocolError("the end of a batch that it does not have")
                self._next(worker)
            case Stats():
                pass  # it lives
            case Ready() | Declared() | Validated() | JailTried() | Begun() | Collected():
                raise ProtocolError(f"{type(message).__name__} from a worker on trial")

    def asked(self, worker: Worker, message: FromWorkerChannel) -> None:
        """It wants a connection."""
        if self.egress_session is not None:
            self.egress_session.said(message)

    def printed(self, worker: Worker, printed: Printed) -> None:
        """It wrote past Python."""
        for line in printed.lines:
            self._note(line)

    def _note(self, text: str) -> None:
        if len(self._trial.log) < MOST_TOLD:
            self._trial.log.append(text[:MAX_DETAIL])

    def vacated(self, worker: Worker) -> None:
        """Nobody takes its place."""

    def gone(self, worker: Worker, end: Exit) -> None:
        """Whatever it had not said is told by how it ended."""
        if self.egress_session is not None:
            self.egress_session.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._at < len(self._batches):
            why = f"{end.reason}: {end.detail}" if end.detail else str(end.reason)
            for index, _ in itertools.chain.from_iterable(self._batches):
                if index not in self._told:
                    self._trial.outcomes[index] = Ended("retry", f"the worker ended: {why}")
            if end.stacks:
                self._trial.tracebacks.append(end.stacks[:MAX_TRACEBACK])
        if not self.ended.done():
            self.ended.set_result(None)

    def _outcomes(self, message: Outcomes) -> None:
        batch = self._batches[self._at] if message.batch == self._at else ()
        for place, code, detail, after_s in message.outcomes:
            if not 0 <= place < len(batch) or batch[place][0] in self._told:
                raise ProtocolError("an outcome of an event that it does not have")
            index = batch[place][0]
            self._told.add(index)
            name = _NAMES.get(code, "retry")
            self._trial.outcomes[index] = Ended(name, detail[:MAX_DETAIL], after_s)
