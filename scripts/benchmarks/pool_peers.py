"""pebble and concurrent.futures: pools in this process, for `recover`.

Owns how each is fed, and what an application has to do when a worker dies.
Must not know rows or goals.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

import psutil
from pebble import ProcessPool

from scripts.benchmarks.stamps import recent_pids, take

#: Timeout a task, which is why one takes pebble; in seconds.
TASK_TIMEOUT_S = 10.0
#: Seconds that a pool may take to stop before it is taken for stuck.
STUCK_AFTER_S = 1.0


class PoolPeer(Protocol):
    """A pool of processes that lists of events are sent to."""

    def send(self, events: Sequence[str]) -> None:
        """Queue one list."""

    def wait_until_done(self) -> None:
        """Wait until no list is queued or running, whatever became of it."""

    def worker_pids(self) -> list[int]:
        """Process ids of the pool's workers."""

    def rebuild(self) -> None:
        """Replace a pool that did not recover; what was queued in it is lost."""


class Pebble:
    """A pool that replaces a worker that dies in a task; the task is lost.

    Its workers share a pipe and a lock. One that dies while it waits for work
    takes the lock along: then the pool is stuck, or refuses all further tasks.
    """

    def __init__(self, workers: int, stamps: Path) -> None:
        self._stamps = stamps
        self._workers = workers
        self._lock = threading.Lock()
        self._pool = self._make()
        self._pending: list[Future[None]] = []

    def send(self, events: Sequence[str]) -> None:
        """Queue one list, with a timeout."""
        try:
            self._schedule(events)
        except RuntimeError:  # the pool gave up on itself; an application makes another one
            self.rebuild()
            self._schedule(events)

    def _schedule(self, events: Sequence[str]) -> None:
        with self._lock:
            self._pending = [future for future in self._pending if not future.done()]
            self._pending.append(
                self._pool.schedule(take, args=[events, str(self._stamps)], timeout=TASK_TIMEOUT_S)
            )

    def wait_until_done(self) -> None:
        """Wait for all of them, or until the pool is clearly stuck."""
        wait(self._pending, timeout=TASK_TIMEOUT_S)

    def worker_pids(self) -> list[int]:
        """Children of this process that have run a list of this pool."""
        return sorted(_children() & recent_pids(self._stamps))

    def rebuild(self) -> None:
        """Stop the stuck pool and make another one."""
        with self._lock:
            self._abandon()
            self._pending.clear()
            self._pool = self._make()
            for _ in range(self._workers * 10):  # every worker takes one, and so is seen
                self._pool.schedule(take, args=[[], str(self._stamps)])

    def _make(self) -> ProcessPool:
        return ProcessPool(self._workers, context=multiprocessing.get_context("fork"))

    def close(self) -> None:
        """Stop, as far as it lets itself be stopped."""
        self._abandon()

    def _abandon(self) -> None:
        """Stop the pool; one that is stuck stays so in a thread, and its workers are killed."""
        workers = self.worker_pids()
        ending = threading.Thread(target=self._end, args=[self._pool], daemon=True)
        ending.start()
        ending.join(STUCK_AFTER_S)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):  # it ended as it should
                os.kill(pid, signal.SIGKILL)

    @staticmethod
    def _end(pool: ProcessPool) -> None:
        pool.stop()  # type: ignore[no-untyped-call]  # pebble left its types out here
        pool.join()


class Futures:
    """A pool that breaks when a worker dies: the application makes another one."""

    def __init__(self, workers: int, stamps: Path) -> None:
        self._stamps = stamps
        self._workers = workers
        self._pending: list[Future[None]] = []
        self._executor = self._make()

    def send(self, events: Sequence[str]) -> None:
        """Queue one list, in a new pool where the old one is broken."""
        self._pending = [future for future in self._pending if not future.done()]
        try:
            future = self._executor.submit(take, events, str(self._stamps))
        except BrokenProcessPool:
            self._executor.shutdown(wait=False)
            self._executor = self._make()
            future = self._executor.submit(take, events, str(self._stamps))
        self._pending.append(future)

    def wait_until_done(self) -> None:
        """Wait for all of them."""
        wait(self._pending)

    def worker_pids(self) -> list[int]:
        """Children of this process that have run a list of this pool."""
        return sorted(_children() & recent_pids(self._stamps))

    def close(self) -> None:
        """Stop and join."""
        self._executor.shutdown(cancel_futures=True)

    def rebuild(self) -> None:
        """Nothing: `send` sees a broken pool by itself."""

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._workers, mp_context=multiprocessing.get_context("fork"))


def _children() -> set[int]:
    return {
        child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE
    }
