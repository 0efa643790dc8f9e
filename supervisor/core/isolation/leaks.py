"""Which connection leaks: memory that grows with its events, for as long as anybody looks.

Owns the judgement over the memory of a pool's workers. Healthy memory grows
too: at start, while caches fill, by fragmentation. What tells a leak from that
is its shape, so a worker counts as growing only where its floor (what is left
after garbage was collected) rises steadily, in its second half hardly less
than in its first, and by so much that it matters. Who it is comes from how
growth went with each connection's events, over all workers that grow: a
connection is named where the others do not explain it.

Connections of one source get the same events, so that growth goes with all of
them alike. Of such a group only those are named that grew when they worked
alone: between two looks at which the worker had nothing to do, and nobody else
had a batch. Until that was seen often enough nobody of it is named; the group is.

A cache that is larger than `least_bytes` and fills evenly looks like a leak
until it is full; nobody could tell by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from math import inf, sqrt

#: Points kept of one worker's life; at twice as many, every other one is dropped.
POINTS = 32
#: Points of a growing worker that are too few to judge.
LEAST_POINTS = 16
#: The first part of a worker's life, in which it may grow as it likes. A fraction.
WARM_UP = 0.25
#: Where a worker has come to have so many times the connections that it had, its life begins anew:
#: what it keeps of each connection, settings and sessions, is no leak.
MORE_CONNECTIONS = 1.1
#: Stretches whose floors have to rise, and how much of the first half's slope the second must have.
#: What grows like a square root comes to 0.73.
STRETCHES, STEADINESS = 4, 0.85
#: A connection is named for at least this share of the growth, where leaving it out makes the rest
#: explain it that much worse (an F statistic with one degree of freedom).
LEAST_SHARE, LEAST_F = 0.3, 10.0
#: Connections that are judged one by one, those with most events; the rest count as one group.
MOST_JUDGED = 32
#: Counts of two connections that part by no more than this share are of the same events.
ALIKE = 0.01
#: And no more than by so many times what was running, and may have been worked on or not.
UNSURE = 3.0
#: Times alone that are enough to judge, how many standard errors have to lie between growth and
#: none, and how many times are remembered: from twice as many on, each counts half.
LEAST_ALONE, SURE, ALONE = 8, 3.0, 128
#: Bytes a time below which growth may be the work of others: what they leave in memory that was
#: touched before does not show, and the next connection that needs more than is left touches new.
#: It cannot be where no other has worked since the last time.
BLUR_BYTES = 1024 * 1024
#: Lives of workers that are remembered beyond their end.
PAST_LIVES = 8
_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Leak:
    """`per_event_bytes` is what each event of the connection leaves behind.

    `grown_bytes` is what its events left in the workers that were judged.
    """

    connection: str
    per_event_bytes: float
    grown_bytes: float


@dataclass(frozen=True, slots=True)
class Together:
    """Connections of which some leak, and nobody can tell which: growth goes with all alike.

    `per_event_bytes` is of the events of all of them.
    """

    connections: tuple[str, ...]
    per_event_bytes: float


@dataclass(frozen=True, slots=True)
class Findings:
    """Who leaks, as far as one can tell."""

    leaks: tuple[Leak, ...] = ()
    together: tuple[Together, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """A worker's private memory after so many events of each connection since its start.

    `running` are the events of batches that it has besides, and may have worked on.
    """

    used_bytes: int
    events: Mapping[str, int]
    running: Mapping[str, int] = field(default_factory=dict)
    total: int = field(init=False)
    """Events of all connections."""

    def __post_init__(self) -> None:
        # Asked for again and again, and there may be thousands of connections.
        object.__setattr__(self, "total", sum(self.events.values()))


@dataclass(slots=True)
class Life:
    """The memory of one worker over its events, in few points."""

    points: list[Point] = field(default_factory=list)
    stride: int = 1
    largest: dict[str, int] = field(default_factory=dict)
    """Most events of each connection between two samples, of which not all were kept."""
    _last: Mapping[str, int] = field(default_factory=dict)
    _connections: int = 0

    def sampled(self, point: Point) -> bool:
        """Take a sample; whether it was kept, since enough has happened since the last one."""
        for name, count in point.events.items():
            more = count - self._last.get(name, 0)
            if more > self.largest.get(name, 0):
                self.largest[name] = more
        self._last = point.events
        if len(point.events) > MORE_CONNECTIONS * self._connections + 1:
            self._connections = len(point.events)
            self.points.clear()
            self.stride = 1
        if self.points and point.total - self.points[-1].total < self.stride:
            return False
        self.points.append(point)
        if len(self.points) >= 2 * POINTS:
            self.points = self.points[::2]
            self.stride = max(1, self.points[-1].total // POINTS)
        return True

    def growing(self, least_bytes: float) -> Sequence[Point]:
        """The points past the warm-up, where they show a steady growth; else none."""
        points = self.points[int(len(self.points) * WARM_UP) :]
        if len(points) < LEAST_POINTS:
            return ()
        size = len(points) / STRETCHES
        floors = [
            min(point.used_bytes for point in points[int(n * size) : int((n + 1) * size)])
            for n in range(STRETCHES)
        ]
        if any(after <= before for before, after in pairwise(floors)):
            return ()
        half = len(points) // 2
        if _slope(points[half:]) < STEADINESS * _slope(points[:half]):
            return ()
        return points if floors[-1] - floors[0] >= least_bytes else ()


@dataclass(slots=True)
class Tally:
    """Growth over the times at which a connection worked alone, as sums."""

    times: float = 0.0
    events: float = 0.0
    bytes: float = 0.0
    _events_events: float = 0.0
    _events_bytes: float = 0.0
    _bytes_bytes: float = 0.0

    def add(self, events: int, grown_bytes: int) -> None:
        """It worked on so many events alone; negative growth is as good."""
        if self.times >= 2 * ALONE:
            self.times /= 2
            self.events /= 2
            self.bytes /= 2
            self._events_events /= 2
            self._events_bytes /= 2
            self._bytes_bytes /= 2
        self.times += 1
        self.events += events
        self.bytes += grown_bytes
        self._events_events += events**2
        self._events_bytes += events * grown_bytes
        self._bytes_bytes += grown_bytes**2

    @property
    def per_event_bytes(self) -> float:
        """Growth an event where it is surely more than none, else 0."""
        if self.times < LEAST_ALONE:
            return 0.0
        rate, error = self._rate()
        return rate if rate > SURE * error else 0.0

    @property
    def most_per_event_bytes(self) -> float:
        """Growth an event that it surely does not surpass."""
        if self.times < LEAST_ALONE:
            return inf
        rate, error = self._rate()
        return rate + SURE * error

    def _rate(self) -> tuple[float, float]:
        """Growth an event, and its standard error."""
        rate = self.bytes / self.events
        left = self._bytes_bytes - 2 * rate * self._events_bytes + rate**2 * self._events_events
        return rate, sqrt(max(0.0, left) * self.times / (self.times - 1)) / self.events


@dataclass(slots=True)
class Alone:
    """What one connection showed alone: each time, and those right after another such time."""

    each: Tally = field(default_factory=Tally)
    again: Tally = field(default_factory=Tally)

    @property
    def per_event_bytes(self) -> float:
        """What an event surely leaves behind; 0 where nobody can say that."""
        if self.again.times >= LEAST_ALONE:
            return self.again.per_event_bytes
        each = self.each
        return each.per_event_bytes if each.bytes >= BLUR_BYTES * each.times else 0.0

    @property
    def is_known(self) -> bool:
        """It was seen often enough, and its growth cannot be the work of others."""
        if self.again.times >= LEAST_ALONE or self.per_event_bytes:
            return True
        return self.each.times >= LEAST_ALONE and not self.each.per_event_bytes


@dataclass(frozen=True, slots=True)
class Rest:
    """A worker that has nothing to do, and the connection that worked alone before, if one did."""

    used_bytes: int
    events: Mapping[str, int]
    alone: str | None


@dataclass(slots=True)
class LeakWatch:
    """The workers of one pool, by number."""

    lives: dict[int, Life] = field(default_factory=dict)
    past: list[Life] = field(default_factory=list)
    alone: dict[str, Alone] = field(default_factory=dict)
    _rests: dict[int, Rest] = field(default_factory=dict)

    def sampled(
        self,
        worker: int,
        used_bytes: int,
        events: Mapping[str, int],
        running: Mapping[str, int] | None = None,
    ) -> None:
        """A worker's private memory now; `events` count since its start, in batches that ended.

        `running` are events of batches that it has now.
        """
        life = self.lives.setdefault(worker, Life())
        life.sampled(Point(used_bytes, dict(events), dict(running or {})))
        if not running:
            self._rested(worker, used_bytes, events)

    def _rested(self, worker: int, used_bytes: int, events: Mapping[str, int]) -> None:
        before = self._rests.get(worker)
        worked: dict[str, int] = {}
        if before is not None:
            worked = {
                name: count - before.events.get(name, 0)
                for name, count in events.items()
                if count > before.events.get(name, 0)
            }
        alone = None if before is None or worked else before.alone
        if before is not None and len(worked) == 1:
            ((alone, count),) = worked.items()
            shown = self.alone.setdefault(alone, Alone())
            shown.each.add(count, used_bytes - before.used_bytes)
            if before.alone == alone:
                shown.again.add(count, used_bytes - before.used_bytes)
        self._rests[worker] = Rest(used_bytes, dict(events), alone)

    def ended(self, worker: int) -> None:
        """A worker is gone; what it showed is remembered for a while."""
        self._rests.pop(worker, None)
        life = self.lives.pop(worker, None)
        if life is not None and len(life.points) >= LEAST_POINTS:
            self.past = [*self.past, life][-PAST_LIVES:]

    def forgotten(self) -> None:
        """The code or the settings are others now: what was seen means nothing any more."""
        self.lives.clear()
        self.past.clear()
        self.alone.clear()
        self._rests.clear()

    def findings(self, least_bytes: float) -> Findings:
        """Who leaks; growth of a worker by less than `least_bytes` is nobody's."""
        lives = (*self.past, *self.lives.values())
        grown = [(points, life) for life in lives if (points := life.growing(least_bytes))]
        largest: Counter[str] = Counter()
        for _, life in grown:
            largest |= Counter(life.largest)
        return _attributed([points for points, _ in grown], largest, self.alone)


