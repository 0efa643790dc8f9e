"""A worker's life: jail, imports, then batches until it is told to stop.

Owns the child's entry point and its end of the wire. What happens inside a
batch is `runner.py`'s; nothing here looks at an event. Must not be imported by
the supervisor.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn, cast

import msgspec

from destinations.kit.loading import LoadError, declaration, load, settings_errors
from sandbox import jail, kept_code, process, soft_deadline, tls
from sandbox.channel import SupervisorChannel
from sandbox.containment import Containment
from sandbox.diagnostics import DiagnosticsWriter
from sandbox.jail import shared_memory
from sandbox.jail.egress import Egress
from sandbox.marks import MarkerWriter
from sandbox.output import take_over
from sandbox.protocol import (
    LAST_STACKS_SIGNAL,
    MAX_DETAIL,
    MAX_ERRORS,
    MAX_FRAME_TO_WORKER,
    STACKS_SIGNAL,
    Batch,
    Collect,
    Configure,
    Connected,
    CurrentToken,
    Declaration,
    Declared,
    Drain,
    DryRunBatch,
    FrameReader,
    FromWorkerChannel,
    Message,
    Ping,
    Pong,
    Proceed,
    ProtocolError,
    Ready,
    RunSelftest,
    SelftestRan,
    Spawn,
    Stats,
    TokenDenied,
    TokenGranted,
    TokenStored,
    ToWorker,
    ToWorkerChannel,
    Unconnected,
    Validate,
    Validated,
    WantSamples,
    encode,
)
from sandbox.runner import Runner

#: Batches that a worker takes at once.
CREDITS = 16
#: Seconds between two `Stats` frames, which are heartbeats too.
HEARTBEAT_S = 1.0
#: Beats of the event loop within its block timeout, and the shortest time between two.
BEATS_A_TIMEOUT, SHORTEST_BEAT_S = 5, 0.002
#: Seconds between two while it has batches, at most.
BUSY_BEAT_S = 0.02
#: Seconds between two reports that no descriptor is left, at least.
WANT_S = 0.1
#: Seconds that the supervisor may take to adopt us; in practice it is microseconds.
ADOPTION_S = 5.0


def main(order: Spawn, descriptors: dict[str, int], supervisor: int) -> NoReturn:
    """Be the worker that `order` asks for, with our ends of `DESCRIPTORS`. Never returns."""
    try:
        os.setsid()
        process.be_nice(order.niceness)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if not process.await_parent(supervisor, ADOPTION_S):
            os._exit(1)
        _redirect(descriptors.pop("output"))
        _tell_stacks(descriptors["stacks"])
        account = soft_deadline.open_account()
        if account is not None:
            descriptors["account"] = account
        layers = jail.enter(
            order, descriptors.values(), parent=supervisor, scratch=descriptors.get("scratch")
        )
        kept_code.install(order.plugin_paths, order.plugin_origins)
        importlib.invalidate_caches()
        starved_s = partial(soft_deadline.starved_s, account)
        page = descriptors["page"]
        worker = _Worker(order, layers, MarkerWriter(page), page, starved_s)
        worker.serve(descriptors["wire"], descriptors["channel"])
    except BaseException as error:  # noqa: BLE001 - the last stop before _exit
        sys.stderr.write(f"worker {order.label}: {type(error).__name__}: {error}\n")
    finally:
        # Not sys.exit: what destinations registered with atexit, and threads that they left
        # behind, have no say in how a worker ends.
        sys.stderr.flush()
        os._exit(1)


def _redirect(output: int) -> None:
    """What is written to standard output and error goes to the supervisor, children's too."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def _tell_stacks(descriptor: int) -> None:
    """Have stacks written to `descriptor` on a signal, whatever Python is doing, and at a crash."""
    faulthandler.enable(descriptor, all_threads=True)
    faulthandler.register(STACKS_SIGNAL, descriptor, all_threads=True)
    # The default action follows, which ends us: that is how the supervisor knows that all is told.
    signal.signal(LAST_STACKS_SIGNAL, signal.SIG_DFL)
    faulthandler.register(LAST_STACKS_SIGNAL, descriptor, all_threads=True, chain=True)


