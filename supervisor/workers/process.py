"""One worker process: spoken to over its wire, looked at, ended, reaped.

Carries out what `core/lifecycle/worker_state.py` decides for it. Whatever a worker says is
hostile input: a frame that is none, or too many of them, costs that worker its
life. Must not know queues, leases or outcomes, nor the other workers, which are
`fleet.py`'s: the part that asked for a worker hears of it through `handle.Listener`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
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
from supervisor.core.effects import Announce, ExitReason, Kill, Reap, SendDrain, Watch
from supervisor.core.lifecycle import worker_state as core
from supervisor.core.lifecycle.wire_budget import WireBudget
from supervisor.workers.channel import Channel
from supervisor.workers.handle import Exit, Listener, Mark
from supervisor.workers.marker_page import MarkerPage
from supervisor.workers.output import Output
from supervisor.workers.resources import headroom
from supervisor.workers.resources.procfs import descendants, own_bytes
from supervisor.workers.resources.provision import WorkerResources

_log = structlog.get_logger(__name__)

#: Seconds that a worker may take from fork to `Ready`: jail and imports.
START_TIMEOUT_S = 30.0
#: Seconds that a dead worker's wire is read on, where somebody still holds its other end.
LAST_WORDS_S = 0.2
#: Niceness of a worker whose connection may misbehave, that starts, or is dead with what it forked:
#: a tenth of what others get.
NICE = 10
#: Most characters of a worker's report on its sandbox layers, which `/status` shows.
MAX_LAYERS_TEXT = 4_000
#: Processes that a worker may have beside itself: copies that write a snapshot, and a few.
MAX_PROCESSES = 16
#: Seconds that a worker may take to write its stacks and end, before it is killed without them.
STACKS_S = 0.5
#: Seconds between two looks at stacks that are being written.
STACKS_LOOK_S = 0.005
#: Reasons to kill a worker that leave time to ask it where it stands.
_WITH_STACKS = frozenset({ExitReason.TIMEOUT, ExitReason.OOM, ExitReason.LEAK, ExitReason.LIMIT})
_PAGE_BYTES = resource.getpagesize()


class Fleet(Protocol):
    """Where a worker comes from, and what clears up behind it."""

    resources: WorkerResources
    can_hasten: bool

    @property
    def inherited_bytes(self) -> int:
        """Memory that every worker is forked with: the zygote's own."""

    def clean_up(self, worker: Worker, then: Callable[[], None]) -> None:
        """End what a dead worker left running, remove what it left lying, and call `then`."""

    def forget(self) -> None:
        """An exit was reported."""


