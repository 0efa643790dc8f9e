"""A dry run of events: through a jailed worker as in production, with stand-ins for servers.

Owns the one worker that a dry run takes, and where its connections lead: to
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
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import certifi
import msgspec

from sandbox.protocol import (
    MAX_DETAIL,
    MAX_TRACEBACK,
    AskToken,
    BatchDone,
    Collected,
    CollectionStarted,
    Declaration,
    Declared,
    DryRunBatch,
    FromWorker,
    FromWorkerChannel,
    GiveUpToken,
    KeepToken,
    Log,
    OutcomeCode,
    Outcomes,
    OutOfMemory,
    Pong,
    ProtocolError,
    Raised,
    Ready,
    Sampled,
    SelftestRan,
    Stats,
    UnhandledException,
    Validated,
)
from supervisor.catalog.catalog import settings_checks
from supervisor.catalog.probe import declare
from supervisor.config import Config, Connection
from supervisor.core.effects import ExitReason
from supervisor.delivery.connections import pool_connections_of
from supervisor.delivery.tokens import TokenBroker
from supervisor.dryrun.code import kept_for_command
from supervisor.egress.broker import Broker, EgressRefused, EgressSession
from supervisor.egress.names import Overloaded, Resolver, Unresolved
from supervisor.egress.policy import EgressPolicy, Target
from supervisor.ingest.router import Router
from supervisor.queue import NewEvent
from supervisor.state.tokens import MemoryTokenStore
from supervisor.tapes.authority import Authority
from supervisor.tapes.server import Relay, Responder, Server
from supervisor.tapes.upstream import Assumed, Keeping, Kept, Upstream
from supervisor.workers.code import KeptCode
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.handle import Exit, WorkerHandle
from supervisor.workers.output import Printed
from supervisor.workers.patience import Patience
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.resources.removal import temporary_folder
from supervisor.workers.spawn import PoolSpec, pool_spec_of
from supervisor.workers.zygote import become_subreaper

#: Log lines, and tracebacks, that are kept of a destination that writes without end.
MOST_KEPT = 200
#: Seconds past the time of a batch, until its worker is ended: of time that counts, and after so
#: many times the batch's at most in all.
GRACE_S, MOST_TIMES = 2.0, 10.0


class DryRunFailed(Exception):
    """The destination cannot be run; the text says why, one reason a line."""


@dataclass(frozen=True, slots=True)
class EventResult:
    """How an event ended: `delivered`, `retry`, `failed` or `unsupported`; `after_s` in seconds."""

    outcome: str
    detail: str = ""
    after_s: float | None = None


_PENDING = EventResult("retry", "the worker reported no outcome")


@dataclass(slots=True)
class DryRun:
    """The result; `kept.calls` are the requests in order, with the answer or why none came."""

    outcomes: list[EventResult]
    kept: Kept = field(default_factory=Kept)
    tracebacks: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    layers: dict[str, str] = field(default_factory=dict)


async def deliver_once(
    config: Config,
    connection: Connection,
    events: Sequence[NewEvent],
    *,
    is_live: bool,
    responder: Responder | None = None,
    code: KeptCode | None = None,
) -> DryRun:
    """Deliver `events` once, in batches as in production. With a `responder` that one answers.

    `code` is what a service runs; without it, plugin folders are taken as they stand.

    Must run on an event loop in a process that has no other children. Raises
    DryRunFailed where the destination cannot be loaded or refuses its settings.
    """
    become_subreaper()
    async with AsyncExitStack() as stack:
        scratch = stack.enter_context(temporary_folder("bulkhead-try-"))
        # Users of its own: a service that runs with this config has its workers under theirs.
        resources = WorkerResources.of_command(config.service.state_dir / "try", Path(scratch))
        fleet = WorkerFleet(resources)
        fleet.start()
        stack.push_async_callback(fleet.stop, 5.0)
        if code is None:
            code = stack.enter_context(kept_for_command(config))
        alone = code.running(_alone(config, connection))
        pool = alone.pool_of(connection.destination)
        pool_spec = pool_spec_of(alone, pool, broken={})
        declarations = await declare(fleet, pool_spec, settings_checks(alone, pool))
        problems = list(declarations.broken.values()) + [
            f"settings.{error}"
            for found in declarations.settings_errors.values()
            for error in found
        ]
        if problems:
            raise DryRunFailed("\n".join(problems))
        declared = declarations.by_destination[connection.destination]
        (pool_connection,) = pool_connections_of(alone, pool, declarations.by_destination)
        authority = Authority()
        folder = stack.enter_context(temporary_folder("bulkhead-try-"))
        os.chmod(folder, 0o755)  # noqa: S103 - a certificate; workers may run as another user
        ca_file = Path(folder, "ca.pem")
        authority.write_certificate(ca_file)
        dry_run = DryRun([_routed(alone, declarations.by_destination, event) for event in events])
        dry_run.layers = declarations.layers
        pending = [index for index, one in enumerate(dry_run.outcomes) if one is _PENDING]
        most = pool_connection.terms.batch_events
        batches = [pending[at : at + most] for at in range(0, len(pending), most)]
        upstream = None
        answering: Responder | Relay
        if responder is None and is_live:
            answering = upstream = Upstream(_trust(config), dry_run.kept)
            await stack.enter_async_context(upstream)
        else:
            answering = Keeping(responder or Assumed(declared.dry_answers), dry_run.kept)
        server = await stack.enter_async_context(Server(answering, authority, host=None))
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
                DryRunListener(
                    dry_run, connection, pool_connection.egress_policy, broker, pool_spec, bodies
                ),
            )
        return dry_run


def _routed(
    config: Config, declarations: Mapping[str, Declaration], event: NewEvent
) -> EventResult:
    """What becomes of an event before any worker sees it; `_PENDING` where a worker is to."""
    (connection,) = config.connections.values()
    router = Router(config.connections, declarations, [connection.source])
    integrations = msgspec.json.decode(event.body).get("integrations")
    route = router.route(connection.source, event.type, integrations)
    if route.filtered:
        return EventResult("filtered", "its integrations object excludes this destination")
    if route.unsupported:
        types = ", ".join(sorted(declarations[connection.destination].types))
        return EventResult("unsupported", f"{connection.destination} has a use for {types} only")
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


async def _run(fleet: WorkerFleet, pool_spec: PoolSpec, listener: DryRunListener) -> None:
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

    async def open(self, egress_policy: EgressPolicy, wanted: Target) -> socket.socket:
        if self._upstream is not None:
            real = await super().open(egress_policy, wanted)
            another = partial(self._another, egress_policy, wanted)
            self._upstream.hand(str(wanted.host), wanted.port, real, another)
        elif refusal := egress_policy.refusal(wanted):
            raise EgressRefused(refusal)
        ours, theirs = _pair()
        self._server.adopt(ours, str(wanted.host), wanted.port)
        return theirs

    async def _another(self, egress_policy: EgressPolicy, wanted: Target) -> socket.socket:
        try:
            return await super().open(egress_policy, wanted)
        except (EgressRefused, Unresolved, Overloaded) as error:
            raise ConnectionError(str(error)) from error


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
            ours.close()  # another process was quicker to connect to this port
            theirs.close()


class DryRunListener:
    """The worker of a dry run. Implements `handle.Listener`."""

    def __init__(
        self,
        dry_run: DryRun,
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
        self._dry_run = dry_run
        self._connection = connection
        self._pool_spec = pool_spec
        self._batches = batches
        self._at = -1
        self._timer: Patience | None = None
        self._reported: set[int] = set()
        # Nothing is kept: the service has tokens of its own, and a dry run none of them.
        self._tokens = TokenBroker(MemoryTokenStore(), lambda owner, secrets: None)

    def ready(self, worker: WorkerHandle, credits: int, layers: dict[str, str]) -> None:
        """The worker is given one batch after the other."""
        self._dry_run.layers = layers
        connection = self._connection
        worker.configure(connection.name, connection.destination, dict(connection.settings))
        self._next(worker)

    def _next(self, worker: WorkerHandle) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at += 1
        if self._at == len(self._batches):
            worker.retire(ExitReason.DRAIN)
            return
        timeout_s = self._pool_spec.batch_timeout_s
        bodies = [body for _, body in self._batches[self._at]]
        worker.send_batch(DryRunBatch(self._at, self._connection.name, timeout_s, bodies))
        self._timer = Patience(
            timeout_s + GRACE_S,
            lambda: worker.cpu_times,
            partial(worker.kill, ExitReason.TIMEOUT, f"longer than {timeout_s:g} s"),
            most_s=MOST_TIMES * timeout_s + GRACE_S,
        )

    def _has(self, batch: int) -> bool:
        """Whether the worker has this batch now: none before the first, none after the last."""
        return batch == self._at and 0 <= batch < len(self._batches)

    def said(self, worker: WorkerHandle, message: FromWorker) -> None:
        """Outcomes, tracebacks and log lines."""
        match message:
            case Outcomes():
                self._outcomes(message)
            case Raised():
                if len(message.traceback) > MAX_TRACEBACK:
                    raise ProtocolError("a traceback longer than any honest one")
                if len(self._dry_run.tracebacks) < MOST_KEPT:
                    self._dry_run.tracebacks.append(message.traceback)
            case Log() | UnhandledException():
                self._note(message.text)
            case OutOfMemory():
                pass  # the outcome of its batch says the same
            case BatchDone():
                if not self._has(message.batch):
                    raise ProtocolError("the end of a batch that it does not have")
                self._next(worker)
            case Stats():
                pass  # figures of a worker that ends with this run
            case AskToken() | KeepToken() | GiveUpToken():
                if message.connection != self._connection.name:
                    raise ProtocolError("the token of a connection that it does not have")
                self._tokens.said(worker, self._connection.settings, message)
            case (
                Ready()
                | Declared()
                | Validated()
                | SelftestRan()
                | CollectionStarted()
                | Collected()
                | Pong()
                | Sampled()
            ):
                raise ProtocolError(f"{type(message).__name__} from a worker of a dry run")

    def asked(self, worker: WorkerHandle, message: FromWorkerChannel) -> None:
        """The worker asks for a connection."""
        if self.egress_session is not None:
            self.egress_session.said(message)

    def printed(self, worker: WorkerHandle, printed: Printed) -> None:
        """Lines that the worker wrote past Python."""
        for line in printed.lines:
            self._note(line)

    def _note(self, text: str) -> None:
        if len(self._dry_run.log) < MOST_KEPT:
            self._dry_run.log.append(text[:MAX_DETAIL])

    def vacated(self, worker: WorkerHandle) -> None:
        """A dry run has no second worker."""

    def gone(self, worker: WorkerHandle, end: Exit) -> None:
        """What has no outcome yet gets one from how the worker ended."""
        if self.egress_session is not None:
            self.egress_session.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._at < len(self._batches):
            why = f"{end.reason}: {end.detail}" if end.detail else str(end.reason)
            for index, _ in itertools.chain.from_iterable(self._batches):
                if index not in self._reported:
                    self._dry_run.outcomes[index] = EventResult("retry", f"the worker ended: {why}")
            if end.stacks:
                self._dry_run.tracebacks.append(end.stacks[:MAX_TRACEBACK])
        if not self.ended.done():
            self.ended.set_result(None)

    def _outcomes(self, message: Outcomes) -> None:
        batch = self._batches[self._at] if self._has(message.batch) else ()
        for place, code, detail, after_s in message.outcomes:
            if not 0 <= place < len(batch) or batch[place][0] in self._reported:
                raise ProtocolError("an outcome of an event that it does not have")
            index = batch[place][0]
            self._reported.add(index)
            self._dry_run.outcomes[index] = EventResult(_name(code), detail[:MAX_DETAIL], after_s)


def _name(code: OutcomeCode) -> str:
    match code:
        case OutcomeCode.DELIVERED:
            return "delivered"
        # Nothing is queued here that could be held until the credentials are good.
        case OutcomeCode.FAILED | OutcomeCode.UNAUTHORIZED | OutcomeCode.LOCKED_OUT:
            return "failed"
        case OutcomeCode.UNSUPPORTED:
            return "unsupported"
        case (
            OutcomeCode.RETRY
            | OutcomeCode.RETRY_ALONE
            | OutcomeCode.THROTTLED
            | OutcomeCode.TIMEOUT
            | OutcomeCode.CONNECT
            | OutcomeCode.SERVER
            | OutcomeCode.SETUP
        ):
            return "retry"
