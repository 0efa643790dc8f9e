"""Which connection of a pool leaks memory, as far as can be told, and how it is found out.

Owns the findings that operators see and the turn of the worker that has one batch at a time so that
each connection shows what it leaves. The judgement is `core/isolation/leaks.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from supervisor.core.isolation.grants import SerialTurn
from supervisor.core.isolation.leaks import Findings, Leak, LeakWatch, Together
from supervisor.delivery.watchdog.effects import MakeSerial, WatchdogEffect
from supervisor.workers.handle import WorkerHandle

_log = structlog.get_logger(__name__)

#: Seconds between two judgements.
LEAKS_S = 2.0
#: Growth of a worker that is judged: this share of the soft limit, and so many bytes at least.
LEAK_SHARE, LEAK_LEAST_BYTES = 1 / 6, 8 * 1024 * 1024
#: Connections of a group that are named in a text.
NAMED = 5


@dataclass(frozen=True, slots=True)
class LeakAttribution:
    """What a worker's growth is put down to; `connection` is None where it is one of several."""

    text: str
    connection: str | None


class LeakMonitor:
    """That of one pool. `soft_limit` is the workers' soft limit of memory in bytes."""

    def __init__(self, pool: str) -> None:
        self.soft_limit = 0
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

    @property
    def is_in_doubt(self) -> bool:
        """Some connection leaks, and it is not known which."""
        return bool(self.together)

    def sampled(self, worker: WorkerHandle, used_bytes: int) -> None:
        """A worker holds so much memory of its own, after what it has worked."""
        self._watch.sampled(worker.number, used_bytes, worker.worked, +worker.running)

    def gone(self, number: int) -> None:
        """A worker has ended."""
        self._watch.ended(number)

    def renewed(self) -> None:
        """Workers run other code from now on: a connection that leaked may do so no more."""
        self._watch.forgotten()
        self._found(Findings())

    def look(self, serving: Sequence[WorkerHandle], now: float) -> list[WatchdogEffect]:
        """Judge where it is time, and let one worker be serial where that would tell more."""
        is_wanted = any(
            self._turn.looked(is_busy=bool(worker.running.total()))
            for worker in serving
            if worker.number == self._turn.worker
        )
        if now - self._judged_at >= LEAKS_S:
            self._judged_at = now
            self.judge()
        elif not is_wanted:
            return []
        before = self._turn.worker
        memory = {worker.number: worker.private_bytes for worker in serving}
        self._turn.decide(memory, now, is_in_question=self.is_in_doubt)
        return [] if self._turn.worker == before else [MakeSerial(self._turn.worker)]

    def judge(self) -> None:
        """Judge now, and say what is new."""
        found = self._watch.findings(max(LEAK_LEAST_BYTES, self.soft_limit * LEAK_SHARE))
        for leak in found.leaks:
            if leak.connection not in self.leaks:
                _log.warning(
                    "connection_leaks",
                    pool=self._pool,
                    connection=leak.connection,
                    bytes_per_event=round(leak.per_event_bytes),
                    grown_bytes=round(leak.grown_bytes),
                )
        known = {group.connections for group in self.together}
        for group in found.together:
            if group.connections not in known:
                _log.warning(
                    "connections_leak_together",
                    pool=self._pool,
                    connections=_names(group),
                    bytes_per_event=round(group.per_event_bytes),
                    hint="they always get the same events; with one of them in a pool of its own"
                    " it shows whose memory grows",
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
                return LeakAttribution(f"one of {_names(group)} leaks, unknown which", None)
        return None

    def _found(self, found: Findings) -> None:
        self.leaks = {leak.connection: leak for leak in found.leaks}
        self.together = found.together
        self.in_question = {name: group for group in found.together for name in group.connections}


def _names(group: Together) -> str:
    """Some of its connections, for a text."""
    names = group.connections
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