class _Worker(asyncio.Protocol):
    def __init__(
        self,
        order: Spawn,
        layers: dict[str, str],
        page: MarkerWriter,
        tables: int,
        starved_s: Callable[[], float],
    ) -> None:
        self._order = order
        self._layers = layers
        self._page = page
        self._frames = FrameReader(ToWorker, MAX_FRAME_TO_WORKER)
        self._egress = Egress(self._ask, tls.context(order.ca_file), self._want_of_files)
        self._runner = Runner(
            self._send, page, self._egress.connector, self._want_of_files, starved_s
        )
        self._diagnostics = DiagnosticsWriter(self._send, self._runner.principals, tables)
        self._channel: SupervisorChannel | None = None
        self._ended: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._next_beat: asyncio.TimerHandle | None = None
        self._is_beating_fast = False
        self._want_told_s = 0.0
        self._due_s = 0.0
        os.register_at_fork(before=page.forks)

    def serve(self, wire: int, channel: int) -> None:
        """Live; comes back only where that raised, which is a bug of ours."""
        Containment(self._page, self._runner.unhandled).run(self._live(wire, channel))

    async def _live(self, wire: int, channel: int) -> NoReturn:
        """Serve until drained, or until the wire ends; both end the process."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._runner.attach(loop)
        shared_memory.explain_refusals(self._runner.running)
        await loop.create_unix_connection(lambda: self, sock=socket.socket(fileno=wire))
        self._channel = SupervisorChannel(channel, self._heard)
        self._channel.open()
        if self._order.declare:
            self._send(Ready(0, self._layers))
            await self._declare()
            jail.seal(self._order.profile, self._layers)
        else:
            take_over(self._runner.lines, self._runner.running)
            self._import()
            await self._runner.warm_up()
            jail.seal(self._order.profile, self._layers)
            self._beat()
            self._send(Ready(CREDITS, self._layers))
            self._due_s = loop.time() + HEARTBEAT_S
            loop.call_at(self._due_s, self._heartbeat)
        await self._ended
        await self._runner.close()
        if self._transport is not None:
            # Writes what is still buffered, then ends us in connection_lost.
            self._transport.close()
        while True:
            await asyncio.Event().wait()

    # --- wire ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # cast: uvloop's transports have the methods of asyncio.Transport, but are none by class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._frames.feed(data):
                self._handle(message)
        except ProtocolError as error:
            # The supervisor is trusted: this is a bug, and the process that says so is the proof.
            sys.stderr.write(f"worker {self._order.label}: from the supervisor: {error}\n")
            os._exit(70)

    def connection_lost(self, exc: Exception | None) -> None:
        # We have drained and sent all, or the supervisor is gone.
        os._exit(0)

    def _send(self, message: Message) -> None:
        if self._transport is not None:
            self._transport.write(encode(message))

    def _ask(self, message: FromWorkerChannel) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _heard(self, message: ToWorkerChannel, descriptor: int | None) -> None:
        match message:
            case Collect():
                self._diagnostics.collect(message, descriptor)
            case Connected() | Unconnected():
                self._egress.heard(message, descriptor)

    def _handle(self, message: ToWorker) -> None:
        match message:
            case DryRunBatch():
                self._runner.start(message, is_dry_run=True)
            case Batch():
                self._beat_soon()
                self._runner.start(message)
            case Configure():
                self._runner.configure(message)
            case CurrentToken() | TokenGranted() | TokenStored() | TokenDenied():
                self._runner.tokens.heard(message)
            case Drain():
                # A copy that is at work ends with us, so we stay until it has written all.
                self._runner.when_idle(lambda: self._diagnostics.when_idle(self._end))
            case Validate():
                self._validate(message)
            case RunSelftest():
                self._run_selftest(message)
            case Ping(id=id):
                self._send(Pong(id))
            case WantSamples():
                self._runner.sampling.is_wanted = message.is_wanted
            case Proceed():
                self._diagnostics.proceed(message.id)

    def _end(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    # --- destinations ---

    def _import(self) -> None:
        for name, class_path in self._order.destinations:
            try:
                self._runner.add(name, load(name, class_path))
            except LoadError as error:
                # It could be imported when it was declared. The others of this pool can still work.
                self._runner.add(name, f"it could not be loaded in this worker: {error}")

    async def _declare(self) -> None:
        for name, class_path in self._order.destinations:
            # What was declared so far must be out before an import that may never return.
            await asyncio.sleep(0)
            try:
                answer: Declaration | str = msgspec.convert(
                    declaration(load(name, class_path)), Declaration, from_attributes=True
                )
            except (LoadError, msgspec.ValidationError) as error:
                answer = str(error)[:MAX_DETAIL]
            self._send(Declared(name, answer))

    def _validate(self, request: Validate) -> None:
        class_path = dict(self._order.destinations).get(request.destination)
        errors = settings_errors(load(request.destination, class_path), request.settings)
        self._send(
            Validated(request.connection, [error[:MAX_DETAIL] for error in errors[:MAX_ERRORS]])
        )

    # --- self-test ---

    def _run_selftest(self, request: RunSelftest) -> None:
        # Imported here: no worker that serves batches needs it.
        from sandbox.jail import attacks, attempts

        targets = attempts.Targets(
            supervisor=os.getppid(),
            folder=request.folder,
            victim=request.victim,
            tcp_port=request.tcp_port,
        )
        found = attacks.run(targets, attacks.ATTACKS)
        by_name = {attack.name: attack for attack in attacks.ATTACKS}
        self._send(
            SelftestRan(
                [
                    (name, code, sorted(by_name[name].stopped_by & self._in_force))
                    for name, code in found.items()
                ]
            )
        )

    @property
    def _in_force(self) -> set[str]:
        return {layer for layer, state in self._layers.items() if state == "on"}

    # --- heartbeat ---

    def _beat(self) -> None:
        """Through the page, at the cost of one store; a `Stats` frame says more, seldom."""
        self._page.beat()
        every_s = max(self._order.limits.block_timeout_s / BEATS_A_TIMEOUT, SHORTEST_BEAT_S)
        self._is_beating_fast = self._runner.batches > 0
        if self._is_beating_fast:
            every_s = min(every_s, BUSY_BEAT_S)
        self._next_beat = asyncio.get_running_loop().call_later(every_s, self._beat)

    def _beat_soon(self) -> None:
        """There is work, and the next beat may be far."""
        # Once: put off again at every batch, it would never come.
        if self._next_beat is not None and not self._is_beating_fast:
            self._is_beating_fast = True
            self._next_beat.cancel()
            self._next_beat = asyncio.get_running_loop().call_later(BUSY_BEAT_S, self._beat)

    def _want_of_files(self, connection: str) -> None:
        """No descriptor is left, and the next `Stats` may be a second away."""
        now = asyncio.get_running_loop().time()
        if now >= self._want_told_s + WANT_S:
            self._want_told_s = now
            self._send(Stats(0.0, self._runner.batches, _open_files(), connection))

    def _heartbeat(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._send(Stats(max(0.0, now - self._due_s), self._runner.batches, _open_files()))
        self._runner.tell_dropped()
        self._due_s = now + HEARTBEAT_S
        loop.call_at(self._due_s, self._heartbeat)


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd")) - 1
    except OSError:  # not one is left, not even to count them
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
