"""Worker processes: forked through the zygote, spoken to over their wire, reaped.

Owns every child process of the service and carries out what `core/child.py`
decides for it. Whatever a worker says is hostile input: a frame that is none,
or too many of them, costs that worker its life. Must not know queues, leases
or outcomes: those who asked for a worker hear of it through `Listener`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import structlog

from sandbox.protocol import (
    LAST_STACKS_SIGNAL,
    MAX_FRAME_FROM_WORKER,
    STACKS_SIGNAL,
    Batch,
    Configure,
    Drain,
    FrameReader,
    FromWorker,
    FromWorkerChannel,
    Message,
    ProtocolError,
    Ready,
    Spawn,
    encode,
)
from supervisor import headroom
from supervisor.blackbox import BlackBox
from supervisor.channel import Channel
from supervisor.core import child as core
from supervisor.core.effects import Announce, Bury, ExitReason, Kill, SendDrain, Watch
from supervisor.core.talk import TalkBudget
from supervisor.output import Output, Printed
from supervisor.premises import Premises
from supervisor.zygote import Zygote

_log = structlog.get_logger(__name__)

#: Seconds that a worker may take from fork to `Ready`: jail and imports.
START_TIMEOUT_S = 30.0
#: Seconds that a dead worker's wire is read on, where somebody still holds its other end.
LAST_WORDS_S = 0.2
#: Most characters of a worker's report on its sandbox layers, which `/status` shows.
MAX_LAYERS_TEXT = 4_000
#: Processes that a worker may have beside itself: copies that write a snapshot, and a few.
MAX_PROCESSES = 16
#: Seconds that the supervisor spends at most on one such look; what is left dies in the next one.
STRAYS_S = 0.05
#: Seconds between two looks for processes that nobody knows.
SWEEP_S = 1.0
#: Seconds that a worker may take to write its stacks and end, before it is killed without them.
STACKS_S = 0.5
#: Seconds between two looks at stacks that are being written.
STACKS_LOOK_S = 0.005
#: Reasons to kill a worker that leave time to ask it where it stands.
_WITH_STACKS = frozenset({ExitReason.TIMEOUT, ExitReason.OOM, ExitReason.LEAK, ExitReason.LIMIT})
_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Mark:
    """What a worker was at, as its marker page says: a hint, since its code can write there.

    `batch` is the low 32 bits of its id, `event` an index in the
    batch where its destination said so. Not `is_running`: the last step was
    over, so that something else (a callback, a thread) or nothing ran.
    """

    connection: str
    batch: int
    event: int | None
    is_running: bool

    def __str__(self) -> str:
        place = f"batch {self.batch}" if self.event is None else f"event {self.event} of its batch"
        return f"{'in' if self.is_running else 'after'} a step of {self.connection}, {place}"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended; `at` is epoch seconds of wall time.

    `usage` is the kernel's account of it, None where it never ran; `connection`
    is the one to blame where one is known: that whose step ran, or the only one
    that had batches in it. `stacks` is what faulthandler wrote, "" where it did not.
    """

    reason: ExitReason
    detail: str
    was_ready: bool
    at: float
    usage: resource.struct_rusage | None
    mark: Mark | None = None
    stacks: str = ""
    connection: str | None = None


class Listener(Protocol):
    """Who asked for a worker hears of its life; `gone` is the last word."""

    def ready(self, worker: Worker, credits: int, layers: dict[str, str]) -> None:
        """It takes batches."""

    def said(self, worker: Worker, message: FromWorker) -> None:
        """Any other frame. Raises ProtocolError where it is out of turn."""

    def asked(self, worker: Worker, message: FromWorkerChannel) -> None:
        """What came on its channel. Raises ProtocolError where it is out of turn."""

    def printed(self, worker: Worker, printed: Printed) -> None:
        """It, or a child of it, wrote to standard output or error, past Python."""

    def vacated(self, worker: Worker) -> None:
        """It will do no more work: dead, dying or about to be killed. Comes once, before `gone`."""

    def gone(self, worker: Worker, end: Exit) -> None:
        """It is reaped, and every frame that it had sent was heard."""


