"""The supervisor's end of the zygote: asks it for workers, and replaces it when it dies.

Owns the zygote process and its SEQPACKET channel. Workers outlive their
zygote; what was asked and not answered when it died is reported as failed.
Must not know pools, slots or states of children.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

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

_log = structlog.get_logger(__name__)

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
#: Seconds between the death of a zygote and the next attempt to start one, doubling up to the last.
_RESTART_FIRST_S, _RESTART_MOST_S = 0.05, 10.0

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


class Zygote:
    """`on_answer(child, pid, reason)` tells what became of each request; pid 0 where it failed."""

    def __init__(self, on_answer: Callable[[int, int, str], None]) -> None:
        self._on_answer = on_answer
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._waiting: dict[int, None] = {}
        self._queued: list[tuple[Spawn, tuple[int, ...]]] = []
        self._warm = False
        self._stopping = False
        self._failures = 0
        self.restarts = 0
        self._died_at: float | None = None

    def died_within(self, seconds: float) -> bool:
        """Whether a zygote died so lately, or just now, that what ended it may have ended more."""
        if self._process is not None and self._process.poll() is not None:
            return True
        return self._died_at is not None and time.monotonic() - self._died_at < seconds

    @property
    def pid(self) -> int | None:
        """Process id of the zygote, None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def is_warm(self) -> bool:
        """It has imported what workers share."""
        return self._warm

    @property
    def is_answering(self) -> bool:
        """No request is unanswered: every child that exists is known."""
        return not self._waiting

    def start(self) -> None:
        """Start the zygote; requests may be made at once and are served when it is warm."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = str(PACKAGES)
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        with theirs:
            # Not asyncio's: its child watcher would reap processes that are ours to reap.
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        self._channel = ours
        self._warm = False
        asyncio.get_running_loop().add_reader(ours.fileno(), self._readable)

    def stop(self) -> None:
        """End the zygote; workers go on."""
        self._stopping = True
        self._hang_up()
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        for _, ends in self._queued:
            _close(ends)
        self._queued.clear()

    def fork(self, order: Spawn, ends: tuple[int, ...]) -> None:
        """Ask for a worker; takes over and closes `ends`, its own of `protocol.DESCRIPTORS`."""
        if not self._warm or self._channel is None:
            self._queued.append((order, ends))
            return
        descriptors = array.array("i", ends)
        try:
            self._channel.sendmsg(
                [encode(order)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
            )
        except BlockingIOError:
            self._queued.append((order, ends))  # sent with the next answer that it gives
            return
        except OSError:
            # It is dying: the end of its channel, read next, starts another one.
            self._queued.append((order, ends))
            return
        self._waiting[order.child] = None
        _close(ends)

    def _readable(self) -> None:
        assert self._channel is not None
        while True:
            try:
                data = self._channel.recv(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                self._died()
                return
            message: FromZygote = msgspec.convert(msgpack.unpackb(data), FromZygote)
            match message:
                case Warm():
                    self._warm, self._failures = True, 0
                case Spawned(child=child, pid=pid):
                    self._waiting.pop(child, None)
                    self._on_answer(child, pid, "")
                case SpawnFailed(child=child, reason=reason):
                    self._waiting.pop(child, None)
                    self._on_answer(child, 0, reason)
        queued, self._queued = self._queued, []
        for order, ends in queued:
            self.fork(order, ends)

    def _died(self) -> None:
        self._hang_up()
        status = None
        if self._process is not None:
            self._process.kill()  # it closed its channel: whatever it is doing, it is of no use
            status = self._process.wait()
            self._process = None
        if self._stopping:
            return
        self.restarts += 1
        self._died_at = time.monotonic()
        _log.error("zygote_died", status=status, unanswered=len(self._waiting))
        lost, self._waiting = list(self._waiting), {}
        delay = 0.0
        if not self._warm:
            self._failures += 1
            delay = min(_RESTART_FIRST_S * 2.0**self._failures, _RESTART_MOST_S)
        asyncio.get_running_loop().call_later(delay, self._restart)
        for child in lost:
            self._on_answer(child, 0, "the zygote died before it answered")

    def _restart(self) -> None:
        if not self._stopping:
            self.start()

    def _hang_up(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            with contextlib.suppress(OSError):  # closing what the peer has closed: nothing to do
                self._channel.close()
            self._channel = None


def _close(ends: Iterable[int]) -> None:
    for end in ends:
        os.close(end)
