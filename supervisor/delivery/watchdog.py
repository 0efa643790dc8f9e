"""The guard of one pool: looks at its workers often, and acts where one breaks a limit.

Owns when is looked at what: event loops that are silent, memory, connections
that leak. What a worker is killed or replaced for is decided here, what becomes
of its batches is not. Must not know queues, leases or outcomes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from sandbox.protocol import Limits, OutOfMemory
from supervisor.core.effects import ExitReason
from supervisor.core.isolation.leaks import Findings, Leak, LeakWatch, Together
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.silence import Silence
from supervisor.workers.process import MAX_PROCESSES, Worker
from supervisor.workers.resources.headroom import Headroom

_log = structlog.get_logger(__name__)

#: Looks within a block timeout, and the bounds of the seconds between two.
LOOKS, SHORTEST_S, LONGEST_S = 4, 0.02, 0.25
#: Seconds between two looks at one worker's memory, at least, where its batches are short.
MEMORY_S = 0.05
#: Seconds between two looks at what a busy worker has made outside itself, files and processes, at
#: least, and the share of the time that these may take: a folder may hold a thousand files.
TRACES_S, TRACES_SHARE = 0.04, 0.05
#: Seconds between two samples of who did what in a worker, for each connection that it worked for:
#: they cost that much more. Memory itself is looked at as often as ever.
SAMPLE_S = 1e-3
#: Seconds between two judgements over who leaks.
LEAKS_S = 2.0
#: Where nobody can tell which of some connections leaks, one worker gets its batches one at a time
#: for so many seconds, so that each is seen alone; and seconds until that is done again.
NARROW_S, WIDE_S = 10.0, 60.0
#: Looks in a row that find such a worker at work, after which it is given up: there is more to do
#: than one batch at a time allows, and others wait.
BUSY_LOOKS = 2
#: Connections of a group that are named in a text.
NAMED = 5
#: Growth of a worker that is judged: this share of the soft limit, and so many bytes at least.
LEAK_SHARE, LEAK_LEAST_BYTES = 1 / 6, 8 * 1024 * 1024
#: A worker is replaced somewhere in this last share below its soft limit: those that grow alike
#: shall not all come to it at once.
SPREAD = 0.05
#: Share of its open files past which a worker is replaced.
OPEN_FILES_SHARE = 0.9
#: How far beyond its hard limit a worker may go that has said that it ran out, to leave evidence.
#: As much as the jail's rlimits give it.
EVIDENCE_SHARE, EVIDENCE_BYTES = 0.25, 32 * 1024 * 1024
#: Seconds for which a loop is silent before it is looked whether it is for want of memory.
WANT_S = 0.1


class WatchedPool(Protocol):
    """Whose workers are guarded."""

    @property
    def name(self) -> str:
        """What the config calls it."""

    @property
    def limits(self) -> Limits:
        """What new workers are forked under."""

    def living(self) -> Iterable[Worker]:
        """All that were asked for and are not gone."""

    def take_evidence(self, worker: Worker, reason: str, connection: str | None) -> None:
        """Take a snapshot of its heap, once; it stays for that long when it is replaced."""

    def replace(self, worker: Worker, reason: ExitReason, *, at_once: bool) -> bool:
        """Put another in its place, then let it finish and exit.

        Not `at_once`: only where another is ready and no one else is being replaced. Whether it
        was done; False for good for one that does not serve.
        """

    def used_up(self, connection: str, reason: ExitReason, detail: str) -> None:
        """This connection has left a worker with nothing of what all need."""

    def narrow(self, worker: Worker, *, is_narrow: bool) -> None:
        """Give it one batch at a time, or again as many as it takes."""


@dataclass(slots=True)
class _Watched:
    silence: Silence = field(default_factory=Silence)
    share: float = field(default_factory=lambda: 1.0 - SPREAD * random.random())  # noqa: S311 - spreads load
    memory_at: float = 0.0
    sampled_at: float = 0.0
    traces_at: float = 0.0
    has_run_out: bool = False
    is_replaced: bool = False


class Watchdog:
    """Looks at the workers of `pool` from `start` to `stop`."""

    def __init__(self, pool: WatchedPool) -> None:
        self.leaks: dict[str, Leak] = {}
        """Connections that leak, by name."""
        self.together: tuple[Together, ...] = ()
        """Connections of which some leak, and nobody can tell which."""
        self.in_question: dict[str, Together] = {}
        """The group that each of those is in, by name."""
        self._pool = pool
        self._narrowed: Worker | None = None
        self._narrow_until = self._wide_until = 0.0
        self._busy_looks = 0
        self._watched: dict[int, _Watched] = {}
        self._leak_watch = LeakWatch()
        self._judged_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        every_s = min(max(self._pool.limits.block_timeout_s / LOOKS, SHORTEST_S), LONGEST_S)
        self._timer = asyncio.get_running_loop().call_later(every_s, self._look, every_s)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def renewed(self) -> None:
        """Workers run other code from now on: who leaked may do so no more."""
        self._leak_watch.forgotten()
        self._found(Findings())

    def batch_ended(self, worker: Worker) -> None:
        """Look at its memory at once: a batch may have left much behind.

        Where it is to be seen what a batch alone leaves behind, after each at whose end it rests.
        """
        watched = self._watched.get(worker.number)
        if watched is None:
            return
        is_telling = bool(self.together) and not worker.running.total()
        if is_telling or time.monotonic() - watched.memory_at > MEMORY_S:
            self._look_at_memory(worker, watched)

    def look_closely(self, worker: Worker) -> None:
        """It has batches: what it may do fast is looked at more often than all the rest."""
        watched = self._watched.setdefault(worker.number, _Watched())
        began = time.monotonic()
        if began >= watched.traces_at:
            self._look_at_traces(worker)
            took_s = time.monotonic() - began
            watched.traces_at = began + max(TRACES_S, took_s / TRACES_SHARE)

    def ran_out(self, worker: Worker, message: OutOfMemory) -> None:
        """It met a MemoryError: another takes its place, and it finishes what it can."""
        watched = self._watched.setdefault(worker.number, _Watched())
        watched.has_run_out = True
        worker.blame(message.text, message.connection)
        self._pool.take_evidence(worker, "memory_error", message.connection)
        watched.is_replaced = self._pool.replace(worker, ExitReason.OOM, at_once=True)
        self._pool.used_up(message.connection, ExitReason.OOM, message.text)

    def _look(self, every_s: float) -> None:
        now = time.monotonic()
        before, self._watched = self._watched, {}
        for worker in list(self._pool.living()):
            match worker.state:
                case ProcessState.READY | ProcessState.DRAINING:
                    watched = before.pop(worker.number, None) or _Watched()
                    self._watched[worker.number] = watched
                    silent_s = self._look_at_loop(worker, watched.silence, now, 2 * every_s)
                    if silent_s > WANT_S:
                        self._look_at_headroom(worker, watched)
                    self._look_at_memory(worker, watched)
                    self._look_at_traces(worker)
                case (
                    ProcessState.FORKING
                    | ProcessState.DOOMED
                    | ProcessState.STARTING
                    | ProcessState.KILLED
                    | ProcessState.GONE
                ):
                    pass
        for number in before:
            self._leak_watch.ended(number)
        if now - self._judged_at >= LEAKS_S:
            self._judged_at = now
            self._judge_leaks()
            self._look_closer(now)
        elif self._narrowed is not None and self._is_wanted(self._narrowed):
            self._look_closer(now)
        self.start()

    def _is_wanted(self, narrowed: Worker) -> bool:
        """Whether it has had no rest of late."""
        self._busy_looks = self._busy_looks + 1 if narrowed.running.total() else 0
        return self._busy_looks >= BUSY_LOOKS

    def _look_at_loop(self, worker: Worker, silence: Silence, now: float, most_s: float) -> float:
        """Seconds for which it has been silent."""
        silent_s = silence.looked(worker.marker_page.beats, worker.waited_s, now, most_s)
        if silent_s >= worker.limits.block_timeout_s:
            worker.kill(
                ExitReason.TIMEOUT, f"its event loop was blocked for {silent_s:.1f} s{_at(worker)}"
            )
        return silent_s

    def _look_at_headroom(self, worker: Worker, watched: _Watched) -> None:
        """One that hangs for want of memory is let go on, once; after that it had all there is."""
        match worker.headroom:
            case Headroom.SOME:
                pass
            case Headroom.MORE_ON_DEMAND if worker.raise_soft_limit():
                watched.has_run_out = True
            case Headroom.MORE_ON_DEMAND | Headroom.NONE:
                worker.kill(ExitReason.OOM, f"it hung at its limit of memory{_at(worker)}")

    def _look_at_traces(self, worker: Worker) -> None:
        if worker.descendants > MAX_PROCESSES:
            worker.kill(ExitReason.LIMIT, f"more than {MAX_PROCESSES} processes{_at(worker)}")
        elif excess := worker.excess:
            worker.kill(ExitReason.LIMIT, excess)

    def _look_at_memory(self, worker: Worker, watched: _Watched) -> None:
        watched.memory_at = time.monotonic()
        used = worker.private_bytes
        limit = worker.limits.memory_limit
        if watched.has_run_out:
            limit += max(EVIDENCE_BYTES, int(limit * EVIDENCE_SHARE))
        if used > limit:
            worker.kill(ExitReason.OOM, f"it used {_of(used, limit)} of memory{_at(worker)}")
            return
        if worker.state is not ProcessState.READY or not worker.worked:
            return  # what it took to start is nobody's fault, and the next would take as much
        if watched.memory_at - watched.sampled_at >= SAMPLE_S * len(worker.worked):
            watched.sampled_at = watched.memory_at
            self._leak_watch.sampled(worker.number, used, worker.worked, +worker.running)
        soft = worker.limits.memory_soft_limit
        if used > soft * watched.share and not watched.is_replaced:
            self._judge_leaks()
            self._replace_grown(worker, watched, _of(used, soft))

    def told_open_files(self, worker: Worker, count: int, connection: str = "") -> None:
        """It has so many descriptors; near its limit another takes its place, at once.

        Its neighbours could not connect any more. `connection` is whose own code met the limit: it
        is charged. Who merely runs at that moment is named, and not charged.
        """
        watched = self._watched.get(worker.number)
        most = worker.limits.max_open_files
        if watched is None or watched.is_replaced or count <= most * OPEN_FILES_SHARE:
            return
        mark = worker.marked()
        charged = connection or (next(iter(worker.worked)) if len(worker.worked) == 1 else "")
        detail = f"{count} of {most} open files{_at(worker)}"
        worker.blame(detail, charged or (None if mark is None else mark.connection))
        watched.is_replaced = self._pool.replace(worker, ExitReason.LIMIT, at_once=True)
        if not watched.is_replaced:
            # It is one connection's own: what it has left is of no use, and it shows who did it.
            worker.kill(ExitReason.LIMIT, detail)
        elif charged:
            self._pool.used_up(charged, ExitReason.LIMIT, detail)

    def _replace_grown(self, worker: Worker, watched: _Watched, of: str) -> None:
        leaks = [leak for name, leak in self.leaks.items() if worker.worked[name]]
        together = [
            group
            for group in self.together
            if any(worker.worked[name] for name in group.connections)
        ]
        connection = None
        if leaks:
            worst = max(
                leaks, key=lambda leak: leak.per_event_bytes * worker.worked[leak.connection]
            )
            detail = (
                f"{worst.connection} leaks {worst.per_event_bytes:.0f} bytes an event; {of} used"
            )
            connection = worst.connection
        elif together:
            detail = f"one of {_names(together[0])} leaks, unknown which; {of} used"
        else:
            detail = f"{of} of memory used, and nobody's in particular"
        worker.blame(detail, connection)
        self._pool.take_evidence(worker, "soft_limit", connection)
        reason = ExitReason.LEAK if leaks or together else ExitReason.RECYCLE
        watched.is_replaced = self._pool.replace(worker, reason, at_once=False)
        if watched.is_replaced and leaks and connection is not None:
            self._pool.used_up(connection, reason, detail)

    def _judge_leaks(self) -> None:
        soft = self._pool.limits.memory_soft_limit
        found = self._leak_watch.findings(max(LEAK_LEAST_BYTES, soft * LEAK_SHARE))
        for leak in found.leaks:
            if leak.connection not in self.leaks:
                _log.warning(
                    "connection_leaks",
                    pool=self._pool.name,
                    connection=leak.connection,
                    bytes_per_event=round(leak.per_event_bytes),
                    grown_bytes=round(leak.grown_bytes),
                )
        known = {group.connections for group in self.together}
        for group in found.together:
            if group.connections not in known:
                _log.warning(
                    "connections_leak_together",
                    pool=self._pool.name,
                    connections=_names(group),
                    bytes_per_event=round(group.per_event_bytes),
                    hint="they always get the same events; with one of them in a pool of its own"
                    " it shows whose memory grows",
                )
        self._found(found)

    def _found(self, found: Findings) -> None:
        self.leaks = {leak.connection: leak for leak in found.leaks}
        self.together = found.together
        self.in_question = {name: group for group in found.together for name in group.connections}

    def _look_closer(self, now: float) -> None:
        """Let the worker with most memory work on one batch at a time, for a while."""
        if self._narrowed is not None and self._narrowed.state is not ProcessState.READY:
            self._narrowed = None  # it was replaced: its successor is as good
        is_over = not self.together or now >= self._narrow_until or self._busy_looks >= BUSY_LOOKS
        if self._narrowed is not None and is_over:
            self._pool.narrow(self._narrowed, is_narrow=False)
            self._narrowed, self._wide_until = None, now + WIDE_S
        if self._narrowed is None and self.together and now >= self._wide_until:
            serving = [
                worker for worker in self._pool.living() if worker.state is ProcessState.READY
            ]
            if serving:
                self._narrowed = max(serving, key=lambda worker: worker.private_bytes)
                self._narrow_until, self._busy_looks = now + NARROW_S, 0
                self._pool.narrow(self._narrowed, is_narrow=True)


def _names(group: Together) -> str:
    """Some of its connections, for a text."""
    names = group.connections
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _at(worker: Worker) -> str:
    mark = worker.marked()
    return f", {mark}" if mark is not None else ""


def _of(used: int, limit: int) -> str:
    mib = 1024 * 1024
    return f"{used / mib:.0f} of {limit / mib:.0f} MiB"
