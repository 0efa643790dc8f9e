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
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sandbox.protocol import (
    Collect,
    Collected,
    CollectionStarted,
    Proceed,
    ProtocolError,
)
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.diagnostics.snapshots import RESERVE_BYTES
from supervisor.errors import Busy
from supervisor.runtime.threads import in_thread
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.marker_page import free_tables
from supervisor.workers.patience import Patience
from supervisor.workers.resources.stillness import STILL_S, Stillness

Kind = Literal["heapsnapshot", "summary", "hpy", "holdings", "tasks", "speedscope", "collapsed"]

#: Seconds that a worker may take to begin, or for what takes no time, to end. Past them its loop is
#: blocked.
BEGIN_S, AT_ONCE_S = 5.0, 1.0
#: Seconds that a copy may take; its own limit is shorter, and says more.
END_S = 300.0
#: Seconds that our own reading may take to end, once the worker says that it has failed.
READ_S = 2.0
#: What a copy is niced to: the worker that goes on comes first.
_NICE = 10
#: Kinds that a copy of the worker writes.
_COPIED = frozenset({"heapsnapshot", "summary", "hpy", "holdings"})
#: Bytes that are moved before it is looked whether somebody still waits.
_PIECE_BYTES = 1024 * 1024
_LOOK_MS = 200


class CollectFailed(Exception):
    """There is no evidence to be had; the text says why."""


class NoAnswer(CollectFailed):
    """A worker, or its copy, let its time pass."""


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
    """One pool's.

    A worker gives one thing at a time, and a pool gives one thing that somebody wants to see, which
    may take minutes on a busy machine. A count is small, and is had beside that.
    """

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0
        self._ended = asyncio.Event()

    def is_asking(self, worker: WorkerHandle) -> bool:
        """Whether this worker gives evidence now."""
        pending = self._pending.get(worker.number)
        return pending is not None and pending.worker is worker

    def _in_the_way(self, worker: WorkerHandle, kind: Kind) -> _Pending | None:
        """What has to end before this worker can give that."""
        is_count = kind == "holdings"
        for pending in self._pending.values():
            if pending.worker is worker or (pending.kind == "holdings") is is_count:
                return pending
        return None

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
        while patient and self._in_the_way(worker, kind) is not None:
            await self._ended.wait()
        if (other := self._in_the_way(worker, kind)) is not None:
            raise Busy(
                f"{other.worker.label} gives its {other.kind} just now, and a pool gives one at a "
                "time; ask again in a few seconds"
            )
        if worker.state not in (ProcessState.READY, ProcessState.DRAINING):
            raise CollectFailed(f"{worker.label} has no process that serves")
        loop = asyncio.get_running_loop()
        self._last_id += 1
        pending = _Pending(self._last_id, worker, kind, loop.create_future(), loop.create_future())
        try:
            readable, writable = os.pipe()
        except OSError as error:
            raise CollectFailed(f"no pipe for what it writes: {error.strerror}") from error
        tables: int | None = None
        try:
            tables = worker.tables() if kind in _COPIED else None
            until = time.monotonic() + seconds + END_S
            reading = in_thread(
                "evidence", partial(_move, readable, sink, max_bytes, until, pending, tables)
            )
        except (OSError, RuntimeError) as error:  # the thread would have closed its end
            os.close(readable)
            os.close(writable)
            if tables is not None:
                os.close(tables)
            raise CollectFailed(f"nobody to read what it writes: {error}") from error
        self._pending[worker.number] = pending
        try:
            if kind in _COPIED:
                worker.below.expect(pending.id)
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
            worker.below.freed(pending.id)
            del self._pending[worker.number]
            # Whoever waits looks again, and waits for the next end.
            self._ended.set()
            self._ended = asyncio.Event()

    async def _outcome(
        self, pending: _Pending, reading: asyncio.Future[None], seconds: float
    ) -> Collected:
        label = pending.worker.label
        begin_s = AT_ONCE_S if pending.kind == "tasks" else BEGIN_S
        try:
            await _begun(pending, begin_s)
        except TimeoutError:
            raise NoAnswer(
                f"{label} has not begun within {begin_s:g} s: its event loop is blocked; "
                "its stacks can still be had"
            ) from None
        try:
            async with asyncio.timeout(seconds + END_S):
                # Whichever fails first: the thread sees a copy that stands still.
                either: set[asyncio.Future[Any]] = {pending.ended, reading}  # Any: only which is
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not pending.ended.done():
                    await asyncio.shield(reading)
                said = await pending.ended
                if said.error:
                    # Where it is we who read no further, it knows only that the pipe is broken.
                    await asyncio.wait({reading}, timeout=READ_S)
                    if reading.done():
                        await reading
                    raise CollectFailed(f"{label}: {said.error}")
                await asyncio.shield(reading)
        except TimeoutError:
            raise NoAnswer(f"{label} has not ended within {seconds + END_S:g} s") from None
        return said

    # --- what workers say ---

    def said(self, worker: WorkerHandle, message: CollectionStarted | Collected) -> None:
        """Take a frame. Raises ProtocolError where it is out of turn."""
        if isinstance(message, Collected):
            worker.below.ended(message.id)
        elif message.pid is not None and _is_child(message.pid, worker):
            worker.below.started(message.id, message.pid)
        pending = self._pending.get(worker.number)
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
        pending = self._pending.get(worker.number)
        if pending is not None and pending.worker is worker:
            _resolve(pending.begun)
            if not pending.ended.done():
                pending.ended.set_exception(
                    CollectFailed(f"{worker.label} ended while its {pending.kind} was written")
                )


async def _begun(pending: _Pending, within_s: float) -> None:
    """Wait for that, by time that counts. Raises TimeoutError."""

    def give_up() -> None:
        if not pending.begun.done():
            pending.begun.set_exception(TimeoutError())

    patience = Patience(within_s, lambda: pending.worker.cpu_times, give_up)
    try:
        await pending.begun
    finally:
        patience.cancel()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _move(
    readable: int,
    sink: int,
    max_bytes: int,
    until: float,
    pending: _Pending,
    tables: int | None,
) -> None:
    """Move what comes through a pipe into a file, in a thread; closes the pipe, frees `tables`.

    Raises CollectFailed, also where nobody waits for it any more.
    """
    try:
        for size in _pieces(readable, sink, until, pending):
            max_bytes -= size
            if max_bytes < 0:
                raise CollectFailed("it is larger than any honest one")
            disk = os.fstatvfs(sink)
            if disk.f_blocks and disk.f_bavail * disk.f_frsize < RESERVE_BYTES:
                raise CollectFailed(
                    f"the disk has less than {RESERVE_BYTES >> 20} MiB left, which the queue needs"
                )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CollectFailed("the disk is full") from error
        raise CollectFailed(f"it cannot be kept: {error.strerror}") from error
    finally:
        os.close(readable)
        if tables is not None:
            with contextlib.suppress(OSError):  # what is left there counts as the worker's
                free_tables(tables)


def _pieces(readable: int, sink: int, until: float, pending: _Pending) -> Iterator[int]:
    poll = select.poll()
    poll.register(readable, select.POLLIN)
    stillness: Stillness | None = None
    while time.monotonic() < until and not pending.stopped.is_set():
        if not poll.poll(_LOOK_MS):
            if stillness is None and pending.copy is not None:
                stillness = Stillness(pending.copy)
            if stillness is not None and stillness.is_still:
                raise NoAnswer(f"its copy has stood still for {STILL_S:g} s, and is ended")
            continue
        size = os.splice(readable, sink, _PIECE_BYTES)
        if size == 0:
            return
        if stillness is not None:
            stillness.moved()
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
