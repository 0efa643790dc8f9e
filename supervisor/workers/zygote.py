"""The supervisor's end of the zygote: asks it for workers, and replaces it when it dies or hangs.

Owns the zygote process and its SEQPACKET channel. Workers outlive their
zygote; what was asked and not answered when it died is reported as failed, and every order is
answered one way or the other: nobody waits for a zygote without limit. Must not know pools, slots
or states of children.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import msgpack
import msgspec
import structlog

from sandbox.protocol import (
    MAX_DATAGRAM,
    FromZygote,
    Spawn,
    Spawned,
    SpawnFailed,
    Warm,
    encode,
)
from supervisor import PACKAGES
from supervisor.core.counted_time import CpuTimes
from supervisor.runtime.descriptors import REFUSED, Reserve
from supervisor.telemetry.unanswered import Unanswered
from supervisor.workers.output import Output, Printed, output_pipe
from supervisor.workers.patience import Patience
from supervisor.workers.resources.priority import as_usual, never_push_in
from supervisor.workers.resources.procfs import cpu_times, is_dying

_log = structlog.get_logger(__name__)

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
#: Seconds between the death of a zygote and the next attempt to start one, doubling up to the last.
_RESTART_FIRST_S, _RESTART_MOST_S = 0.05, 10.0
#: Seconds that a zygote may take for its imports, and then for the answer to one order: of time
#: that counts, and so many at most in all.
WARM_S, WARM_MOST_S = 60.0, 300.0
FORK_S, FORK_MOST_S = 10.0, 60.0
#: Seconds that an order waits for a zygote that can take it: past them it has failed.
ORDER_S = 90.0
#: Seconds between two looks at who has not answered, and before what the kernel would not send is
#: sent again.
LOOK_S, TRY_AGAIN_S = 0.5, 0.05
#: Seconds that the end of the service waits for the end of a zygote that it has killed.
ENDED_S = 1.0

#: What is started as the zygote, by `python -m`.
MODULE = "sandbox.zygote"
#: What a zygote, and so every worker, is started with: nothing of the operator's environment,
#: since a process's environment is readable in /proc for as long as it lives.
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


def become_subreaper() -> None:
    """Have orphaned descendants handed to us: that is how workers become our children."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def hide_memory() -> None:
    """Keep this process's memory and environment from others of the same user, and from core files.

    They hold every secret of the config. Where Landlock is missing, a worker that
    shares our uid could read them in /proc; with this, root alone can. The zygote
    is started with exec and is as open as ever, for the parts that look after workers.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


@dataclass(slots=True)
class _Launched:
    """One zygote."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    output: int


@dataclass(slots=True)
class _Order:
    """It has failed where no zygote has taken it `until` then, by the monotonic clock."""

    spawn: Spawn
    ends: tuple[int, ...]
    until: float


