"""Which connection of a pool leaks memory, as far as can be told, and how it is found out.

Owns the findings that operators see, when a copy of a worker is to count who holds its memory, and
the turn of the worker that has one batch at a time so that each connection shows what it leaves.
The judgement is `core/isolation/leaks.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from sandbox.protocol import Holdings
from supervisor.core.isolation.grants import SerialTurn
from supervisor.core.isolation.holdings import Count
from supervisor.core.isolation.leaks import Findings, Leak, LeakWatch, Together
from supervisor.delivery.watchdog.effects import CountHoldings, MakeSerial, WatchdogEffect
from supervisor.workers.handle import WorkerHandle

_log = structlog.get_logger(__name__)

#: Seconds between two judgements.
LEAKS_S = 2.0
#: Growth of a worker that is judged: this share of the soft limit, and so many bytes at least.
LEAK_SHARE, LEAK_LEAST_BYTES = 1 / 6, 8 * 1024 * 1024
#: Connections of a group that are named in a text.
NAMED = 5
#: Holders that are nobody in particular, of one count, and characters of the name of one.
MOST_SHARED, MOST_TOLD = 64, 100


@dataclass(frozen=True, slots=True)
class LeakAttribution:
    """What a worker's growth is put down to; `connection` is None where it is one of several."""

    text: str
    connection: str | None


