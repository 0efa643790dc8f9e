"""Limits of workers: event loops that are silent, memory, open files, processes, scratch space.

Owns what a worker is ended or replaced for. Must not know queues, leases or outcomes; what becomes
of its batches is decided elsewhere.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from sandbox.protocol import OutOfMemory, evidence_allowance
from supervisor.core.effects import ExitReason
from supervisor.core.isolation.facts import ResourcesExhausted
from supervisor.core.isolation.responsiveness import Responsiveness
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog.effects import (
    EndWorker,
    ReplaceWorker,
    TakeSnapshot,
    Tell,
    WatchdogEffect,
)
from supervisor.delivery.watchdog.leaks import LeakMonitor
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.process import MAX_PROCESSES
from supervisor.workers.resources.headroom import Headroom

#: Seconds between two looks at one worker's memory, at least, where its batches are short.
MEMORY_S = 0.05
#: Seconds between two looks at what a busy worker has made outside itself, files and processes, at
#: least, and the share of the time that these may take: a folder may hold a thousand files.
TRACES_S, TRACES_SHARE = 0.04, 0.05
#: Seconds between two samples of how much of each connection a worker has done, for each of them:
#: they cost that much more. Memory itself is looked at as often as ever.
SAMPLE_S = 1e-3
#: A worker is replaced somewhere in this last share below its soft limit: those that grow alike
#: shall not all come to it at once.
SPREAD = 0.05
#: Share of its open files past which a worker is replaced.
OPEN_FILES_SHARE = 0.9
#: Seconds for which a loop is silent before it is looked whether it is for want of memory.
WANT_S = 0.1

Effects = list[WatchdogEffect]


@dataclass(slots=True)
class _Watched:
    """What is kept of one worker; times are of the monotonic clock."""

    share: float = field(default_factory=lambda: 1.0 - SPREAD * random.random())  # noqa: S311 - spreads load
    memory_at: float = 0.0
    sampled_at: float = 0.0
    traces_at: float = 0.0
    has_run_out: bool = False
    is_replaced: bool = False


class LimitMonitor:
    """That of one pool."""

    def __init__(
        self, state: PoolRecords, responsiveness: Responsiveness, leaks: LeakMonitor
    ) -> None:
        self._state = state
        self._responsiveness = responsiveness
        self._leaks = leaks
        self._watched: dict[int, _Watched] = {}

    def look(self, every_s: float) -> Effects:
        """Look at all workers; it is done every `every_s` seconds."""
        now = time.monotonic()
        effects: Effects = []
        serving: list[WorkerHandle] = []
        for pool_worker in self._state.workers:
            worker = pool_worker.worker
            match worker.state:
                case ProcessState.READY | ProcessState.DRAINING:
                    effects += self._look_at(worker, now, 2 * every_s)
                    if worker.state is ProcessState.READY:
                        serving.append(worker)
                case (
                    ProcessState.FORKING
                    | ProcessState.DOOMED
                    | ProcessState.STARTING
                    | ProcessState.KILLED
                    | ProcessState.GONE
                ):
                    pass
        effects += self._leaks.look(serving, now)
        return effects

    def look_closely(self, worker: WorkerHandle) -> Effects:
        """It has batches: what it may do fast is looked at more often than all the rest."""
        watched = self._of(worker)
        began = time.monotonic()
        if began < watched.traces_at:
            return []
        effects = _look_at_traces(worker)
        took_s = time.monotonic() - began
        watched.traces_at = began + max(TRACES_S, took_s / TRACES_SHARE)
        return effects

    def batch_ended(self, worker: WorkerHandle) -> Effects:
        """Look at its memory at once: a batch may have left much behind.

        Where it is to be seen what a batch alone leaves behind, after each at whose end it rests.
        """
        watched = self._watched.get(worker.number)
        if watched is None:
            return []
        is_telling = self._leaks.is_in_doubt and not worker.running.total()
        if is_telling or time.monotonic() - watched.memory_at > MEMORY_S:
            return self._look_at_memory(worker, watched)
        return []

    def ran_out(self, worker: WorkerHandle, message: OutOfMemory) -> Effects:
        """It met a MemoryError: another takes its place, and it finishes what it can."""
        self._of(worker).has_run_out = True
        connection, text = message.connection, message.text
        return [
            TakeSnapshot(worker.number, "memory_error", connection),
            ReplaceWorker(worker.number, ExitReason.OOM, text, connection, is_urgent=True),
            Tell(ResourcesExhausted(connection, ExitReason.OOM, text)),
        ]

    def told_open_files(self, worker: WorkerHandle, count: int, connection: str = "") -> Effects:
        """It has so many descriptors; near its limit another takes its place, at once.

        Its neighbours could not connect any more. `connection` is whose own code met the limit: it
        is charged. A connection that merely runs at that moment is named, and not charged.
        """
        watched = self._watched.get(worker.number)
        most = worker.limits.max_open_files
        if watched is None or watched.is_replaced or count <= most * OPEN_FILES_SHARE:
            return []
        mark = worker.marked()
        charged = connection or (next(iter(worker.worked)) if len(worker.worked) == 1 else "")
        # Where the worker is one connection's own, what is left is no use, and its end is a proof.
        return [
            ReplaceWorker(
                worker.number,
                ExitReason.LIMIT,
                f"{count} of {most} open files{_at(worker)}",
                charged or (None if mark is None else mark.connection),
                charged=charged or None,
                is_urgent=True,
                ends_instead=True,
            )
        ]

    def replaced(self, number: int) -> None:
        """Another worker has its place: it need not be replaced again."""
        self._watched.setdefault(number, _Watched()).is_replaced = True

    def gone(self, number: int) -> None:
        """A worker has ended."""
        self._watched.pop(number, None)
        self._leaks.gone(number)

    def _of(self, worker: WorkerHandle) -> _Watched:
        return self._watched.setdefault(worker.number, _Watched())

    def _look_at(self, worker: WorkerHandle, now: float, most_s: float) -> Effects:
        watched = self._of(worker)
        silent_s = self._responsiveness.silent_s(
            worker.number, worker.beats, worker.waited_s, now, most_s
        )
        if silent_s >= worker.limits.block_timeout_s:
            why = f"its event loop was blocked for {silent_s:.1f} s{_at(worker)}"
            return [EndWorker(worker.number, ExitReason.TIMEOUT, why)]
        effects = self._look_at_headroom(worker, watched) if silent_s > WANT_S else []
        if not effects:
            effects = self._look_at_memory(worker, watched)
        if not any(isinstance(effect, EndWorker) for effect in effects):
            effects += _look_at_traces(worker)
        return effects

    def _look_at_headroom(self, worker: WorkerHandle, watched: _Watched) -> Effects:
        """One that hangs for want of memory is let go on, once; after that it had all there is."""
        match worker.headroom:
            case Headroom.SOME:
                pass
            case Headroom.MORE_ON_DEMAND if worker.raise_soft_limit():
                watched.has_run_out = True
            case Headroom.MORE_ON_DEMAND | Headroom.NONE:
                why = f"it hung at its limit of memory{_at(worker)}"
                return [EndWorker(worker.number, ExitReason.OOM, why)]
        return []

    def _look_at_memory(self, worker: WorkerHandle, watched: _Watched) -> Effects:
        watched.memory_at = time.monotonic()
        used = worker.private_bytes
        limit = worker.limits.memory_limit
        if watched.has_run_out:
            limit += evidence_allowance(limit)
        if used > limit:
            why = f"it used {_of(used, limit)} of memory{_at(worker)}"
            return [EndWorker(worker.number, ExitReason.OOM, why)]
        if worker.state is not ProcessState.READY or not worker.worked:
            return []  # what it took to start is nobody's fault, and the next would take as much
        if watched.memory_at - watched.sampled_at >= SAMPLE_S * len(worker.worked):
            watched.sampled_at = watched.memory_at
            self._leaks.sampled(worker, used)
        soft = worker.limits.memory_soft_limit
        if used <= soft * watched.share or watched.is_replaced:
            return []
        self._leaks.judge()
        suspect = self._leaks.suspect(worker)
        if suspect is None:
            detail, connection = (
                f"{_of(used, soft)} of memory used, and nobody's in particular",
                None,
            )
        else:
            detail, connection = f"{suspect.text}; {_of(used, soft)} used", suspect.connection
        reason = ExitReason.RECYCLE if suspect is None else ExitReason.LEAK
        return [
            TakeSnapshot(worker.number, "soft_limit", connection),
            ReplaceWorker(worker.number, reason, detail, connection, charged=connection),
        ]


def _look_at_traces(worker: WorkerHandle) -> Effects:
    if worker.descendants > MAX_PROCESSES:
        why = f"more than {MAX_PROCESSES} processes{_at(worker)}"
        return [EndWorker(worker.number, ExitReason.LIMIT, why)]
    if excess := worker.excess:
        return [EndWorker(worker.number, ExitReason.LIMIT, excess)]
    return []


def _at(worker: WorkerHandle) -> str:
    mark = worker.marked()
    return f", {mark}" if mark is not None else ""


def _of(used: int, limit: int) -> str:
    mib = 1024 * 1024
    return f"{used / mib:.0f} of {limit / mib:.0f} MiB"
