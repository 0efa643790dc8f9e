"""A service manager for services under test: systemd's end of the notifications, and its watchdog.

Owns what each process says and when, and the judgement over it: what systemd would have ended,
and what it was told out of turn. Beside it, how a service answers while something goes on. Must not
know what is wrong around a service.
"""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from tests.harness.waiting import INTERVAL_S

#: What WatchdogSec= would say, in seconds: a service pings twice as often.
WATCHDOG_S = 3.0
#: Longest time for which the event loop of the supervisor may be at one thing, in seconds, with
#: other work on both CPUs. A frame or line that is handled for each that comes takes seconds.
MOST_LAG_S = 0.75
_CREDENTIALS = struct.Struct("3i")
_numbers = itertools.count()
#: Which state may follow which; a process begins with none.
_NEXT = {
    "": {"READY=1", "STOPPING=1"},
    "READY=1": {"RELOADING=1", "STOPPING=1"},
    "RELOADING=1": {"READY=1", "STOPPING=1"},
    "STOPPING=1": set(),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One datagram: when it came, by `time.monotonic`, from whom, and its lines."""

    at: float
    pid: int
    lines: tuple[str, ...]


class ServiceManager:
    """Hears all services that are started with its `environment`; a context manager."""

    def __init__(self, watchdog_s: float = WATCHDOG_S) -> None:
        name = f"bulkhead-test-{os.getpid()}-{next(_numbers)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{name}")
        self._socket.settimeout(0.2)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._hear)
        self._watchdog_s = watchdog_s
        self._ends: dict[int, float] = {}
        self.notices: list[Notice] = []
        self.environment: Mapping[str, str] = {
            "NOTIFY_SOCKET": f"@{name}",
            "WATCHDOG_USEC": str(int(watchdog_s * 1e6)),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._socket.close()

    def states(self, pid: int) -> list[str]:
        """What a process has said that it is, in turn."""
        said = [notice.lines[0] for notice in self.notices if notice.pid == pid]
        return [line for line in said if line in _NEXT]

    def faults(self) -> list[str]:
        """What systemd would have minded, of all processes by now, to the end of each."""
        now = time.monotonic()
        return [
            f"{pid}: {fault}"
            for pid in sorted({notice.pid for notice in self.notices})
            for fault in (*self._out_of_turn(pid), *self._silent(pid, now))
        ]

    def _out_of_turn(self, pid: int) -> Iterator[str]:
        for before, after in itertools.pairwise(["", *self.states(pid)]):
            if after not in _NEXT[before]:
                yield f"{after} after {before or 'nothing'}"
        for notice in self.notices:
            has_time = any(line.startswith("MONOTONIC_USEC=") for line in notice.lines)
            if notice.pid == pid and notice.lines[0] == "RELOADING=1" and not has_time:
                yield "RELOADING=1 without its time"

    def _silent(self, pid: int, now: float) -> Iterator[str]:
        """Times without a ping in which the watchdog bites: it wakes with the first READY=1."""
        notices = [notice for notice in self.notices if notice.pid == pid]
        ready = [notice.at for notice in notices if "READY=1" in notice.lines]
        if not ready:
            return
        pings = [notice.at for notice in notices if "WATCHDOG=1" in notice.lines]
        end = self._ends.get(pid, now)
        for before, after in itertools.pairwise([ready[0], *pings, max(end, ready[0])]):
            if after - before > self._watchdog_s:
                yield f"no ping for {after - before:.1f} s, {before - ready[0]:.1f} s after READY=1"

    def _hear(self) -> None:
        while not self._is_over.is_set():
            for pid in {notice.pid for notice in self.notices} - self._ends.keys():
                if not os.path.exists(f"/proc/{pid}"):
                    self._ends[pid] = time.monotonic()
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    4096, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
            except TimeoutError:
                continue
            pid = next(
                (
                    _CREDENTIALS.unpack(content)[0]
                    for level, kind, content in ancillary
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
                ),
                -1,
            )
            self.notices.append(Notice(time.monotonic(), pid, tuple(data.decode().split("\n"))))


@dataclass
class Answers:
    """What a service answered to one question asked over and over, each on a connection kept."""

    seconds: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)


@contextmanager
def asked_all_the_while(port: int, path: str = "/health") -> Iterator[Answers]:
    """Ask, one question after the other, for as long as this lasts."""
    answers = Answers()
    is_over = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not is_over.wait(INTERVAL_S):
            began = time.monotonic()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            answers.seconds.append(time.monotonic() - began)
            answers.statuses.add(answer.status)
        connection.close()

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield answers
    finally:
        is_over.set()
        asker.join()