def _slope(points: Sequence[Point]) -> float:
    """Bytes an event of whatever connection, by least squares."""
    at = sum(point.total for point in points) / len(points)
    used = sum(point.used_bytes for point in points) / len(points)
    square = sum((point.total - at) ** 2 for point in points)
    along = sum((point.total - at) * (point.used_bytes - used) for point in points)
    return along / square if square else 0.0


def _attributed(
    lives: Sequence[Sequence[Point]], largest: Mapping[str, int], alone: Mapping[str, Alone]
) -> Findings:
    groups = _groups(lives, largest)
    steps = list(_steps(lives, groups))
    growth = sum(grown for grown, _ in steps)
    rates, left = _fit(steps, groups)
    leaks: list[Leak] = []
    together: list[Together] = []
    for group in groups:
        share = rates[group] * sum(events[group] for _, events in steps)
        if share < LEAST_SHARE * growth:
            continue
        _, left_without = _fit(steps, [other for other in groups if other != group])
        freedom = max(1, len(steps) - len(groups))
        if left_without - left < LEAST_F * left / freedom:
            continue
        if len(group) == 1:
            # What it showed alone is certain; that growth goes with its events may be chance.
            shown = alone.get(group[0])
            if shown is None or shown.again.most_per_event_bytes >= rates[group] / 2:
                leaks.append(Leak(group[0], rates[group], share))
            continue
        found = _alone(group, share, lives, alone)
        leaks += found
        named = {leak.connection for leak in found}
        unknown = tuple(n for n in group if n not in named and not _is_known(n, alone))
        unexplained = share - sum(leak.grown_bytes for leak in found)
        if not found:
            together.append(Together(group, rates[group]))
        elif unknown and unexplained >= LEAST_SHARE * share:
            together.append(Together(unknown, unexplained / share * rates[group]))
    return Findings(tuple(leaks), tuple(together))


