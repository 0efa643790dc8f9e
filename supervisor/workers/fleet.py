"""All worker processes of the service, and the zygote that they are forked from.

Owns every child process: has workers forked, buries them, and ends those that nobody is
registered for. What one worker says and how it ends is `process.py`'s. Must not know
pools, queues or batches.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable

import structlog

from sandbox.protocol import Spawn
from supervisor.core.effects import ExitReason
from supervisor.workers.handle import Listener
from supervisor.workers.marker_page import MarkerPage
from supervisor.workers.process import Worker
from supervisor.workers.resources.procfs import can_hasten, children, end, own_bytes
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.zygote import Zygote

_log = structlog.get_logger(__name__)

#: Seconds between two looks for processes that nobody knows.
SWEEP_S = 1.0
#: Rounds of ending what a worker has left before its exit is reported, and seconds between two:
#: what is left then dies in the next look.
ROUNDS, ROUND_S = 20, 0.005


class WorkerFleet:
    """All workers of the service, and the zygote that they come from."""

    def __init__(self, resources: WorkerResources) -> None:
        self.numbers = itertools.count(1)
        self.resources = resources
        self.can_hasten = can_hasten()
        """Whether workers give way while they start: only a service that may undo that does it."""
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
            self._inherited = pid, own_bytes(pid)
        return self._inherited[1]

    def start(self) -> None:
        """Start the zygote, and begin to look for strays."""
        self.zygote.start()
        self._sweep()

    def spawn(self, order: Spawn, listener: Listener) -> Worker:
        """Ask for a worker; what becomes of it is told to `listener`."""
        loop = asyncio.get_running_loop()
        channel, their_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        marker_page = MarkerPage()
        output, their_output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(their_output, True)
        worker = Worker(order, channel, marker_page, output, self, listener)
        self._workers[order.child] = worker
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        task = loop.create_task(loop.create_unix_connection(lambda: worker, sock=ours))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        task.add_done_callback(lambda made: _let_go(made, ours))
        order = self.resources.provisioned(order)
        self.zygote.fork(
            order, (theirs.detach(), their_channel.detach(), *marker_page.copies(), their_output)
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
        ended = asyncio.Event()
        self._end_strays(ROUNDS, ended.set)
        await ended.wait()

    async def _emptied(self) -> None:
        if self._workers or self._leaving:
            empty = asyncio.Event()
            self._on_empty = empty.set
            await empty.wait()

    def clean_up(self, worker: Worker, then: Callable[[], None]) -> None:
        """End what a dead worker left running, remove what it left lying, and call `then`."""
        self._workers.pop(worker.number, None)
        self._leaving += 1
        self._end_strays(ROUNDS, lambda: self.resources.vacate(worker.number, then))

    def _end_strays(self, rounds: int, then: Callable[[], None]) -> None:
        """End strays until there are none; between two rounds others have the event loop.

        A process that forks without end is outrun: a process that is killed forks no more, and its
        children become ours at once, so that each round finds fewer of them.
        """
        if self._kill_strays() and rounds > 1:
            asyncio.get_running_loop().call_later(ROUND_S, self._end_strays, rounds - 1, then)
        else:
            then()

    def forget(self) -> None:
        """An exit was reported."""
        self._leaving -= 1
        if not self._workers and not self._leaving and self._on_empty is not None:
            self._on_empty()

    def _answered(self, child: int, pid: int, reason: str) -> None:
        self._workers[child].forked(pid, reason)

    def _sweep(self) -> None:
        self._kill_strays()
        self.resources.sweep()
        for worker in list(self._workers.values()):
            if excess := worker.excess:
                worker.kill(ExitReason.LIMIT, excess)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _kill_strays(self) -> int:
        """End children of ours that no worker is registered for; how many there were."""
        known = {worker.pid for worker in self._workers.values()} | {self.zygote.pid} | self.spared
        found = [pid for pid in children() if pid not in known and self._is_stray(pid)]
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
    made: asyncio.Task[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]], sock: socket.socket
) -> None:
    """Keep a socket from closing its number a second time.

    uvloop ties the socket to its transport only after `connection_made`. One that was aborted by
    then has closed the number already, and the socket would close whatever has that number when
    it is collected: another worker's wire, most likely.
    """
    if not made.cancelled() and made.exception() is None and made.result()[0].is_closing():
        sock.detach()