class LeakMonitor:
    """That of one pool.

    `soft_limit` is the workers' soft limit of memory in bytes, `destination_of` says which
    destination each connection feeds.
    """

    def __init__(self, pool: str) -> None:
        self.soft_limit = 0
        self.destination_of: Mapping[str, str] = {}
        self.leaks: dict[str, Leak] = {}
        """Connections that leak, by name."""
        self.together: tuple[Together, ...] = ()
        """Connections of which some leak, and nobody can tell which."""
        self.in_question: dict[str, Together] = {}
        """The group that each of those is in, by name."""
        self._pool = pool
        self._watch = LeakWatch()
        self._judged_at = 0.0
        self._turn = SerialTurn()
        self._asked: _Asked | None = None
        self._is_waiting = False

    @property
    def is_in_doubt(self) -> bool:
        """Some connection leaks, and to see each alone would tell which."""
        return any(group.held_by is None for group in self.together)

    def sampled(self, worker: WorkerHandle, used_bytes: int) -> None:
        """A worker holds so much memory of its own, after what it has worked."""
        self._watch.sampled(worker.number, used_bytes, worker.worked, +worker.running)

    def counted(self, worker: int, holdings: Holdings | None) -> None:
        """It was counted who holds the memory of a worker; None: that could not be had."""
        asked = self._asked
        if asked is None or asked.worker != worker:
            return  # others are run by now
        self._asked = None
        if holdings is None:
            self._watch.not_counted(worker)
            self._is_waiting = True
            return
        # Whatever names a copy makes up are not kept.
        known = set(self.destination_of.values())
        self._watch.counted(
            worker,
            Count(
                asked.used_bytes,
                asked.events,
                {n: size for n, size in holdings.connections.items() if n in asked.events},
                {tuple(n): size for n, size in holdings.destinations if known.issuperset(n)},
                {n[:MOST_TOLD]: size for n, size in islice(holdings.shared.items(), MOST_SHARED)},
            ),
        )

    def put_off(self, worker: int) -> None:
        """Its pool gives other evidence just now: it is asked for again, a little later."""
        if self._asked is not None and self._asked.worker == worker:
            self._asked, self._is_waiting = None, True

    def gone(self, number: int) -> None:
        """A worker has ended."""
        self._watch.ended(number)
        self.put_off(number)

    def renewed(self) -> None:
        """Workers run other code from now on: a connection that leaked may do so no more."""
        self._watch.forgotten()
        self._asked = None
        self._found(Findings())

    def look(self, serving: Sequence[WorkerHandle], now: float) -> list[WatchdogEffect]:
        """Judge where it is time, and let one worker be serial where that would tell more."""
        is_wanted = any(
            self._turn.looked(is_busy=bool(worker.running.total()))
            for worker in serving
            if worker.number == self._turn.worker
        )
        if now - self._judged_at >= LEAKS_S:
            self._judged_at, self._is_waiting = now, False
            self.judge()
        elif not is_wanted:
            return self._counts(serving)
        before = self._turn.worker
        memory = {worker.number: worker.private_bytes for worker in serving}
        self._turn.decide(memory, now, is_in_question=self.is_in_doubt)
        effects = self._counts(serving)
        if self._turn.worker != before:
            effects.append(MakeSerial(self._turn.worker))
        return effects

    def others_waited(self, now: float, *, is_waiting: bool) -> list[WatchdogEffect]:
        """Others wait for a place, or do not: no worker is serial for long where they do."""
        return [MakeSerial(None)] if self._turn.waited(now, is_waiting=is_waiting) else []

    def _counts(self, serving: Sequence[WorkerHandle]) -> list[WatchdogEffect]:
        """The next worker of which it should be counted who holds its memory: one at a time.

        Those that several connections share come first, and what is counted of another is given up
        for them: it says least, and its copy may be slow, since it stands behind for the CPUs.
        """
        if self._is_waiting or (
            self._asked is not None and not self._is_of_one(self._asked.worker)
        ):
            return []
        due = [
            worker
            for worker in serving
            if self._watch.is_count_due(
                worker.number, self._watch.used_bytes(worker.number), self._least_bytes
            )
        ]
        worker = min(due, key=lambda each: self._is_of_one(each.number), default=None)
        if worker is None or (self._asked is not None and self._is_of_one(worker.number)):
            return []
        used = self._watch.used_bytes(worker.number)
        self._asked = _Asked(worker.number, used, dict(worker.worked))
        return [CountHoldings(worker.number)]

    def _is_of_one(self, worker: int) -> bool:
        """Whether it has worked for one connection alone."""
        life = self._watch.lives.get(worker)
        return life is not None and len(life.seen) <= 1

    @property
    def _least_bytes(self) -> float:
        return max(LEAK_LEAST_BYTES, self.soft_limit * LEAK_SHARE)

    def judge(self) -> None:
        """Judge now, and say what is new."""
        found = self._watch.findings(self._least_bytes, self.destination_of)
        for leak in found.leaks:
            if leak.connection not in self.leaks:
                _log.warning(
                    "connection_leaks",
                    pool=self._pool,
                    connection=leak.connection,
                    bytes_per_event=round(leak.per_event_bytes),
                    grown_bytes=round(leak.grown_bytes),
                )
        known = {(group.connections, group.held_by) for group in self.together}
        for group in found.together:
            if (group.connections, group.held_by) not in known:
                _log.warning(
                    "connections_leak_together",
                    pool=self._pool,
                    connections=_names(group),
                    bytes_per_event=round(group.per_event_bytes),
                    held_by=group.held_by,
                    hint="with one of them in a pool of its own it shows whose memory grows",
                )
        self._found(found)

    def suspect(self, worker: WorkerHandle) -> LeakAttribution | None:
        """What this worker has grown by, as far as is known; None: nobody's in particular."""
        worked = worker.worked
        leaks = [leak for name, leak in self.leaks.items() if worked[name]]
        if leaks:
            worst = max(leaks, key=lambda leak: leak.per_event_bytes * worked[leak.connection])
            return LeakAttribution(
                f"{worst.connection} leaks {worst.per_event_bytes:.0f} bytes an event",
                worst.connection,
            )
        for group in self.together:
            if any(worked[name] for name in group.connections):
                return LeakAttribution(described(group), None)
        return None

    def _found(self, found: Findings) -> None:
        self.leaks = {leak.connection: leak for leak in found.leaks}
        self.together = found.together
        self.in_question = {
            name: group
            for group in found.together
            if group.held_by is None
            for name in group.connections
        }


@dataclass(frozen=True, slots=True)
class _Asked:
    """A count that is under way, and where the worker stood as it was asked for."""

    worker: int
    used_bytes: int
    events: Mapping[str, int]


def described(group: Together) -> str:
    """What is known of a group, in words."""
    if group.held_by is None:
        return f"one of {_names(group)} leaks, unknown which"
    return f"what {group.held_by} holds grows with {_names(group)}, and is nobody's"


def _names(group: Together) -> str:
    """Some of its connections, for a text."""
    names = group.connections
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
