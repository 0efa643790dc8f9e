"""One worker process: spoken to over its wire, looked at, ended, reaped.

Carries out what `core/lifecycle/worker_state.py` decides for it. Whatever a worker says is
hostile input: a frame that is none, or too many of them, costs that worker its
life. Must not know queues, leases or outcomes, nor the other workers, which are
`fleet.py`'s: the part that asked for a worker hears of it through `handle.Listener`.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, cast

import structlog

from sandbox.protocol import (
    LAST_STACKS_SIGNAL,
    STACKS_SIGNAL,
    Batch,
    Configure,
    Drain,
    FromWorker,
    FromWorkerChannel,
    Message,
    Pong,
    ProtocolError,
    RawMark,
    Ready,
    Spawn,
    encode,
    evidence_allowance,
    tables_bytes,
)
from supervisor.core.counted_time import CpuTimes
from supervisor.core.effects import Announce, ExitReason, Kill, Reap, SendDrain, Watch
from supervisor.core.lifecycle import worker_state as core
from supervisor.runtime.descriptors import Reserve
from supervisor.workers import stacks
from supervisor.workers.channel import Channel, NoChannel
from supervisor.workers.descendants import Descendants
from supervisor.workers.edge import at_the_edge
from supervisor.workers.ends import Ends
from supervisor.workers.handle import Exit, Listener, Mark
from supervisor.workers.hearing import Hearing
from supervisor.workers.output import Output
from supervisor.workers.patience import Patience
from supervisor.workers.pulse import Pulse
from supervisor.workers.resources import headroom, priority
from supervisor.workers.resources.procfs import (
    cpu_times,
    open_files,
    rss_bytes,
)
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.watched import WatchedProcess

_log = structlog.get_logger(__name__)

#: Seconds that a worker may take from fork to `Ready`: jail and imports.
START_TIMEOUT_S = 30.0
#: Seconds that a dead worker's wire is read on, where somebody still holds its other end.
LAST_WORDS_S = 0.2
#: Most characters of a worker's report on its sandbox layers, which `/status` shows.
MAX_LAYERS_TEXT = 4_000
#: Reasons to kill a worker that leave time to ask it where it stands.
_WITH_STACKS = frozenset({ExitReason.TIMEOUT, ExitReason.OOM, ExitReason.LEAK, ExitReason.LIMIT})


class Fleet(Protocol):
    """Where a worker comes from, and what clears up behind it."""

    resources: WorkerResources
    reserve: Reserve
    serving_niceness: int

    @property
    def inherited_bytes(self) -> int:
        """Memory that every worker is forked with: the zygote's own."""

    def clean_up(self, worker: Worker, then: Callable[[], None]) -> None:
        """End what a dead worker left running, remove what it left lying, and call `then`."""

    def forget(self) -> None:
        """An exit was reported."""


