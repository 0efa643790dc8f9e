"""Asks a living worker for evidence, and takes what it writes through a pipe.

Owns what one pool has asked for and not got yet: one piece at a time. What a
worker writes is hostile input: it is bounded in bytes and time, and the worker
never holds a file of ours, only the end of a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sandbox.protocol import (
    Collect,
    Collected,
    CollectionStarted,
    Proceed,
    ProtocolError,
)
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.workers.handle import WorkerHandle

Kind = Literal["heapsnapshot", "summary", "hpy", "tasks", "speedscope", "collapsed"]

#: Seconds that a worker may take to begin, or for what takes no time, to end. Past them its loop is
#: blocked.
BEGIN_S, AT_ONCE_S = 5.0, 1.0
#: Seconds that a copy may take; its own limit is shorter, and says more.
END_S = 300.0
#: What a copy is niced to: the worker that goes on comes first.
_NICE = 10
#: Bytes that are moved before it is looked whether somebody still waits.
_PIECE_BYTES = 1024 * 1024
_LOOK_MS = 200


class CollectFailed(Exception):
    """There is no evidence to be had; the text says why."""


class Busy(Exception):
    """The pool gives evidence already; the text says what to do."""


@dataclass(slots=True)
class _Pending:
    """What is asked of one worker. `copy` is the process that works on it, where there is one."""

    id: int
    worker: WorkerHandle
    kind: Kind
    begun: asyncio.Future[None]
    ended: asyncio.Future[Collected]
    copy: int | None = None
    stopped: threading.Event = field(default_factory=threading.Event)


class Collector:
    """One pool's."""

    def __init__(self) -> None:
        self._pending: _Pending | None = None
        self._last_id = 0
        self._free = asyncio.Event()
        self._free.set()

    def is_asking(self, worker: WorkerHandle) -> bool:
        """Whether this worker gives evidence now."""
        return self._pending is not None and self._pending.worker is worker

    async def collect(
        self,
        worker: WorkerHandle,
        kind: Kind,
        sink: int,
        *,
        max_bytes: int,
        full_strings: bool = False,
        seconds: float = 0.0,
        patient: bool = False,
    ) -> Collected:
        """Have `worker` write to the descriptor `sink`, a file; returns once all is there.

        Raises CollectFailed; Busy, unless it is `patient` and waits. A caller that is cancelled
        stops the work.
        """
        while patient and self._pending is not None:
            await self._free.wait()
        if self._pending is not None:
            raise Busy(
                f"{self._pending.worker.label} gives its {self._pending.kind} just now, and a pool "
                "gives one at a time; ask again in a few seconds"
            )
        if worker.state not in (ProcessState.READY, ProcessState.DRAINING):
            raise CollectFailed(f"{worker.label} has no process that serves")
        loop = asyncio.get_running_loop()
        self._last_id += 1
        pending = _Pending(self._last_id, worker, kind, loop.create_future(), loop.create_future())
        readable, writable = os.pipe()
        self._pending = pending
        self._free.clear()
        reading = loop.run_in_executor(
            None, _move, readable, sink, max_bytes, time.monotonic() + seconds + END_S, pending
        )
        try:
            worker.channel.send(
                Collect(pending.id, kind, full_strings, seconds), io.FileIO(writable, "wb")
            )
            return await self._outcome(pending, reading, seconds)
        finally:
            pending.stopped.set()
            if pending.copy is not None and not pending.ended.done():
                _end(pending.copy, worker)
            with contextlib.suppress(CollectFailed):  # told by _outcome already, or nobody asks
                await asyncio.shield(reading)
            self._pending = None
            self._free.set()

    async def _outcome(
        self, pending: _Pending, reading: asyncio.Future[None], seconds: float
    ) -> Collected:
        label = pending.worker.label
        begin_s = AT_ONCE_S if pending.kind == "tasks" else BEGIN_S
        try:
            async with asyncio.timeout(begin_s):
                await pending.begun
        except TimeoutError:
            raise CollectFailed(
                f"{label} has not begun within {begin_s:g} s: its event loop is blocked; "
                "its stacks can still be had"
            ) from None
        try:
            async with asyncio.timeout(seconds + END_S):
                said = await pending.ended
                if said.error:
                    raise CollectFailed(f"{label}: {said.error}")
                await asyncio.shield(reading)
        except TimeoutError:
            raise CollectFailed(f"{label} has not ended within {seconds + END_S:g} s") from None
        return said

    # --- what workers say ---

    def said(self, worker: WorkerHandle, message: CollectionStarted | Collected) -> None:
        """Take a frame. Raises ProtocolError where it is out of turn."""
        pending = self._pending
        if pending is None or pending.worker is not worker or pending.id != message.id:
            if message.id > self._last_id:
                raise ProtocolError(f"{type(message).__name__} of what it was not asked for")
            if isinstance(message, CollectionStarted) and message.pid is not None:
                _end(message.pid, worker)  # nobody waits for it any more
            return
        match message:
            case CollectionStarted(pid=pid):
                if pid is not None:
                    if pending.copy is not None or not _is_child(pid, worker):
                        raise ProtocolError(f"it says that {pid} is its copy")
                    pending.copy = pid
                    _hold_back(pending.copy)
                    worker.send(Proceed(pending.id))
                _resolve(pending.begun)
            case Collected():
                _resolve(pending.begun)
                if not pending.ended.done():
                    pending.ended.set_result(message)

    def gone(self, worker: WorkerHandle) -> None:
        """A worker is dead, and its copy with it."""
        pending = self._pending
        if pending is not None and pending.worker is worker:
            _resolve(pending.begun)
            if not pending.ended.done():
                pending.ended.set_exception(
                    CollectFailed(f"{worker.label} ended while its {pending.kind} was written")
                )


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _move(readable: int, sink: int, max_bytes: int, until: float, pending: _Pending) -> None:
    """Move what comes through a pipe into a file, in a thread; closes the pipe.

    Raises CollectFailed, also where nobody waits for it any more.
    """
    try:
        for size in _pieces(readable, sink, until, pending):
            max_bytes -= size
            if max_bytes < 0:
                raise CollectFailed("it is larger than any honest one")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CollectFailed("the disk is full") from error
        raise CollectFailed(f"it cannot be kept: {error.strerror}") from error
    finally:
        os.close(readable)


def _pieces(readable: int, sink: int, until: float, pending: _Pending) -> Iterator[int]:
    poll = select.poll()
    poll.register(readable, select.POLLIN)
    while time.monotonic() < until and not pending.stopped.is_set():
        if not poll.poll(_LOOK_MS):
            continue
        size = os.splice(readable, sink, _PIECE_BYTES)
        if size == 0:
            return
        yield size
    raise CollectFailed("it did not come to its end")


def _is_child(pid: int, worker: WorkerHandle) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False  # it is gone
    return int(stat.rpartition(")")[2].split()[1]) == worker.pid


def _end(copy: int, worker: WorkerHandle) -> None:
    """Kill it; not where it has ended, and its number may be another's."""
    if _is_child(copy, worker):
        with contextlib.suppress(ProcessLookupError):
            os.kill(copy, signal.SIGKILL)


def _hold_back(copy: int) -> None:
    """Of a worker and its copy, the copy is what can be done without."""
    # Best effort: not every user may, and without it the snapshot is the same.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, copy, _NICE)
    with contextlib.suppress(OSError):
        Path(f"/proc/{copy}/oom_score_adj").write_text("1000")
