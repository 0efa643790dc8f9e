"""Which connection leaks: who is named, who is in question, and when a name is taken back.

Owns the judgement over the memory of a pool's workers; its method stands in LEAKS.md. Nobody is
named under doubt. A connection is named where a worker's copy counts in several windows that it
holds what grew, and the kernel's figures and its own events agree (`holdings.py`); where a worker
that grows (`growth.py`) has worked for it alone; or where it grew whenever it worked alone
(`alone.py`), which is asked where several connections share the modules that hold what grew, or
where no count shows who does. What libraries hold is nobody's, and only told of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from supervisor.core.isolation.alone import Observations
from supervisor.core.isolation.growth import LEAST_POINTS, Life, Point, worked
from supervisor.core.isolation.holdings import LEAST_SHARE, MOST_FAILURES, Count

#: A group's growth is explained where less than this share of it is left by those that are named.
UNEXPLAINED_SHARE = 0.3
#: Lives of workers that are remembered beyond their end.
PAST_LIVES = 8
#: A name is taken back where it should have left so many times the least growth behind, and the
#: worker grew by less than this share of that.
ACQUIT_TIMES, ACQUIT_SHARE = 4, 0.25


@dataclass(frozen=True, slots=True)
class Leak:
    """`per_event_bytes` is what each event of the connection leaves behind.

    `grown_bytes` is what its events had left when it was named.
    """

    connection: str
    per_event_bytes: float
    grown_bytes: float


@dataclass(frozen=True, slots=True)
class Together:
    """Connections of which some leak, and nobody can tell which.

    `per_event_bytes` is of the events of all of them. `held_by` is what holds it where that is
    nobody's in particular, a library: then it is not asked which of them leaks.
    """

    connections: tuple[str, ...]
    per_event_bytes: float
    held_by: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """Who leaks, as far as one can tell."""

    leaks: tuple[Leak, ...] = ()
    together: tuple[Together, ...] = ()


@dataclass(slots=True)
class _Verdict:
    """A name, and where each worker stood when it was given: memory, and events of its own."""

    leak: Leak
    marks: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """Growth that is one or some of these connections', over workers."""

    bytes: float = 0.0
    events: dict[str, int] = field(default_factory=dict)

    def add(self, grown_bytes: float, events: Mapping[str, int]) -> None:
        """Another worker has grown."""
        self.bytes += grown_bytes
        for name, count in events.items():
            self.events[name] = self.events.get(name, 0) + count

    @property
    def per_event_bytes(self) -> float:
        """Of the events of all."""
        return self.bytes / max(1, sum(self.events.values()))