class Zygote:
    """`on_answer(child, pid, reason)` tells what became of each request; pid 0 where it failed.

    It comes in a later turn of the loop than the request.
    """

    def __init__(
        self,
        on_answer: Callable[[int, int, str], None],
        reserve: Reserve,
        unanswered: Unanswered,
        living: Callable[[], Iterable[tuple[int, int]]] = tuple,
    ) -> None:
        """`living` is (process id, own uid or 0) of the workers that there are."""
        self._on_answer = on_answer
        self._unanswered = unanswered
        self._living = living
        self._reserve = reserve
        self._launched: _Launched | None = None
        self._output: Output | None = None
        self._waiting: dict[int, Patience] = {}
        """Orders that it has, and for how long each answer is waited for."""
        self._warming: Patience | None = None
        self._queued: list[_Order] = []
        self._dying: list[subprocess.Popen[bytes]] = []
        self._reaper: int | None = None
        """That of the zygote that there is, once it is warm."""
        self._reapers: set[int] = set()
        """What outlives its zygote, until the last worker of that one is gone."""
        self._warm = False
        self._stopping = False
        self._failures = 0
        self.restarts = 0
        self.last_end = ""
        """Why the last one was replaced, "" where none was."""
        self._died_at: float | None = None
        self._restart: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._try_again: asyncio.TimerHandle | None = None

    def died_within(self, seconds: float) -> bool:
        """Whether a zygote died so lately, or just now, that what ended it may have ended more."""
        # On a machine that is short of CPUs those that were killed together die one by one.
        if self._launched is not None and is_dying(self._launched.process.pid):
            return True
        return self._died_at is not None and time.monotonic() - self._died_at < seconds

    @property
    def pid(self) -> int | None:
        """Process id of the zygote, None while there is none."""
        return None if self._launched is None else self._launched.process.pid

    @property
    def pids(self) -> set[int | None]:
        """Its process id, those of earlier ones that are not reaped yet, and of their reapers."""
        return {self.pid, *(process.pid for process in self._dying), *self._reapers}

    @property
    def is_warm(self) -> bool:
        """It has imported what workers share."""
        return self._warm

    @property
    def is_answering(self) -> bool:
        """No request is unanswered: every child that exists is known."""
        return not self._waiting

    def start(self) -> None:
        """Start the zygote; requests may be made at once and are served when it is warm.

        Raises OSError where it cannot be started.
        """
        launched = self._launched = self._reserve.attempt(partial(_launch, list(self._living())))
        self._output = Output(launched.output, _log_printed)
        self._warming = Patience(WARM_S, self._cpu_times, self._not_warm, most_s=WARM_MOST_S)
        loop = asyncio.get_running_loop()
        loop.add_reader(launched.channel.fileno(), self._readable)
        if self._look is None:
            self._look = loop.call_later(LOOK_S, self._look_at_limits)

    def stop(self) -> None:
        """End the zygote; workers go on, and orders that it has not answered have failed."""
        self._stopping = True
        for timer in (self._restart, self._look, self._try_again):
            if timer is not None:
                timer.cancel()
        self._end()
        for process in self._dying:
            try:
                process.wait(ENDED_S)
            except subprocess.TimeoutExpired:
                _log.error("zygote_does_not_end", pid=process.pid)
        for order in self._queued:
            self._give_up(order, "the service stops")
        loop = asyncio.get_running_loop()
        for child in self._given_up():
            loop.call_soon(self._on_answer, child, 0, "the service stops")
        self._queued = []

    def fork(self, order: Spawn, ends: tuple[int, ...]) -> None:
        """Ask for a worker; takes over and closes `ends`, its own of `protocol.DESCRIPTORS`."""
        self._send(_Order(order, ends, time.monotonic() + ORDER_S))

    def _send(self, order: _Order) -> None:
        launched = self._launched
        if self._stopping:
            self._give_up(order, "the service stops")
            return
        if not self._warm or launched is None:
            self._queued.append(order)
            return
        rights = array.array("i", order.ends)
        try:
            launched.channel.sendmsg(
                [encode(order.spawn)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            )
        except OSError as error:
            if isinstance(error, ConnectionError) or error.errno in REFUSED:
                # It is dying, and another one is started; or there is no room for the moment.
                self._queued.append(order)
                if self._try_again is None:
                    loop = asyncio.get_running_loop()
                    self._try_again = loop.call_later(TRY_AGAIN_S, self._send_queued)
            else:
                self._give_up(order, f"the zygote cannot be asked: {error.strerror}")
            return
        child = order.spawn.child
        self._waiting[child] = Patience(
            FORK_S, self._cpu_times, partial(self._not_answered, child), most_s=FORK_MOST_S
        )
        _close(order.ends)

    def _send_queued(self) -> None:
        self._try_again = None
        queued, self._queued = self._queued, []
        for order in queued:
            self._send(order)

    def _give_up(self, order: _Order, reason: str) -> None:
        _close(order.ends)
        asyncio.get_running_loop().call_soon(self._on_answer, order.spawn.child, 0, reason)

    def _readable(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - the event loop would only log it
            _log.error("zygote_step_failed", exc_info=error)
            self._replace(f"the supervisor failed at its answer: {error}")

    def _read(self) -> None:
        assert self._launched is not None
        while True:
            try:
                data = self._launched.channel.recv(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                self._replace("it closed its channel")
                return
            message: FromZygote = msgspec.convert(msgpack.unpackb(data), FromZygote)
            match message:
                case Warm(reaper=reaper):
                    self._warm, self._failures, self._reaper = True, 0, reaper
                    self._reapers.add(reaper)
                    self._stop_warming()
                case Spawned(child=child, pid=pid):
                    self._answered(child)
                    self._on_answer(child, pid, "")
                case SpawnFailed(child=child, reason=reason):
                    self._answered(child)
                    self._on_answer(child, 0, reason)
        self._send_queued()

    # --- its limits: by time that counts, since it may have no CPU to answer with ---

    def _cpu_times(self) -> CpuTimes:
        return {} if self._launched is None else cpu_times(self._launched.process.pid)

    def _answered(self, child: int) -> None:
        patience = self._waiting.pop(child, None)
        if patience is not None:
            patience.cancel()

    def _stop_warming(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            self._warming = None

    def _not_warm(self) -> None:
        if self._launched is not None:
            self._readable()  # where it was us who were late, its answer is there
        if self._warming is not None:
            self._overdue(f"it has not finished its imports within {WARM_S:g} s")

    def _not_answered(self, child: int) -> None:
        if self._launched is not None:
            self._readable()
        if child in self._waiting:
            self._overdue(f"it has not answered within {FORK_S:g} s")

    def _given_up(self) -> list[int]:
        """What it has not answered, and is not waited for any more."""
        lost, self._waiting = self._waiting, {}
        for patience in lost.values():
            patience.cancel()
        return list(lost)

    # --- its end, and the next one ---

    def _look_at_limits(self) -> None:
        """Replace a zygote without a reaper, and give up what waits for none in vain."""
        now = time.monotonic()
        self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_at_limits)
        self._dying = [process for process in self._dying if process.poll() is None]
        self._reapers = {pid for pid in self._reapers if not _has_ended(pid)}
        if self._reaper is not None and is_dying(self._reaper):
            # Nobody would end what workers have forked, if we died now.
            self._replace("its reaper is dead")
        overdue = [order for order in self._queued if now > order.until]
        self._queued = [order for order in self._queued if now <= order.until]
        for order in overdue:
            self._give_up(order, f"no zygote could take it within {ORDER_S:g} s")

    def _overdue(self, why: str) -> None:
        self._unanswered.tell("zygote", why)
        self._replace(why)

    def _replace(self, why: str) -> None:
        """End this one, whatever it does, and start another; what it had not answered failed."""
        pid, was_warm = self.pid, self._warm
        status = self._end()
        if self._stopping:
            return
        self.restarts += 1
        self._died_at = time.monotonic()
        self.last_end = why if status is None else f"{why}; exit status {status}"
        lost = self._given_up()
        _log.error("zygote_died", pid=pid, reason=self.last_end, unanswered=len(lost))
        self._start_later(at_once=was_warm)
        loop = asyncio.get_running_loop()
        for child in lost:
            loop.call_soon(self._on_answer, child, 0, f"the zygote did not answer: {why}")

    def _end(self) -> int | None:
        """Kill it; its exit status, where it is dead by now."""
        launched, self._launched = self._launched, None
        self._warm, self._reaper = False, None
        self._stop_warming()
        if launched is None:
            return None
        asyncio.get_running_loop().remove_reader(launched.channel.fileno())
        with contextlib.suppress(OSError):  # closing what the peer has closed: nothing to do
            launched.channel.close()
        if self._output is not None:
            self._output.close()
            self._output = None
        status = launched.process.poll()
        if status is None:
            # Not waited for: it may hang in the kernel, and then we would.
            launched.process.kill()
            self._dying.append(launched.process)
        return status

    def _start_later(self, *, at_once: bool) -> None:
        delay = 0.0
        if not at_once:
            self._failures += 1
            delay = min(_RESTART_FIRST_S * 2.0**self._failures, _RESTART_MOST_S)
        self._restart = asyncio.get_running_loop().call_later(delay, self._start_again)

    def _start_again(self) -> None:
        if self._stopping:
            return
        try:
            self.start()
        except OSError as error:
            self.last_end = f"it cannot be started: {error.strerror}"
            _log.error("zygote_not_started", reason=error.strerror)
            self._start_later(at_once=False)


def _has_ended(reaper: int) -> bool:
    """Whether a reaper is gone: it is our child once its zygote is dead, and then reaped here."""
    try:
        return os.waitpid(reaper, os.WNOHANG)[0] == reaper
    except ChildProcessError:
        return not os.path.exists(f"/proc/{reaper}")


def _launch(living: Iterable[tuple[int, int]]) -> _Launched:
    """Start one, and tell it of `living`. Raises OSError, and leaves nothing open then."""
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment["PYTHONPATH"] = str(PACKAGES)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    known = [f"{pid}:{uid}" for pid, uid in living]
    with ExitStack() as made, ExitStack() as theirs:
        ours, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made.callback(ours.close)
        theirs.callback(channel.close)
        ours.setblocking(False)
        output, printed = output_pipe()
        made.callback(os.close, output)
        theirs.callback(os.close, printed)
        # Not asyncio's: its child watcher would reap processes that are ours to reap.
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", MODULE, str(channel.fileno()), *known],
            pass_fds=[channel.fileno()],
            stdin=subprocess.DEVNULL,
            # Not ours: where nobody reads that, the zygote would hang in it.
            stdout=printed,
            stderr=printed,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        made.pop_all()
    as_usual(process.pid)
    never_push_in(process.pid)
    return _Launched(process, ours, output)


def _log_printed(printed: Printed) -> None:
    """What it prints is a bug's traceback, or its last words."""
    for line in printed.lines:
        _log.warning("zygote_printed", text=line)


def _close(ends: Iterable[int]) -> None:
    for end in ends:
        os.close(end)