class Worker(asyncio.Protocol):
    """One child process, from the request to its end."""

    def __init__(
        self,
        order: Spawn,
        channel: socket.socket,
        box: BlackBox,
        output: int,
        force: Workforce,
        listener: Listener,
    ) -> None:
        self.number = order.child
        self.label = order.label
        self.limits = order.limits
        self.channel = Channel(
            channel, self._asked, lambda why: self.kill(ExitReason.PROTOCOL, why)
        )
        self.box = box
        self._output = Output(output, lambda printed: listener.printed(self, printed))
        self.pid: int | None = None
        self.asked_at = time.monotonic()
        self.ready_at: float | None = None
        self._force = force
        self._listener = listener
        self._core = core.Child()
        self._frames = FrameReader(FromWorker, MAX_FRAME_FROM_WORKER)
        self._transport: asyncio.Transport | None = None
        self._wire_lost = False
        self._early = b""
        self._vacated = False
        self._talk = TalkBudget()
        self._layers: dict[str, str] = {}
        self._blamed: tuple[str, str | None] = ("", None)
        self.worked: Counter[str] = Counter()
        """Events of each connection in batches that it has ended."""
        self._connections: list[str] = []
        self._pidfd: int | None = None
        self._status: int | None = None
        self._usage: resource.struct_rusage | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def state(self) -> core.State:
        """Where it stands."""
        return self._core.state

    @property
    def uptime_s(self) -> float:
        """Seconds since it was ready; 0 before that."""
        return 0.0 if self.ready_at is None else time.monotonic() - self.ready_at

    @property
    def rss_bytes(self) -> int:
        """Resident memory in bytes, shared pages included; 0 where it is not alive."""
        if self.pid is None:
            return 0
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):  # it is gone, or a zombie
            return 0

    @property
    def private_bytes(self) -> int:
        """Memory that is its own, beyond what it was forked with; 0 where it is not alive.

        Shared memory that it made counts, pages of files do not. What it took over from the
        zygote and has written to since is as good as new, and is missing here.
        """
        if self.pid is None:
            return 0
        return max(0, _own_bytes(self.pid) - self._force.inherited_bytes)

    @property
    def headroom(self) -> headroom.Headroom:
        """How near it is to its limits of memory."""
        return headroom.Headroom.SOME if self.pid is None else headroom.of(self.pid)

    def give_headroom(self) -> None:
        """Let it go on beyond its soft limit, so that it can say that it met it. It does the same
        by itself, where it still can.
        """
        if self.pid is not None:
            headroom.give(self.pid)

    @property
    def descendants(self) -> int:
        """Processes that it has forked and that live, with theirs."""
        return 0 if self.pid is None else _descendants(self.pid)

    def blame(self, detail: str, connection: str | None) -> None:
        """What its certificate is to say where it is retired, and whose name it bears."""
        self._blamed = detail, connection

    @property
    def waited_s(self) -> float:
        """Seconds that its main thread was ready to run and had no CPU; 0 where nobody counts."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_bytes().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):  # it is gone, or the kernel does not count
            return 0.0

    def marked(self) -> Mark | None:
        """What it is at; after its end, what it was at. None where nothing was marked."""
        raw = self.box.mark()
        if raw is None or raw.number > len(self._connections):
            return None
        return Mark(self._connections[raw.number - 1], raw.batch, raw.event, raw.is_running)

    async def take_stacks(self) -> str:
        """Python stacks of all its threads, hung or not; "" where it wrote none in STACKS_S."""
        if self._pidfd is None:
            return ""
        self.box.clear_stacks()
        signal.pidfd_send_signal(self._pidfd, STACKS_SIGNAL)
        until = time.monotonic() + STACKS_S
        size = 0
        while time.monotonic() < until:
            await asyncio.sleep(STACKS_LOOK_S)
            # faulthandler does not say when it is done: it is when nothing is added any more.
            size, before = self.box.stacks_bytes, size
            if size and size == before:
                break
        return self.box.stacks()

    def configure(self, connection: str, destination: str, settings: dict[str, Any]) -> None:
        """Tell it the settings of a connection, by which it is known in the page from now on."""
        if connection not in self._connections:
            self._connections.append(connection)
        number = self._connections.index(connection) + 1
        self.send(Configure(connection, destination, settings, number))

    def send(self, message: Message) -> None:
        """Write a frame; silently nothing once it is dying, since its end is heard anyway."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(message))

    def send_batch(self, message: Batch) -> None:
        """Write a batch; the worker may say that much more."""
        self._talk.given(len(message.events))
        self.send(message)

    def retire(self, reason: ExitReason) -> None:
        """Let it finish what it has and exit."""
        self._apply(self._core.handle(core.RetireAsked(reason, self._blamed[0])))

    def kill(self, reason: ExitReason, detail: str) -> None:
        """SIGKILL it."""
        self._apply(self._core.handle(core.KillAsked(reason, detail)))

    # --- facts, from Workforce ---

    def forked(self, pid: int, reason: str) -> None:
        """The zygote's answer: its pid, or 0 and the reason why there is none."""
        if pid:
            self._apply(self._core.handle(core.Forked(pid)))
        else:
            self._apply(self._core.handle(core.ForkFailed(reason)))

    # --- wire ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # cast: uvloop's transports have the methods of asyncio.Transport, but are none by class.
        self._transport = cast(asyncio.Transport, transport)
        if self._core.state is core.State.GONE:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._core.state is core.State.KILLED and self._core.reason is ExitReason.PROTOCOL:
            return  # nothing that it says counts any more
        if self._core.state in (core.State.FORKING, core.State.DOOMED):
            # A quick worker speaks before the zygote has said that there is one.
            self._early += data
            return
        try:
            messages = self._frames.feed(data)
            if not self._talk.said(len(data), len(messages), time.monotonic()):
                raise ProtocolError("it says more than its batches are worth")
            for message in messages:
                if isinstance(message, Ready):
                    self._became_ready(message)
                else:
                    self._listener.said(self, message)
            self._frames.check()
        except ProtocolError as error:
            self.kill(ExitReason.PROTOCOL, str(error))

    def _asked(self, message: FromWorkerChannel) -> None:
        if self._core.state in (core.State.READY, core.State.DRAINING):
            self._listener.asked(self, message)
        elif self._core.state is core.State.STARTING:
            raise ProtocolError("it asks for connections before it is ready")

    def eof_received(self) -> None:
        # One turn of the loop ahead of connection_lost, and whoever takes its place can begin.
        self._wire_closed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire_lost = True
        self._wire_closed()
        self._bury_if_over()

    def _wire_closed(self) -> None:
        if self._status is None and self._core.state is not core.State.GONE:
            self._apply(self._core.handle(core.WireClosed()))

    def _became_ready(self, message: Ready) -> None:
        if sum(len(name) + len(state) for name, state in message.layers.items()) > MAX_LAYERS_TEXT:
            raise ProtocolError("more to say of sandbox layers than there is")
        was_ready = self._core.was_ready
        effects = self._core.handle(core.BecameReady(message.credits))
        if self._core.was_ready and not was_ready:
            self.ready_at = time.monotonic()
            self._disarm()
            self._layers = message.layers
        self._apply(effects)

    # --- effects ---

    def _apply(self, effects: Iterable[core.Effect]) -> None:
        for effect in effects:
            match effect:
                case Watch(pid=pid):
                    self._watch(pid)
                case SendDrain():
                    self.send(Drain())
                case Kill():
                    self._vacate()
                    self._disarm()
                    self._end()
                case Announce(credits=credits):
                    self._listener.ready(self, credits, self._layers)
                case Bury():
                    self._buried(effect)

    def _end(self) -> None:
        """SIGKILL; where there is time, ask it first to write its stacks and end by itself."""
        if self._pidfd is None:
            return
        if self._core.reason in _WITH_STACKS:
            self.box.clear_stacks()
            signal.pidfd_send_signal(self._pidfd, LAST_STACKS_SIGNAL)
            self._timer = asyncio.get_running_loop().call_later(STACKS_S, self._kill_now)
        else:
            self._kill_now()

    def _kill_now(self) -> None:
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _watch(self, pid: int) -> None:
        # Nobody but us reaps it, so the number cannot have been given away since.
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, self._reap)
        self.channel.open()
        self._timer = loop.call_later(START_TIMEOUT_S, self._start_timed_out)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def _start_timed_out(self) -> None:
        self.kill(ExitReason.TIMEOUT, f"not ready {START_TIMEOUT_S:g} s after it was forked")

    def _reap(self) -> None:
        assert self.pid is not None
        assert self._pidfd is not None
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = None
        self._disarm()
        self._status, self._usage = os.waitstatus_to_exitcode(status), usage
        if self._status == -LAST_STACKS_SIGNAL and self._core.reason in _WITH_STACKS:
            self._status = -signal.SIGKILL  # it was ours, and it is as good
        if not self._wire_lost and self._transport is not None:
            # Its last words may still be in the socket: end of file comes after them.
            self._timer = loop.call_later(LAST_WORDS_S, self._transport.abort)
        self._bury_if_over()

    def _bury_if_over(self) -> None:
        if self._status is not None and (self._wire_lost or self._transport is None):
            self._disarm()
            status, self._status = self._status, None
            self._apply(self._core.handle(core.Exited(status)))

    def _vacate(self) -> None:
        # Ahead of its burial: tearing down a large process takes milliseconds, and whoever takes
        # its place shall not wait for that.
        if not self._vacated:
            self._vacated = True
            self._listener.vacated(self)

    def _buried(self, effect: Bury) -> None:
        self._vacate()
        if self._transport is not None:
            self._transport.abort()
        self.channel.close()
        self._output.close()
        mark, stacks = self.marked(), self.box.stacks()
        self.box.close()
        reason, detail = effect.reason, effect.detail
        # Known from its group alone: its wire ends first, and SIGKILL is all that its status says.
        if reason is ExitReason.SIGNAL and self._force.premises.ran_out_of_memory(self.number):
            reason, detail = ExitReason.OOM, "ended by the kernel at memory_limit"
        end = Exit(
            reason,
            detail,
            effect.was_ready,
            time.time(),
            self._usage,
            mark,
            stacks,
            mark.connection if mark is not None and mark.is_running else self._blamed[1],
        )
        self._force.clean_up(self, partial(self._report, end))

    def _report(self, end: Exit) -> None:
        self._listener.gone(self, end)
        self._force.forget()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Workforce:
    """All workers of the service, and the zygote that they come from."""

    def __init__(self, premises: Premises) -> None:
        self.numbers = itertools.count(1)
        self.premises = premises
        self.zygote = Zygote(self._answered)
        self.spared: set[int] = set()
        """Children of ours that are no workers and no strays either, by process id."""
        self._workers: dict[int, Worker] = {}
        self._connecting: set[asyncio.Task[object]] = set()
        self._leaving = 0
        self._inherited = (0, 0)
        self._sweeper: asyncio.TimerHandle | None = None
        self._on_empty: Callable[[], None] | None = None

    @property
    def inherited_bytes(self) -> int:
        """Memory that every worker is forked with: the zygote's own."""
        pid = self.zygote.pid
        if pid is not None and pid != self._inherited[0]:
            self._inherited = pid, 0
        if pid is not None and self.zygote.is_warm and not self._inherited[1]:
            self._inherited = pid, _own_bytes(pid)
        return self._inherited[1]

    def start(self) -> None:
        """Start the zygote, and begin to look for strays."""
        self.zygote.start()
        self._sweep()

    def spawn(self, order: Spawn, listener: Listener) -> Worker:
        """Ask for a worker; what becomes of it is told to `listener`."""
        loop = asyncio.get_running_loop()
        channel, their_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        box = BlackBox()
        output, their_output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(their_output, True)
        worker = Worker(order, channel, box, output, self, listener)
        self._workers[order.child] = worker
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        task = loop.create_task(loop.create_unix_connection(lambda: worker, sock=ours))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        task.add_done_callback(lambda made: _let_go(made, ours))
        order = self.premises.furnished(order)
        self.zygote.fork(
            order, (theirs.detach(), their_channel.detach(), *box.copies(), their_output)
        )
        return worker

    async def stop(self, kill_after_s: float) -> None:
        """Wait for the workers, kill those that take longer, then end the zygote."""
        try:
            async with asyncio.timeout(kill_after_s):
                await self._emptied()
        except TimeoutError:
            for worker in list(self._workers.values()):
                worker.kill(ExitReason.DRAIN, "still running when the drain limit was reached")
            await self._emptied()
        self.zygote.stop()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._kill_strays()

    async def _emptied(self) -> None:
        if self._workers or self._leaving:
            empty = asyncio.Event()
            self._on_empty = empty.set
            await empty.wait()

    def clean_up(self, worker: Worker, then: Callable[[], None]) -> None:
        """End what a dead worker left running, remove what it left lying, and call `then`."""
        self._workers.pop(worker.number, None)
        self._kill_strays()
        self._leaving += 1
        self.premises.vacate(worker.number, then)

    def forget(self) -> None:
        """An exit was reported."""
        self._leaving -= 1
        if not self._workers and not self._leaving and self._on_empty is not None:
            self._on_empty()

    def _answered(self, child: int, pid: int, reason: str) -> None:
        self._workers[child].forked(pid, reason)

    def _sweep(self) -> None:
        self._kill_strays()
        self.premises.sweep()
        for worker in list(self._workers.values()):
            if excess := self.premises.excess(worker.number):
                worker.kill(ExitReason.LIMIT, excess)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _kill_strays(self) -> None:
        """End children of ours that no worker is registered for: what workers left behind.

        A process that forks without end is outrun: whoever is killed forks no more, and its
        children become ours at once, so that each round finds fewer of them.
        """
        known = {worker.pid for worker in self._workers.values()} | {self.zygote.pid} | self.spared
        killed = 0
        until = time.monotonic() + STRAYS_S
        while time.monotonic() < until:
            found = [pid for pid in _children() if pid not in known and self._is_stray(pid)]
            if not found:
                break
            for pid in found:
                killed += _end(pid)
        if killed:
            _log.warning("stray_processes_killed", count=killed)

    def _is_stray(self, pid: int) -> bool:
        """Not the worker that the zygote is about to name: that one has a session of its own,
        or is still in the zygote's."""
        if self.zygote.is_answering:
            return True
        try:
            return os.getsid(pid) not in (pid, self.zygote.pid)
        except ProcessLookupError:
            return True


