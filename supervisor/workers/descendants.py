"""What runs below one worker: copies that it was asked for, and whatever else it has forked.

Owns the count of both, the memory of all, and the end of what nobody asked for. A worker is
measured with its descendants, since none of them counts into a limit of its own; a fork that we did
not ask for is ended as soon as it is seen. Must not know what a copy is for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from supervisor.workers.resources.procfs import descendants, family_bytes, own_bytes
from supervisor.workers.resources.provision import MAX_PROCESSES

#: Seconds that a copy of a large worker may take to end, once it has written all: it stands behind
#: all others for the CPUs.
LEAVING_S = 60.0


class Descendants:
    """Those of the worker whose process id `leader` says; None where it has none."""

    def __init__(self, leader: Callable[[], int | None]) -> None:
        self._leader = leader
        self._copies: dict[int, int | None] = {}
        self._leaving: dict[int, float] = {}
        """Copies that have written all, and until when each may take to free its memory."""
        self._in_use: set[int] = set()
        """Copies whose tables may still have memory."""
        self._orphans = 0
        self._seen: list[int] = []

    def expect(self, request: int) -> None:
        """It is about to be asked for a copy: one process more is no surprise."""
        self._copies[request] = None
        self._in_use.add(request)

    def freed(self, request: int) -> None:
        """What the tables of that copy had is the machine's again, or that failed."""
        self._in_use.discard(request)

    def started(self, request: int, pid: int) -> None:
        """The copy that was expected has this process id."""
        if request in self._copies:
            self._copies[request] = pid

    def ended(self, request: int) -> None:
        """That copy has written all and ends, or there was none."""
        pid = self._copies.pop(request, None)
        if pid is not None:
            self._leaving[pid] = time.monotonic() + LEAVING_S

    def orphaned(self, count: int) -> None:
        """So many processes of its session were found that had lost their parent, and ended."""
        self._orphans += count

    def unasked(self) -> int:
        """How many there are, or were, that nobody asked for."""
        leader = self._leader()
        if leader is None:
            return 0
        self._seen = descendants(leader, MAX_PROCESSES)
        if not self._seen:
            return self._orphans
        now = time.monotonic()
        self._leaving = {
            pid: until for pid, until in self._leaving.items() if pid in self._seen and now < until
        }
        others = set(self._seen) - set(self._copies.values()) - self._leaving.keys()
        expected = sum(pid is None for pid in self._copies.values())
        return max(0, len(others) - expected) + self._orphans

    def memory_bytes(self, inherited_bytes: int, tables_bytes: int, copy_bytes: int) -> int:
        """Anonymous and shared memory of the worker and all below it, beyond what it was forked
        with; what several of them share counts once, and what is to be seen by `unasked` counts.

        `tables_bytes` are in use for tables of snapshots, mapped or not: they count, too. While a
        copy that it was asked for is at work, `copy_bytes` more in all are no doing of the
        worker's: to look at an object un-shares its page, so that a copy comes to have as much
        again as its worker, beside its tables.
        """
        leader = self._leader()
        if leader is None:
            return 0
        own = max(0, own_bytes(leader) - inherited_bytes)
        together = family_bytes([leader, *self._seen]) if self._seen else own
        if self._in_use or self._leaving:
            return max(own, together - copy_bytes)
        return together + tables_bytes

    def end(self) -> None:
        """SIGKILL all that nobody asked for."""
        leader = self._leader()
        if leader is None:
            return
        copies = {*self._copies.values(), *self._leaving}
        for pid in descendants(leader, MAX_PROCESSES):
            if pid not in copies:
                _kill(pid, leader)


def _kill(pid: int, leader: int) -> None:
    """Not where its number may be another's by now: it is held before it is looked at."""
    with contextlib.suppress(OSError):
        held = os.pidfd_open(pid)
        try:
            if pid in descendants(leader, MAX_PROCESSES):
                signal.pidfd_send_signal(held, signal.SIGKILL)
        finally:
            os.close(held)
