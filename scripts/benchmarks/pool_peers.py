"""pebble and concurrent.futures: pools in this process, for `recover`.

Owns how each is fed, and what an application has to do when a worker dies.
Must not know rows or goals.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

import psutil
from pebble import ProcessPool

from scripts.benchmarks.stamps import take

#: Timeout a task, which is why one takes pebble; in seconds.
TASK_TIMEOUT_S = 30.0


class PoolPeer(Protocol):
    """A pool of processes that lists of events are sent to."""

    def send(self, events: Sequence[str]) -> None:
        """Queue one list."""

    def wait_until_done(self) -> None:
        """Wait until no list is queued or running, whatever became of it."""

    def worker_pids(self) -> list[int]:
        """Process ids of the pool's workers."""


class Pebble:
    """A pool that replaces a dead worker by itself; the task that it ran is lost."""

    def __init__(self, workers: int, stamps: Path) -> None:
        self._stamps = str(stamps)
        self._before = _children()
        self._pool = ProcessPool(workers, context=multiprocessing.get_context("fork"))
        self._pending: list[Future[None]] = []

    def send(self, events: Sequence[str]) -> None:
        """Queue one list, with a timeout."""
        self._pending = [future for future in self._pending if not future.done()]
        self._pending.append(
            self._pool.schedule(take, args=[events, self._stamps], timeout=TASK_TIMEOUT_S)
        )

    def wait_until_done(self) -> None:
        """Wait for all of them."""
        wait(self._pending)

    def worker_pids(self) -> list[int]:
        """Children of this process that came with the pool."""
        return sorted(_children() - self._before)

    def close(self) -> None:
        """Stop and join."""
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble left its types out here
        self._pool.join()


class Futures:
    """A pool that breaks when a worker dies: the application makes another one."""

    def __init__(self, workers: int, stamps: Path) -> None:
        self._stamps = str(stamps)
        self._workers = workers
        self._before = _children()
        self._pending: list[Future[None]] = []
        self._executor = self._make()

    def send(self, events: Sequence[str]) -> None:
        """Queue one list, in a new pool where the old one is broken."""
        self._pending = [future for future in self._pending if not future.done()]
        try:
            future = self._executor.submit(take, events, self._stamps)
        except BrokenProcessPool:
            self._executor.shutdown(wait=False)
            self._executor = self._make()
            future = self._executor.submit(take, events, self._stamps)
        self._pending.append(future)

    def wait_until_done(self) -> None:
        """Wait for all of them."""
        wait(self._pending)

    def worker_pids(self) -> list[int]:
        """Children of this process that came with the pool."""
        return sorted(_children() - self._before)

    def close(self) -> None:
        """Stop and join."""
        self._executor.shutdown(cancel_futures=True)

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._workers, mp_context=multiprocessing.get_context("fork"))


def _children() -> set[int]:
    return {
        child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE
    }