class Worker(asyncio.Protocol):
    """One child process, from the request to its end.

    `ends` is None where they could not be made: it is then told to have `forked` no process.
    """

    def __init__(self, order: Spawn, ends: Ends | None, fleet: Fleet, listener: Listener) -> None:
        self.number = order.child
        self.label = order.label
        self.limits = order.limits
        self.channel: Channel | NoChannel = NoChannel()
        self.marker_page = None if ends is None else ends.marker_page
        self._output: Output | None = None
        if ends is not None:
            self.channel = Channel(
                ends.channel, self._asked, lambda why: self.kill(ExitReason.PROTOCOL, why)
            )
            self._output = Output(ends.output, lambda printed: listener.printed(self, printed))
        self.pid: int | None = None
        self.below = Descendants(lambda: self.pid)
        self.asked_at = time.monotonic()
        self.ready_at: float | None = None
        self._fleet = fleet
        self._listener = listener
        self._core = core.WorkerLifecycle()
        self._hearing = Hearing(
            self._heard, lambda why: self.kill(ExitReason.PROTOCOL, why), self.failed_at
        )
        self._transport: asyncio.Transport | None = None
        self._wire_lost = False
        self._early = b""
        self._vacated = False
        self._pulse = Pulse(self._write)
        self._layers: dict[str, str] = {}
        self._blamed: tuple[str, str | None] = ("", None)
        self.worked: Counter[str] = Counter()
        """Events of each connection in batches that it has ended."""
        self.running: Counter[str] = Counter()
        """Events of each connection in batches that it has."""
        self._connections: list[str] = []
        self._process: WatchedProcess | None = None
        self._status: int | None = None
        self._usage: resource.struct_rusage | None = None
        self._timer: asyncio.TimerHandle | Patience | None = None
        self._niceness_timer: asyncio.TimerHandle | None = None

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
        return 0 if self.pid is None else rss_bytes(self.pid)

    @property
    def private_bytes(self) -> int:
        """Memory that is its own, beyond what it was forked with; 0 where it is not alive.

        Shared memory that it made counts, pages of files do not. What it took over from the
        zygote and has written to since is as good as new, and is missing here.
        """
        if self.pid is None:
            return 0
        files = self._fleet.resources.memory_bytes(self.number)
        limit = self.limits.memory_limit
        copy_bytes = limit + evidence_allowance(limit) + tables_bytes(limit)
        tables = 0 if self.marker_page is None else self.marker_page.tables_bytes
        return files + self.below.memory_bytes(self._fleet.inherited_bytes, tables, copy_bytes)

    def tables(self) -> int | None:
        """A descriptor for `free_tables`; None where it is gone. Raises OSError."""
        return None if self.pid is None or self.marker_page is None else self.marker_page.tables()

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
    def unasked_processes(self) -> int:
        """Processes below it that it was not asked to fork."""
        return self.below.unasked()

    @property
    def open_files(self) -> int | None:
        """How many descriptors it has, by the kernel's count; None where that cannot be had."""
        return None if self.pid is None else open_files(self.pid)

    @property
    def excess(self) -> str:
        """What it has written too much of to its scratch folder; empty where all is well."""
        return "" if self.pid is None else self._fleet.resources.excess(self.number, self.pid)

    @property
    def is_full(self) -> bool:
        """Whether its scratch folder is, as far as the kernel says so by itself."""
        return self._fleet.resources.is_full(self.number)

    def blame(self, detail: str, connection: str | None) -> None:
        """What its certificate is to say where it is retired, and whose name it bears."""
        self._blamed = detail, connection

    @property
    def beats(self) -> int:
        """How often its event loop came round, as its marker page says."""
        return 0 if self.marker_page is None else self.marker_page.beats

    @property
    def cpu_times(self) -> CpuTimes:
        """What its threads had of the CPUs, for time that counts."""
        return {} if self.pid is None else cpu_times(self.pid)

    def marked(self) -> Mark | None:
        """What it is at; after its end, what it was at. None where nothing was marked."""
        return None if self.marker_page is None else self._named(self.marker_page.mark())

    def forked_in(self) -> Mark | None:
        """What it was at when it forked last. None where that was nothing."""
        return None if self.marker_page is None else self._named(self.marker_page.forked())

    def _named(self, raw: RawMark | None) -> Mark | None:
        if raw is None or raw.number > len(self._connections):
            return None
        return Mark(self._connections[raw.number - 1], raw.batch, raw.event, raw.is_running)

    async def take_stacks(self) -> str:
        """Python stacks of all its threads, hung or not; "" where it wrote none in time."""
        if self._process is None or self._process.is_reaped or self.marker_page is None:
            return ""
        self.marker_page.clear_stacks()
        self._process.signal(STACKS_SIGNAL)
        return await stacks.written(self.marker_page, lambda: self.cpu_times)

    def configure(self, connection: str, destination: str, settings: dict[str, Any]) -> None:
        """Tell it the settings of a connection, by which it is known in the page from now on."""
        if connection not in self._connections:
            self._connections.append(connection)
        number = self._connections.index(connection) + 1
        self.send(Configure(connection, destination, settings, number))

    def send(self, message: Message) -> None:
        """Write a frame; silently nothing once it is dying, since its end is heard anyway."""
        self._write(message)
        self._pulse.wrote()

    def _write(self, message: Message) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(message))

    def ask(self) -> int:
        """Ask it over its wire, where nothing is asked yet; how often it has answered so far."""
        return self._pulse.ask()

    def send_batch(self, message: Batch) -> None:
        """Write a batch; the worker may say that much more."""
        self._hearing.given(len(message.events))
        self.send(message)

    def retire(self, reason: ExitReason) -> None:
        """Let it finish what it has and exit."""
        self._apply(self._core.handle(core.RetireAsked(reason, self._blamed[0])))

    def give_way(self) -> None:
        """From now on it has what the others leave of the CPUs."""
        self._set_niceness(priority.BEHIND)

    def come_forward(self) -> None:
        """It has as much of the CPUs as the others, after it has given way while it started."""
        # Its session may be behind where nobody is: the kernel refuses an ordinary user some.
        self._set_niceness(self._fleet.serving_niceness)

    def _set_niceness(self, niceness: int) -> None:
        if self._niceness_timer is not None:
            self._niceness_timer.cancel()
            self._niceness_timer = None
        if self._process is None or self._process.is_reaped or self.pid is None:
            return
        try:
            is_set = self._fleet.resources.set_niceness(self.number, self.pid, niceness)
        except OSError as error:  # it is dead, or its uid is another and we lack CAP_SYS_NICE
            _log.info("worker_keeps_priority", worker=self.label, reason=error.strerror)
            return
        if not is_set:
            loop = asyncio.get_running_loop()
            self._niceness_timer = loop.call_later(priority.AGAIN_S, self._set_niceness, niceness)

    def kill(self, reason: ExitReason, detail: str) -> None:
        """SIGKILL it; after nonsense nothing that it says counts any more."""
        if reason is ExitReason.PROTOCOL:
            self._hearing.close()
        self._apply(self._core.handle(core.KillAsked(reason, detail)))

    def kill_late(self, detail: str) -> None:
        """SIGKILL it, which was told to exit and has nothing left to do."""
        self._apply(self._core.handle(core.DrainOverdue(detail)))

    # --- facts, from the fleet that had it forked ---

    @at_the_edge
    def forked(self, pid: int, reason: str) -> None:
        """The zygote's answer: its pid, or 0 and the reason why there is none."""
        if pid:
            self._apply(self._core.handle(core.Forked(pid)))
        else:
            self._apply(self._core.handle(core.ForkFailed(reason)))

    def failed_at(self, step: str, error: Exception) -> None:
        """Something of ours raised while it handled this worker, which may be half done: it goes.

        Nobody is charged for that.
        """
        _log.error("worker_step_failed", worker=self.label, step=step, exc_info=error)
        try:
            self.kill(ExitReason.RECYCLE, f"the supervisor failed at it: {step}: {error}")
        except Exception as again:  # noqa: BLE001 - the same bug: its process goes all the same
            _log.error("worker_step_failed", worker=self.label, step="kill", exc_info=again)
            if self._process is not None:
                self._process.kill()

    # --- wire ---

    @at_the_edge
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # cast: uvloop's transports have the methods of asyncio.Transport, but are none by class.
        self._transport = cast(asyncio.Transport, transport)
        self._hearing.begin(self._transport)
        self._pulse.wire = transport.get_extra_info("socket")
        if self._core.state is core.ProcessState.GONE:
            self._transport.abort()

    @at_the_edge
    def data_received(self, data: bytes) -> None:
        if self._core.state in (core.ProcessState.FORKING, core.ProcessState.DOOMED):
            # A quick worker speaks before the zygote has said that there is one.
            self._early += data
            return
        self._hearing.take(data)

    def _heard(self, message: FromWorker) -> None:
        if isinstance(message, Ready):
            self._became_ready(message)
        elif isinstance(message, Pong):
            self._pulse.heard(message.id)
        else:
            self._listener.said(self, message)

    @at_the_edge
    def _asked(self, message: FromWorkerChannel) -> None:
        if self._core.state in (core.ProcessState.READY, core.ProcessState.DRAINING):
            self._listener.asked(self, message)
        elif self._core.state is core.ProcessState.STARTING:
            raise ProtocolError("it asks for connections before it is ready")

    @at_the_edge
    def eof_received(self) -> None:
        # One turn of the loop ahead of connection_lost, and its successor can begin.
        self._wire_closed()

    @at_the_edge
    def connection_lost(self, exc: Exception | None) -> None:
        self._hearing.finish()
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
        process, page = self._process, self.marker_page
        if process is None:
            return
        if self._core.reason is ExitReason.LIMIT:
            self.below.end()  # they have no stacks to write, and may hold what it was ended for
        if self._core.reason in _WITH_STACKS and page is not None:
            page.clear_stacks()
            process.signal(LAST_STACKS_SIGNAL)
            self._timer = stacks.limit(lambda: self.cpu_times, process.kill)
        else:
            process.kill()

    def _watch(self, pid: int) -> None:
        self.pid = pid
        self._process = WatchedProcess(pid, self._reaped)
        if refused := self._process.watch(self._fleet.reserve):
            self.kill(ExitReason.LIMIT, refused)
            return
        self.channel.open()
        self._timer = Patience(START_TIMEOUT_S, lambda: self.cpu_times, self._start_timed_out)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    @at_the_edge
    def _start_timed_out(self) -> None:
        self.kill(ExitReason.TIMEOUT, f"not ready {START_TIMEOUT_S:g} s after it was forked")

    @at_the_edge
    def _reaped(self, status: int, usage: resource.struct_rusage | None) -> None:
        self._disarm()
        self._status, self._usage = status, usage
        if self._status == -LAST_STACKS_SIGNAL and self._core.reason in _WITH_STACKS:
            self._status = -signal.SIGKILL  # it was ours, and it is as good
        if not self._wire_lost and self._transport is not None:
            # Its last words may still be in the socket: end of file comes after them.
            loop = asyncio.get_running_loop()
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
        self._hearing.close()
        self.channel.close()
        if self._output is not None:
            self._output.close()
        mark, stacks = self.marked(), ""
        if self.marker_page is not None:
            stacks = self.marker_page.stacks()
            self.marker_page.close()
        reason, detail = effect.reason, effect.detail
        # Known from its group alone: its wire ends first, and SIGKILL is all that its status says.
        if reason is ExitReason.SIGNAL and self._fleet.resources.ran_out_of_memory(self.number):
            reason, detail = ExitReason.OOM, "ended by the kernel at memory_limit"
        why, connection = self._blamed
        # Where it was judged from outside, what is in the page at the end says nothing of it.
        is_judged = bool(why) and (
            reason in (ExitReason.LEAK, ExitReason.LIMIT)
            or (reason is ExitReason.OOM and why == detail)
        )
        if is_judged and mark is not None and mark.connection != connection:
            mark = None
        if mark is not None and mark.is_running and not is_judged:
            connection = mark.connection
        is_anybodys = is_judged and connection is None
        was_ready, at, usage = effect.was_ready, time.time(), self._usage
        end = Exit(reason, detail, was_ready, at, usage, mark, stacks, connection, is_anybodys)
        self._fleet.clean_up(self, partial(self._report, end))

    def _report(self, end: Exit) -> None:
        self._listener.gone(self, end)
        self._fleet.forget()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
