"""All worker processes of the service, and the zygote that they are forked from.

Owns every child process: has workers forked, buries them, and ends those that nobody is
registered for. What one worker says and how it ends is `process.py`'s. Must not know
pools, queues or batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import structlog

from sandbox.protocol import Spawn, tables_bytes
from supervisor.core.effects import ExitReason
from supervisor.runtime.descriptors import Reserve
from supervisor.telemetry.unanswered import Unanswered
from supervisor.workers.ends import Ends
from supervisor.workers.handle import Listener
from supervisor.workers.process import Worker
from supervisor.workers.resources.priority import BEHIND, SERVING, YIELDING, come_first
from supervisor.workers.resources.procfs import adopted, can_hasten, children, end, own_bytes
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.zygote import Zygote

_log = structlog.get_logger(__name__)

#: Seconds between two looks for processes that nobody knows.
SWEEP_S = 1.0
#: Seconds between two looks for what workers have forked and orphaned: it is ours then.
ORPHANS_S = 0.02
#: Rounds of ending what a worker has left before its exit is reported, and seconds between two:
#: what is left then dies in the next look.
ROUNDS, ROUND_S = 20, 0.005
#: Seconds that workers which were killed may take to end when the service stops.
KILLED_S = 3.0


class WorkerFleet:
    """All workers of the service, and the zygote that they come from."""

    def __init__(self, resources: WorkerResources) -> None:
        self.numbers = itertools.count(1)
        self.resources = resources
        self.can_hasten = can_hasten()
        self.serving_niceness = YIELDING
        """That of workers which serve, where we may say; others keep what they start with."""
        self.reserve = Reserve()
        self.unanswered = Unanswered()
        self.zygote = Zygote(self._answered, self.reserve, self.unanswered, self._living)
        self.spared: set[int] = set()
        """Children of ours that are no workers and no strays either, by process id."""
        self._workers: dict[int, Worker] = {}
        self._connecting: set[asyncio.Task[object]] = set()
        self._exceeding: set[int] = set()
        self._leaving = 0
        self._inherited = (0, 0)
        self._sweeper: asyncio.TimerHandle | None = None
        self._orphans: asyncio.TimerHandle | None = None
        self._on_empty: Callable[[], None] | None = None

    @property
    def inherited_bytes(self) -> int:
        """Memory that every worker is forked with: the zygote's own."""
        pid = self.zygote.pid
        if pid is not None and pid != self._inherited[0]:
            self._inherited = pid, 0
        if pid is not None and self.zygote.is_warm and not self._inherited[1]:
            self._inherited = pid, own_bytes(pid)
        return self._inherited[1]

    def come_first(self) -> None:
        """This process serves: it is not to be one among many busy workers."""
        # Where each worker has a control group of its own, those are what is weighed.
        if self.resources.cgroups.node is None and come_first():
            self.serving_niceness = SERVING

    def start(self) -> None:
        """Start the zygote, and begin to look for strays."""
        self.zygote.start()
        self._sweep()
        self._look_for_orphans()

    def spawn(self, order: Spawn, listener: Listener) -> Worker:
        """Ask for a worker; what becomes of it is told to `listener`, in a later turn of the loop.

        Raises nothing: what the kernel refuses on the way is as good as a fork that failed.
        """
        loop = asyncio.get_running_loop()
        ends: Ends | None = None
        given: tuple[int, ...] = ()
        refused = ""
        try:
            ends = self.reserve.attempt(partial(Ends.make, tables_bytes(order.limits.memory_limit)))
            order = self.reserve.attempt(partial(self.resources.provisioned, order))
            given = self.reserve.attempt(partial(self.resources.descriptors, order.child))
        except OSError as error:
            refused = f"nothing to fork it with: {error.strerror}"
            if ends is not None:
                ends.close()
                ends = None
        worker = Worker(order, ends, self, listener)
        self._workers[order.child] = worker
        if ends is None:
            loop.call_soon(self._answered, order.child, 0, refused)
            return worker
        wire = ends.wire
        task = loop.create_task(loop.create_unix_connection(lambda: worker, sock=wire))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        task.add_done_callback(lambda made: _let_go(made, wire, worker))
        order = msgspec.structs.replace(order, niceness=BEHIND if self.can_hasten else YIELDING)
        self.zygote.fork(order, (*ends.theirs, *given))
        return worker

    async def stop(self, kill_after_s: float) -> None:
        """Wait for the workers, kill those that take longer, then end the zygote."""
        try:
            async with asyncio.timeout(kill_after_s):
                await self._emptied()
        except TimeoutError:
            for worker in list(self._workers.values()):
                worker.kill(ExitReason.DRAIN, "still running when the drain limit was reached")
        # What it has not answered is given up: a zygote that hangs keeps nobody.
        self.zygote.stop()
        try:
            async with asyncio.timeout(KILLED_S):
                await self._emptied()
        except TimeoutError:
            left = [f"{worker.label} (pid {worker.pid})" for worker in self._workers.values()]
            _log.error("workers_do_not_end", workers=left, limit_s=KILLED_S)
        for timer in (self._sweeper, self._orphans):
            if timer is not None:
                timer.cancel()
        ended = asyncio.Event()
        self._end_strays(ROUNDS, ended.set)
        await ended.wait()
        self.reserve.close()

    def pids(self) -> set[int]:
        """All children that are known, for another thread to end where this one hangs."""
        found = {worker.pid for worker in list(self._workers.values())}
        return {pid for pid in found | self.zygote.pids | set(self.spared) if pid is not None}

    async def _emptied(self) -> None:
        if self._workers or self._leaving:
            empty = asyncio.Event()
            self._on_empty = empty.set
            await empty.wait()

    def clean_up(self, worker: Worker, then: Callable[[], None]) -> None:
        """End what a dead worker left running, remove what it left lying, and call `then`."""
        self._workers.pop(worker.number, None)
        self._exceeding.discard(worker.number)
        self._leaving += 1
        self._end_strays(ROUNDS, lambda: self.resources.vacate(worker.number, then))

    def _end_strays(self, rounds: int, then: Callable[[], None]) -> None:
        """End strays until there are none; between two rounds others have the event loop.

        A process that forks without end is outrun: a process that is killed forks no more, and its
        children become ours at once, so that each round finds fewer of them.
        """
        if self._kill_strays(adopted()) and rounds > 1:
            asyncio.get_running_loop().call_later(ROUND_S, self._end_strays, rounds - 1, then)
        else:
            then()

    def forget(self) -> None:
        """An exit was reported."""
        self._leaving -= 1
        if not self._workers and not self._leaving and self._on_empty is not None:
            self._on_empty()

    def _living(self) -> Iterator[tuple[int, int]]:
        for worker in self._workers.values():
            if worker.pid is not None:
                uid = self.resources.uids.of(worker.number)
                yield worker.pid, uid if isinstance(uid, int) else 0

    def _answered(self, child: int, pid: int, reason: str) -> None:
        worker = self._workers.get(child)
        if worker is not None:
            worker.forked(pid, reason)
        # Else it was given up: the next look finds its process, which nobody knows.

    def _sweep(self) -> None:
        # First of all: whatever fails below, the next look comes.
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        self.reserve.restock()
        self._kill_strays(children())
        self.resources.sweep()
        for worker in list(self._workers.values()):
            # Who looks at a pool's workers, and more often, says whose doing it is; at a second
            # look nobody does.
            excess = worker.excess
            if excess and worker.number in self._exceeding:
                worker.blame(excess, None)
                worker.kill(ExitReason.LIMIT, excess)
            (self._exceeding.add if excess else self._exceeding.discard)(worker.number)

    def _look_for_orphans(self) -> None:
        self._orphans = asyncio.get_running_loop().call_later(ORPHANS_S, self._look_for_orphans)
        self._kill_strays(adopted())

    def _kill_strays(self, ours: list[int]) -> int:
        """End those children of ours that no worker is registered for; how many there were."""
        known = {worker.pid for worker in self._workers.values()} | self.zygote.pids | self.spared
        found = [pid for pid in ours if pid not in known and self._is_stray(pid)]
        workers = {worker.pid: worker for worker in self._workers.values()}
        for pid in found:
            # A worker leads a session that nothing in it can leave: so whose child it was is known.
            with contextlib.suppress(ProcessLookupError):
                worker = workers.get(os.getsid(pid))
                if worker is not None:
                    worker.below.orphaned(1)
        killed = sum(end(pid) for pid in found)
        if killed:
            _log.warning("stray_processes_killed", count=killed)
        return len(found)

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
    made: asyncio.Task[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]],
    sock: socket.socket,
    worker: Worker,
) -> None:
    """Keep a socket from closing its number a second time; or close it, where it became no wire.

    uvloop ties the socket to its transport only after `connection_made`. One that was aborted by
    then has closed the number already, and the socket would close whatever has that number when
    it is collected: another worker's wire, most likely.
    """
    if made.cancelled():
        return
    error = made.exception()
    if isinstance(error, Exception):
        sock.close()
        worker.failed_at("connect", error)
    elif made.result()[0].is_closing():
        sock.detach()