def _steps(
    lives: Sequence[Sequence[Point]], groups: Sequence[tuple[str, ...]]
) -> Iterator[tuple[float, dict[tuple[str, ...], int]]]:
    """From point to point: growth in bytes, and the events of each group.

    Those that are not judged one by one may be thousands; they have what the others have not.
    """
    few = [group for group in groups if len(group) <= MOST_JUDGED]
    many = [group for group in groups if len(group) > MOST_JUDGED]
    for points in lives:
        for before, after in pairwise(points):
            events = {
                group: sum(after.events.get(n, 0) - before.events.get(n, 0) for n in group)
                for group in few
            }
            left = after.total - before.total - sum(events.values())
            events |= dict.fromkeys(many, left)
            yield float(after.used_bytes - before.used_bytes), events


def _alone(
    group: Iterable[str],
    growth: float,
    lives: Sequence[Sequence[Point]],
    alone: Mapping[str, Alone],
) -> list[Leak]:
    """Those of a group that explain much of its growth by what they showed alone."""
    found = []
    for name in group:
        rate = alone[name].per_event_bytes if name in alone else 0.0
        grown = rate * _events_of(name, lives) if rate else 0.0
        if grown > 0 and grown >= LEAST_SHARE * growth:
            found.append(Leak(name, rate, grown))
    return found