@dataclass(slots=True)
class LeakWatch:
    """The workers of one pool, by number."""

    lives: dict[int, Life] = field(default_factory=dict)
    past: list[Life] = field(default_factory=list)
    observations: Observations = field(default_factory=Observations)
    _verdicts: dict[str, _Verdict] = field(default_factory=dict)
    _last: dict[int, tuple[int, Mapping[str, int]]] = field(default_factory=dict)

    # --- what is seen ---

    def sampled(
        self, worker: int, used_bytes: int, events: Mapping[str, int], running: Iterable[str] = ()
    ) -> None:
        """A worker's private memory now; `events` count since its start, in batches that ended.

        `running` are connections that it has batches of.
        """
        events, running = dict(events), frozenset(running)
        life = self.lives.setdefault(worker, Life())
        life.sampled(Point(used_bytes, events))
        life.seen.update(events, running)
        self._last[worker] = used_bytes, events
        if not running:
            self.observations.rested(worker, used_bytes, events)

    def used_bytes(self, worker: int) -> int:
        """Its private memory at the last sample; 0 before the first."""
        return self._last[worker][0] if worker in self._last else 0

    def is_count_due(self, worker: int, used_bytes: int, least_bytes: float) -> bool:
        """Whether a worker has grown so much that it should be counted who holds its memory."""
        life = self.lives.get(worker)
        if life is None or life.least_bytes is None:
            return False
        holdings = life.holdings
        if not holdings.is_due(used_bytes, life.least_bytes, least_bytes):
            return False
        if not holdings.counts:
            return True
        # Where it is known already whose it is, there is nothing to be found out.
        before, (_, now) = holdings.counts[-1], self._last[worker]
        events = {name: count - before.events.get(name, 0) for name, count in now.items()}
        grown = used_bytes - before.used_bytes
        return grown - self._explained(events) >= UNEXPLAINED_SHARE * grown

    def counted(self, worker: int, count: Count) -> None:
        """It was counted who holds a worker's memory."""
        if worker in self.lives:
            self.lives[worker].holdings.counted(count)

    def not_counted(self, worker: int) -> None:
        """That could not be had."""
        if worker in self.lives:
            self.lives[worker].holdings.failures += 1

    def ended(self, worker: int) -> None:
        """A worker is gone; what it showed is remembered for a while."""
        self.observations.ended(worker)
        self._last.pop(worker, None)
        for verdict in self._verdicts.values():
            verdict.marks.pop(worker, None)
        life = self.lives.pop(worker, None)
        if life is not None and (len(life.points) >= LEAST_POINTS or life.holdings.is_enough):
            life.is_over = True
            self.past = [*self.past, life][-PAST_LIVES:]

    def forgotten(self) -> None:
        """The code or the settings are others now: what was seen means nothing any more."""
        self.lives.clear()
        self.past.clear()
        self.observations.forgotten()
        self._verdicts.clear()
        self._last.clear()

    # --- what it means ---

    def findings(self, least_bytes: float, destination_of: Mapping[str, str]) -> Findings:
        """Who leaks; growth of a worker by less than `least_bytes` is nobody's.

        `destination_of` says which destination each connection feeds.
        """
        self._take_back(least_bytes)
        lives = (*self.past, *self.lives.values())
        for life in lives:
            if life.denies(least_bytes):
                continue
            fed_by = life.fed_by(destination_of)
            for name, growth in life.holdings.leaks(fed_by, least_bytes):
                shown = self.observations.of.get(name)
                if shown is None or not shown.refutes(growth.per_event_bytes):
                    self._name(Leak(name, growth.per_event_bytes, growth.bytes))
        together: list[Together] = []
        groups: dict[tuple[str, ...], _Group] = {}
        shared: dict[tuple[tuple[str, ...], str], _Group] = {}
        for life in lives:
            for grown, events, held_by in self._unexplained(life, least_bytes, destination_of):
                names = tuple(sorted(events))
                if held_by is not None:
                    shared.setdefault((names, held_by), _Group()).add(grown, events)
                else:
                    groups.setdefault(names, _Group()).add(grown, events)
        for names, group in groups.items():
            together += self._of_a_group(names, group)
        together += [
            Together(names, group.per_event_bytes, held_by)
            for (names, held_by), group in shared.items()
        ]
        return Findings(
            tuple(one.leak for _, one in sorted(self._verdicts.items())), tuple(together)
        )

    def _unexplained(
        self, life: Life, least_bytes: float, destination_of: Mapping[str, str]
    ) -> Iterator[tuple[float, Mapping[str, int], str | None]]:
        """Growth of a life that is nobody's yet: bytes, events of whose it may be, who holds it."""
        holdings, fed_by = life.holdings, life.fed_by(destination_of)
        is_held = False
        for names, growth in holdings.of_modules(fed_by, least_bytes):
            is_held = True
            if len(names) > 1:
                yield growth.bytes, holdings.events_of(names), None
        points = life.growing(least_bytes)
        if is_held or not points:
            return
        events, held_by, modules = worked(points), holdings.nobodys, holdings.modules
        served = life.seen
        if modules:
            served = {name for destination in modules for name in fed_by.get(destination, ())}
        events = {name: events.get(name, 0) for name in served}
        is_counted = holdings.is_enough or life.is_over or holdings.failures >= MOST_FAILURES
        if not (is_counted or held_by or (len(events) > 1 and modules)):
            return  # it will be counted, or counted again
        grown = float(points[-1].used_bytes - points[0].used_bytes)
        if grown - self._explained(events) < UNEXPLAINED_SHARE * grown:
            return
        if held_by is None and len(events) == 1 and not modules:
            ((name, count),) = events.items()
            self._name(Leak(name, grown / max(1, count), grown))
        elif held_by is not None or len(events) > 1:
            yield grown, events, held_by

    def _of_a_group(self, names: Sequence[str], group: _Group) -> Iterator[Together]:
        """Name those that left much of it when they worked alone; who is in question still."""
        for name in names:
            shown = self.observations.of.get(name)
            rate = 0.0 if shown is None else shown.per_event_bytes
            grown = rate * group.events[name]
            if grown > 0 and grown >= LEAST_SHARE * group.bytes:
                self._name(Leak(name, rate, grown))
        named = [name for name in names if name in self._verdicts]
        if not named:
            yield Together(tuple(names), group.per_event_bytes)
            return
        unknown = tuple(
            name for name in names if name not in self._verdicts and not self._is_known(name)
        )
        left = group.bytes - self._explained(group.events)
        if unknown and left >= UNEXPLAINED_SHARE * group.bytes:
            yield Together(unknown, left / group.bytes * group.per_event_bytes)

    def _is_known(self, name: str) -> bool:
        shown = self.observations.of.get(name)
        return shown is not None and shown.is_known

    def _explained(self, events: Mapping[str, int]) -> float:
        """Bytes that those which are named leave behind of so many events."""
        return sum(
            verdict.leak.per_event_bytes * events.get(name, 0)
            for name, verdict in self._verdicts.items()
        )

    # --- names ---

    def _name(self, leak: Leak) -> None:
        if leak.connection not in self._verdicts:
            self._verdicts[leak.connection] = _Verdict(leak)

    def _take_back(self, least_bytes: float) -> None:
        """A name holds until a worker should have grown by it much, and has not."""
        for name, verdict in list(self._verdicts.items()):
            for worker, (used, events) in self._last.items():
                before_used, before = verdict.marks.setdefault(worker, (used, events.get(name, 0)))
                expected = verdict.leak.per_event_bytes * (events.get(name, 0) - before)
                if expected < ACQUIT_TIMES * least_bytes:
                    continue
                if used - before_used < ACQUIT_SHARE * expected:
                    del self._verdicts[name]
                    shown = self.observations.of.get(name)
                    if shown is not None and not shown.refutes(verdict.leak.per_event_bytes):
                        del self.observations.of[name]  # else it will not be named again
                    self.past.clear()
                    self.lives = {number: Life() for number in self.lives}
                    break
                verdict.marks[worker] = used, events.get(name, 0)