class Worker(asyncio.Protocol):
    """One child process, from the request to its end."""

    def __init__(
        self,
        order: Spawn,
        channel: socket.socket,
        marker_page: MarkerPage,
        output: int,
        fleet: Fleet,
        listener: Listener,
    ) -> None:
        self.number = order.child
        self.label = order.label
        self.limits = order.limits
        self.channel = Channel(
            channel, self._asked, lambda why: self.kill(ExitReason.PROTOCOL, why)
        )
        self.marker_page = marker_page
        self._output = Output(output, lambda printed: listener.printed(self, printed))
        self.pid: int | None = None
        self.asked_at = time.monotonic()
        self.ready_at: float | None = None
        self._fleet = fleet
        self._listener = listener
        self._core = core.WorkerLifecycle()
        self._frames = FrameReader(FromWorker, MAX_FRAME_FROM_WORKER)
        self._transport: asyncio.Transport | None = None
        self._wire_lost = False
        self._early = b""
        self._vacated = False
        self._wire_budget = WireBudget()
        self._layers: dict[str, str] = {}
        self._blamed: tuple[str, str | None] = ("", None)
        self.worked: Counter[str] = Counter()
        """Events of each connection in batches that it has ended."""
        self.running: Counter[str] = Counter()
        """Events of each connection in batches that it has."""
        self._connections: list[str] = []
        self._pidfd: int | None = None
        self._status: int | None = None
        self._usage: resource.struct_rusage | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def state(self) -> core.ProcessState:
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
        return max(0, own_bytes(self.pid) - self._fleet.inherited_bytes)

    @property
    def headroom(self) -> headroom.Headroom:
        """How near it is to its limits of memory."""
        return headroom.Headroom.SOME if self.pid is None else headroom.of(self.pid)

    def raise_soft_limit(self) -> bool:
        """Let it go on beyond its soft limit, so that it can say that it met it; whether we may.

        It does the same by itself, where it still can.
        """
        return self.pid is not None and headroom.raise_soft_limit(self.pid)

    @property
    def descendants(self) -> int:
        """Processes that it has forked and that live, with theirs."""
        return 0 if self.pid is None else descendants(self.pid, MAX_PROCESSES)

    @property
    def excess(self) -> str:
        """What it has written too much of to its scratch folder; empty where all is well."""
        return self._fleet.resources.excess(self.number)

    def blame(self, detail: str, connection: str | None) -> None:
        """What its certificate is to say where it is retired, and whose name it bears."""
        self._blamed = detail, connection

    @property
    def beats(self) -> int:
        """How often its event loop came round, as its marker page says."""
        return self.marker_page.beats

    @property
    def waited_s(self) -> float:
        """Seconds that its main thread was ready to run and had no CPU; 0 where nobody counts."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_bytes().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):  # it is gone, or the kernel does not count
            return 0.0

    def marked(self) -> Mark | None:
        """What it is at; after its end, what it was at. None where nothing was marked."""
        raw = self.marker_page.mark()
        if raw is None or raw.number > len(self._connections):
            return None
        return Mark(self._connections[raw.number - 1], raw.batch, raw.event, raw.is_running)

    async def take_stacks(self) -> str:
        """Python stacks of all its threads, hung or not; "" where it wrote none in STACKS_S."""
        if self._pidfd is None:
            return ""
        self.marker_page.clear_stacks()
        signal.pidfd_send_signal(self._pidfd, STACKS_SIGNAL)
        until = time.monotonic() + STACKS_S
        size = 0
        while time.monotonic() < until:
            await asyncio.sleep(STACKS_LOOK_S)
            # faulthandler does not say when it is done: it is when nothing is added any more.
            size, before = self.marker_page.stacks_bytes, size
            if size and size == before:
                break
        return self.marker_page.stacks()

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
        self._wire_budget.given(len(message.events))
        self.send(message)

    def retire(self, reason: ExitReason) -> None:
        """Let it finish what it has and exit."""
        self._apply(self._core.handle(core.RetireAsked(reason, self._blamed[0])))

    def give_way(self) -> None:
        """From now on it has what the others leave of the CPUs."""
        self._set_niceness(NICE)

    def come_forward(self) -> None:
        """It has as much of the CPUs as the others, after it has given way while it started."""
        if self._fleet.can_hasten:
            self._set_niceness(0)

    def _set_niceness(self, niceness: int) -> None:
        if not self.pid:
            return
        try:
            # It leads a process group: all its threads, and whatever it forks.
            os.setpriority(os.PRIO_PGRP, self.pid, niceness)
        except OSError as error:  # it is dead, or its uid is another and we lack CAP_SYS_NICE
            _log.info("worker_keeps_priority", worker=self.label, reason=error.strerror)

    def kill(self, reason: ExitReason, detail: str) -> None:
        """SIGKILL it."""
        self._apply(self._core.handle(core.KillAsked(reason, detail)))

    def kill_late(self, detail: str) -> None:
        """SIGKILL it, which was told to exit and has nothing left to do."""
        self._apply(self._core.handle(core.DrainOverdue(detail)))

    # --- facts, from the fleet that had it forked ---

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
        if self._core.state is core.ProcessState.GONE:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if (
            self._core.state is core.ProcessState.KILLED
            and self._core.reason is ExitReason.PROTOCOL
        ):
            return  # nothing that it says counts any more
        if self._core.state in (core.ProcessState.FORKING, core.ProcessState.DOOMED):
            # A quick worker speaks before the zygote has said that there is one.
            self._early += data
            return
        try:
            messages = self._frames.feed(data)
            if not self._wire_budget.said(len(data), len(messages), time.monotonic()):
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
        if self._core.state in (core.ProcessState.READY, core.ProcessState.DRAINING):
            self._listener.asked(self, message)
        elif self._core.state is core.ProcessState.STARTING:
            raise ProtocolError("it asks for connections before it is ready")

    def eof_received(self) -> None:
        # One turn of the loop ahead of connection_lost, and its successor can begin.
        self._wire_closed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire_lost = True
        self._wire_closed()
        self._bury_if_over()

    def _wire_closed(self) -> None:
        if self._status is None and self._core.state is not core.ProcessState.GONE:
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
                case Reap():
                    self._buried(effect)

    def _end(self) -> None:
        """SIGKILL; where there is time, ask it first to write its stacks and end by itself."""
        if self._pidfd is None:
            return
        if self._core.reason in _WITH_STACKS:
            self.marker_page.clear_stacks()
            signal.pidfd_send_signal(self._pidfd, LAST_STACKS_SIGNAL)
            self._timer = asyncio.get_running_loop().call_later(STACKS_S, self._kill_now)
        else:
            self._kill_now()

    def _kill_now(self) -> None:
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            self._kill_group(is_dead=False)  # what it has forked shall not fork on

    def _kill_group(self, *, is_dead: bool) -> None:
        """End what it has forked. It is not reaped yet, so that its number is its own."""
        assert self.pid is not None
        try:
            if is_dead:
                # To tear down processes takes the CPU milliseconds each.
                os.setpriority(os.PRIO_PGRP, self.pid, NICE)
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # it had left the group, or is another uid's: those are found as strays

    def _watch(self, pid: int) -> None:
        # Nobody but us reaps it, so the number cannot have been given away since.
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        if self._fleet.can_hasten:
            self.give_way()
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
        self._kill_group(is_dead=True)
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
        # Ahead of its end on record: tearing down a large process takes milliseconds, and its
        # successor shall not wait for that.
        if not self._vacated:
            self._vacated = True
            self._listener.vacated(self)

    def _buried(self, effect: Reap) -> None:
        self._vacate()
        if self._transport is not None:
            self._transport.abort()
        self.channel.close()
        self._output.close()
        mark, stacks = self.marked(), self.marker_page.stacks()
        self.marker_page.close()
        reason, detail = effect.reason, effect.detail
        # Known from its group alone: its wire ends first, and SIGKILL is all that its status says.
        if reason is ExitReason.SIGNAL and self._fleet.resources.ran_out_of_memory(self.number):
            reason, detail = ExitReason.OOM, "ended by the kernel at memory_limit"
        connection = self._blamed[1]
        # A leak was measured from outside; what is in the page at the end says nothing of it.
        if mark is not None and mark.is_running and reason is not ExitReason.LEAK:
            connection = mark.connection
        end = Exit(
            reason,
            detail,
            effect.was_ready,
            time.time(),
            self._usage,
            mark,
            stacks,
            connection,
        )
        self._fleet.clean_up(self, partial(self._report, end))

    def _report(self, end: Exit) -> None:
        self._listener.gone(self, end)
        self._fleet.forget()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
