"""Limits of workers: event loops that are silent, memory, open files, processes, scratch space.

Owns what a worker is ended or replaced for. A worker's own report is heard once, and only where the
kernel, asked about that, does not say otherwise; whose name it bears is no proof. Must not know
queues, leases or outcomes; what becomes of its batches is decided elsewhere.

What a look finds was done some time before: whose it may be, `core/isolation/presence.py` says, for
each limit here that is judged so. A blocked loop is no such thing: what blocks it is what runs.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from sandbox.protocol import OutOfMemory, evidence_allowance
from supervisor.core.effects import ExitReason
from supervisor.core.isolation.facts import ResourcesExhausted
from supervisor.core.isolation.presence import Presence, only
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
from supervisor.workers.handle import Mark, WorkerHandle
from supervisor.workers.resources.headroom import Headroom

#: Seconds between two looks at one worker's memory, at least, where its batches are short.
MEMORY_S = 0.05
#: Seconds between two looks at what a busy worker has made outside itself, files and processes, at
#: least, and the share of the time that these may take: a folder may hold a thousand files.
TRACES_S, TRACES_SHARE = 0.02, 0.05
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
#: Looks that found a step running, every 20 ms, of which it is kept whose that was.
SEEN = 4

Effects = list[WatchdogEffect]


@dataclass(slots=True)
class _Watched:
    """What is kept of one worker; times are of the monotonic clock."""

    share: float = field(default_factory=lambda: 1.0 - SPREAD * random.random())  # noqa: S311 - spreads load
    memory_at: float = 0.0
    sampled_at: float = 0.0
    traces_at: float = 0.0
    traces: Presence = field(default_factory=Presence)
    memory: Presence = field(default_factory=Presence)
    files: Presence = field(default_factory=Presence)
    """Descriptors."""
    #: what ran at the last looks
    seen: deque[Mark] = field(default_factory=lambda: deque(maxlen=SEEN))
    has_run_out: bool = False
    #: that it ran out, as it said itself
    said: str = ""
    is_replaced: bool = False

    def sees(self, mark: Mark | None) -> None:
        """It was looked at, and marked so."""
        if mark is not None and mark.is_running:
            self.seen.append(mark)


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
                    pool_worker.lost_s = self._responsiveness.lost_s(worker.number)
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
        watched.sees(worker.marked())
        if began < watched.traces_at:
            return []
        effects = _look_at_traces(worker, watched)
        took_s = time.monotonic() - began
        watched.traces_at = began + max(TRACES_S, took_s / TRACES_SHARE)
        return effects

    def others_waited(self, *, is_waiting: bool) -> Effects:
        """Whether connections wait for a place, at each look at loops."""
        return self._leaks.others_waited(time.monotonic(), is_waiting=is_waiting)

    def batch_ended(self, worker: WorkerHandle) -> Effects:
        """Look at its memory at once, and at its traces: a batch may have left much behind.

        Where it is to be seen what a batch alone leaves behind, after each at whose end it rests.
        """
        watched = self._watched.get(worker.number)
        if watched is None:
            return []
        # What takes long to look at is looked at when its time has come.
        effects = _look_at_traces(worker, watched) if worker.is_full else self.look_closely(worker)
        if effects:
            return effects
        is_telling = self._leaks.is_in_doubt and not worker.running.total()
        if is_telling or time.monotonic() - watched.memory_at > MEMORY_S:
            return self._look_at_memory(worker, watched)
        return []

    def ran_out(self, worker: WorkerHandle, message: OutOfMemory) -> Effects:
        """It met a MemoryError: another takes its place, and it finishes what it can.

        The kernel can say neither that it did, since it keeps no record of what it refused, nor
        whose doing it was. So it is believed once, and only of itself where others were there.
        """
        watched = self._of(worker)
        if watched.said:
            return []
        connection, text = message.connection, message.text
        watched.has_run_out, watched.said = True, text or "MemoryError"
        ever = _ever(worker)
        # Nor does its record bear a name that rests on its word alone.
        is_its_own = ever <= {connection}
        exhausted = _exhausted(connection, ExitReason.OOM, text, ever)
        replace = ReplaceWorker(
            worker.number,
            ExitReason.OOM,
            watched.said,
            connection if is_its_own else None,
            charged=exhausted if is_its_own else None,
            is_urgent=True,
            # What goes well where memory has run out proves nothing, and it says so only once.
            ends_instead=is_its_own,
        )
        told = [] if is_its_own else [Tell(exhausted)]
        return [replace, TakeSnapshot(worker.number, "memory_error", replace.connection), *told]

    def told_open_files(self, worker: WorkerHandle, count: int, connection: str = "") -> Effects:
        """It has so many descriptors; near its limit another takes its place, at once.

        Its neighbours could not connect any more. `connection` is whose own code met the limit, as
        it says; who meets it need not be who holds them. Where nobody has met it, descriptors that
        all hold together are nobody's fault, unless one was there alone. The kernel's count
        decides, where there is one: what was given back meanwhile is no matter.
        """
        watched = self._watched.get(worker.number)
        most = worker.limits.max_open_files
        if watched is None or watched.is_replaced:
            return []
        counted = worker.open_files
        count = count if counted is None else counted
        if count <= most * OPEN_FILES_SHARE:
            watched.files.was_well(worker.worked)
            return []
        since = watched.files.since(worker.worked, worker.running)
        ever = _ever(worker)
        detail = f"{count} of {most} open files"
        charged, named = connection or only(ever), only(since | {connection} - {""})
        if connection and named is None:
            detail += f", met in {connection}"
        # Where the worker is one connection's own, what is left is no use, and its end is a proof.
        return [
            ReplaceWorker(
                worker.number,
                ExitReason.LIMIT,
                detail,
                named,
                charged=None
                if charged is None
                else _exhausted(charged, ExitReason.LIMIT, detail, ever),
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
        number, timeout_s = worker.number, worker.limits.block_timeout_s
        counted_s = self._responsiveness.counted_s(number, worker.cpu_times, now, most_s)
        silent_s = self._responsiveness.silent_s(number, worker.beats, counted_s)
        answers = worker.ask() if any(worker.running.values()) else None
        unread_s = self._responsiveness.unread_s(number, answers, counted_s)
        if silent_s >= timeout_s or unread_s >= timeout_s:
            if cause := self._cause(worker, watched):
                return cause
            why = f"its event loop was blocked for {max(silent_s, unread_s):.1f} s{_at(worker)}"
            if silent_s < timeout_s:
                why += "; its page says otherwise, but it read nothing of its wire"
            return [EndWorker(worker.number, ExitReason.TIMEOUT, why)]
        effects = self._look_at_headroom(worker, watched) if silent_s > WANT_S else []
        if not effects:
            effects = self._look_at_memory(worker, watched)
        if not any(isinstance(effect, EndWorker) for effect in effects):
            effects += _look_at_traces(worker, watched)
        return effects

    def _cause(self, worker: WorkerHandle, watched: _Watched) -> Effects:
        """What its loop is blocked for, where that is a limit that it met: by the kernel's account.

        The interpreter looks for memory, or a destination for a file, over and over; on a machine
        that is short of CPUs it does so for longer than it may be silent.
        """
        found = [self._look_at_headroom(worker, watched), self._look_at_memory(worker, watched)]
        if watched.has_run_out:
            said = watched.said or "it met its limit of memory"
            why = f"{said}; then its event loop was blocked{_at(worker)}"
            found.append([EndWorker(worker.number, ExitReason.OOM, why)])
        count, most = worker.open_files, worker.limits.max_open_files
        if count is not None and count > most * OPEN_FILES_SHARE:
            why = f"{count} of {most} open files"
            found.append(_end(worker, ExitReason.LIMIT, why, watched, watched.files))
        found.append(_look_at_traces(worker, watched))
        for effects in found:
            if any(isinstance(effect, EndWorker) for effect in effects):
                return [one for one in effects if isinstance(one, EndWorker | Tell)]
        return []

    def _look_at_headroom(self, worker: WorkerHandle, watched: _Watched) -> Effects:
        """One that hangs for want of memory is let go on, once; after that it had all there is."""
        match worker.headroom:
            case Headroom.SOME:
                pass
            case Headroom.MORE_ON_DEMAND if worker.raise_soft_limit():
                watched.has_run_out = True
            case Headroom.MORE_ON_DEMAND | Headroom.NONE:
                why = "it hung at its limit of memory"
                return _end(worker, ExitReason.OOM, why, watched, watched.memory)
        return []

    def _look_at_memory(self, worker: WorkerHandle, watched: _Watched) -> Effects:
        watched.memory_at = time.monotonic()
        used = worker.private_bytes
        limit = worker.limits.memory_limit
        if watched.has_run_out:
            limit += evidence_allowance(limit)
        if used > limit:
            why = f"it used {_of(used, limit)} of memory"
            return _end(worker, ExitReason.OOM, why, watched, watched.memory)
        if used <= worker.limits.memory_soft_limit:
            watched.memory.was_well(worker.worked)
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
            ReplaceWorker(
                worker.number,
                reason,
                detail,
                connection,
                # Measured from outside, so whose it is does not rest on its worker's word.
                charged=None
                if connection is None
                else ResourcesExhausted(connection, reason, detail),
            ),
        ]


def _ever(worker: WorkerHandle) -> frozenset[str]:
    """Who ever had a batch there."""
    return frozenset([*worker.worked, *+worker.running])


def _exhausted(
    named: str, reason: ExitReason, detail: str, others: frozenset[str]
) -> ResourcesExhausted:
    """It is `named`'s doing, as its worker says; else that of one of the others."""
    return ResourcesExhausted(named, reason, detail, company=others - {named})