def _is_known(name: str, alone: Mapping[str, Alone]) -> bool:
    return name in alone and alone[name].is_known


def _worked(points: Sequence[Point]) -> dict[str, int]:
    """Events of each connection between the first point and the last."""
    first, last = points[0].events, points[-1].events
    return {name: count - first.get(name, 0) for name, count in last.items()}


def _events_of(name: str, lives: Sequence[Sequence[Point]]) -> int:
    """What it has worked on in all of them."""
    return sum(points[-1].events.get(name, 0) - points[0].events.get(name, 0) for points in lives)


def _groups(lives: Sequence[Sequence[Point]], largest: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Connections that nobody can tell apart by their counts of events."""
    worked: Counter[str] = Counter()
    for points in lives:
        worked.update(_worked(points))
    names = [name for name, count in worked.most_common() if count]
    rest = frozenset(names[MOST_JUDGED:])
    names = names[:MOST_JUDGED]
    groups = {name: {name} for name in names}
    for a, b in combinations(names, 2):
        if groups[a] is not groups[b] and _are_alike(lives, largest, a, b):
            groups[a] |= groups[b]
            for name in groups[b]:
                groups[name] = groups[a]
    found = {tuple(sorted(group)) for group in groups.values()}
    return sorted(found | ({tuple(sorted(rest))} if rest else set()))


def _are_alike(
    lives: Sequence[Sequence[Point]], largest: Mapping[str, int], a: str, b: str
) -> bool:
    """Whether one has always had as many times the events of the other, as far as one can tell.

    Who comes first with the same events is ahead by so many as there are between two samples.
    What of a running batch was worked on is not known at either end of a step, either: what
    parts them hardly more than that would be explained by chance.
    """
    total_a = _events_of(a, lives)
    times = total_a / _events_of(b, lives)
    unsure = max(_running(point, a, b, times) for points in lives for point in points)
    ahead = largest.get(a, 0) + times * largest.get(b, 0)
    most = ALIKE * total_a / len(lives) + ahead + UNSURE * unsure
    return all(
        abs(point.events.get(a, 0) - first_a - times * (point.events.get(b, 0) - first_b)) <= most
        for points in lives
        for first_a, first_b in [(points[0].events.get(a, 0), points[0].events.get(b, 0))]
        for point in points
    )


def _running(point: Point, a: str, b: str, times: float) -> float:
    return point.running.get(a, 0) + times * point.running.get(b, 0)


def _fit(
    steps: Sequence[tuple[float, Mapping[tuple[str, ...], int]]], groups: Iterable[tuple[str, ...]]
) -> tuple[dict[tuple[str, ...], float], float]:
    """Bytes an event of each group, none negative, by least squares; and the squares left.

    Coordinate descent: columns are few, and each round leaves no more than the one before.
    """
    rates = dict.fromkeys(groups, 0.0)
    left = [grown for grown, _ in steps]
    columns = {group: [float(events[group]) for _, events in steps] for group in rates}
    squares = {group: sum(x * x for x in column) for group, column in columns.items()}
    for _ in range(_ROUNDS):
        moved = 0.0
        for group, column in columns.items():
            if squares[group] == 0.0:
                continue
            along = sum(x * y for x, y in zip(column, left, strict=True))
            rate = max(0.0, rates[group] + along / squares[group])
            change = rate - rates[group]
            if change:
                rates[group] = rate
                left = [y - change * x for x, y in zip(column, left, strict=True)]
                moved = max(moved, abs(change) / (rate or 1.0))
        if moved < 1e-6:
            break
    return rates, sum(y * y for y in left)