def _let_go(
    made: asyncio.Task[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]], sock: socket.socket
) -> None:
    """Keep a socket from closing its number a second time.

    uvloop ties the socket to its transport only after `connection_made`. One that was aborted by
    then has closed the number already, and the socket would close whatever has that number when
    it is collected: another worker's wire, most likely.
    """
    if not made.cancelled() and made.exception() is None and made.result()[0].is_closing():
        sock.detach()


def _end(pid: int) -> bool:
    """Kill a child and reap it if it is dead by now; whether it was."""
    try:
        os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except (ProcessLookupError, ChildProcessError):
        return False  # reaped by whoever started it


def _own_bytes(pid: int) -> int:
    """Anonymous and shared memory of a process, in bytes; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return 0
    return 1024 * sum(
        int(line.split()[1])
        for line in status.splitlines()
        if line.startswith((b"RssAnon:", b"RssShmem:"))
    )


def _descendants(pid: int) -> int:
    """Processes below `pid`, as far as MAX_PROCESSES."""
    found = todo = _children(pid)
    while todo and len(found) <= MAX_PROCESSES:
        todo = [child for parent in todo for child in _children(parent)]
        found = found + todo
    return len(found)


def _children(pid: int | str = "self") -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:  # it, or a thread of it, has ended; or this kernel does not keep the list
        pass
    return found