def _hint(worker: WorkerHandle, watched: _Watched, since: frozenset[str]) -> Mark | None:
    """Which of those may have done what a look finds: whose step it was in which it forked what is
    there; else whose ran at most of the last looks, this one among them."""
    forked = worker.forked_in() if worker.unasked_processes else None
    if forked is not None and forked.connection in since:
        return forked
    watched.sees(worker.marked())
    seen = [mark for mark in watched.seen if mark.connection in since]
    counts = Counter(mark.connection for mark in seen)
    return max(reversed(seen), key=lambda mark: counts[mark.connection], default=None)


def _end(
    worker: WorkerHandle, reason: ExitReason, why: str, watched: _Watched, presence: Presence
) -> Effects:
    """End it for what a look found: all are suspected that had a batch there since all was well."""
    since = presence.since(worker.worked, worker.running)
    if (named := only(since)) is not None:
        return [EndWorker(worker.number, reason, why + _at(worker, named), connection=named)]
    ended, hint = since - (+worker.running).keys(), _hint(worker, watched, since)
    return [EndWorker(worker.number, reason, why, is_anybodys=True, ended=ended, hint=hint)]


def _look_at_traces(worker: WorkerHandle, watched: _Watched) -> Effects:
    """What it has made outside itself, and whose doing it may be. If all of those have a batch now,
    its end tells. Else it is replaced: who has a batch just now may have come when it was done. Of
    several the one is tried that a hint names, and all where there is none."""
    why = _excess(worker)
    if not why:
        watched.traces.was_well(worker.worked)
        return []
    ran = sorted(watched.traces.since(worker.worked, worker.running))
    if watched.is_replaced or set(ran) <= (+worker.running).keys():
        return _end(worker, ExitReason.LIMIT, why, watched, watched.traces)
    hint = _hint(worker, watched, frozenset(ran))
    if hint is not None:
        charged = _exhausted(hint.connection, ExitReason.LIMIT, why, frozenset(ran))
    else:
        others = frozenset(ran[1:])
        charged = ResourcesExhausted(ran[0], ExitReason.LIMIT, why, others, company=others)
    return [
        ReplaceWorker(
            worker.number,
            ExitReason.LIMIT,
            why,
            ran[0] if len(ran) == 1 else None,
            charged=charged,
            is_urgent=True,
            ends_instead=True,
        )
    ]


def _excess(worker: WorkerHandle) -> str:
    if count := worker.unasked_processes:
        return f"it has started {count} process{'' if count == 1 else 'es'} of its own"
    return worker.excess


def _at(worker: WorkerHandle, named: str | None = None) -> str:
    """What it is at, as its page says; nothing where that is another's than `named`."""
    mark = worker.marked()
    return f", {mark}" if mark is not None and named in (None, mark.connection) else ""


def _of(used: int, limit: int) -> str:
    mib = 1024 * 1024
    return f"{used / mib:.0f} of {limit / mib:.0f} MiB"
