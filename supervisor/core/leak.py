"""Which connection leaks: memory that grows with its events, for as long as anybody looks.

Owns the judgement over the memory of a pool's workers. Healthy memory grows
too: at start, while caches fill, by fragmentation. What tells a leak from that
is its shape, so a worker counts as growing only where its floor (what is left
after garbage was collected) rises steadily, in its second half hardly less
than in its first, and by so much that it matters. Who it is comes from how
growth went with each connection's events, over all workers that grow: a
connection is named where the others do not explain it.

A cache that is larger than `least_bytes` and fills evenly looks like a leak
until it is full; nobody could tell by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

#: Points kept of one worker's life; at twice as many, every other one is dropped.
POINTS = 32
#: Points of a growing worker that are too few to judge.
LEAST_POINTS = 16
#: The first part of a worker's life, in which it may grow as it likes. A fraction.
WARM_UP = 0.25
#: Stretches whose floors have to rise, and how much of the first half's slope the second must have.
#: What grows like a square root comes to 0.73.
STRETCHES, STEADINESS = 4, 0.85
#: A connection is named for at least this share of the growth, where leaving it out makes the rest
#: explain it that much worse (an F statistic with one degree of freedom).
LEAST_SHARE, LEAST_F = 0.5, 10.0
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
class Point:
    """A worker's private memory after so many events of each connection since its start."""

    used_bytes: int
    events: Mapping[str, int]

    @property
    def total(self) -> int:
        """Events of all connections."""
        return sum(self.events.values())


@dataclass(slots=True)
class Life:
    """The memory of one worker over its events, in few points."""

    points: list[Point] = field(default_factory=list)
    stride: int = 1

    def sampled(self, point: Point) -> bool:
        """Take a sample; whether it was kept, since enough has happened since the last one."""
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
class LeakWatch:
    """The workers of one pool, by number."""

    lives: dict[int, Life] = field(default_factory=dict)
    past: list[Life] = field(default_factory=list)

    def sampled(self, worker: int, used_bytes: int, events: Mapping[str, int]) -> None:
        """A worker's private memory now; `events` count since its start."""
        self.lives.setdefault(worker, Life()).sampled(Point(used_bytes, dict(events)))

    def ended(self, worker: int) -> None:
        """A worker is gone; what it showed is remembered for a while."""
        life = self.lives.pop(worker, None)
        if life is not None and len(life.points) >= LEAST_POINTS:
            self.past = [*self.past, life][-PAST_LIVES:]

    def forgotten(self) -> None:
        """The code or the settings are others now: what was seen means nothing any more."""
        self.lives.clear()
        self.past.clear()

    def leaks(self, least_bytes: float) -> list[Leak]:
        """Who leaks; growth of a worker by less than `least_bytes` is nobody's."""
        grown = [life.growing(least_bytes) for life in (*self.past, *self.lives.values())]
        return _attributed([points for points in grown if points])


def _slope(points: Sequence[Point]) -> float:
    """Bytes an event of whatever connection, by least squares."""
    at = sum(point.total for point in points) / len(points)
    used = sum(point.used_bytes for point in points) / len(points)
    square = sum((point.total - at) ** 2 for point in points)
    along = sum((point.total - at) * (point.used_bytes - used) for point in points)
    return along / square if square else 0.0


def _attributed(lives: Sequence[Sequence[Point]]) -> list[Leak]:
    steps = [
        (
            float(after.used_bytes - before.used_bytes),
            {
                name: count - before.events.get(name, 0)
                for name, count in after.events.items()
                if count > before.events.get(name, 0)
            },
        )
        for points in lives
        for before, after in pairwise(points)
    ]
    names = sorted({name for _, events in steps for name in events})
    if not names:
        return []
    growth = sum(grown for grown, _ in steps)
    rates, left = _fit(steps, names)
    found = []
    for name in names:
        share = rates[name] * sum(events.get(name, 0) for _, events in steps)
        if share < LEAST_SHARE * growth:
            continue
        _, left_without = _fit(steps, [other for other in names if other != name])
        freedom = max(1, len(steps) - len(names))
        if left_without - left >= LEAST_F * left / freedom:
            found.append(Leak(name, rates[name], share))
    return found


def _fit(
    steps: Sequence[tuple[float, Mapping[str, int]]], names: Iterable[str]
) -> tuple[dict[str, float], float]:
    """Bytes an event of each name, none negative, by least squares; and the squares left.

    Coordinate descent: columns are few, and each round leaves no more than the one before.
    """
    rates = dict.fromkeys(names, 0.0)
    left = [grown for grown, _ in steps]
    columns = {name: [float(events.get(name, 0)) for _, events in steps] for name in rates}
    squares = {name: sum(x * x for x in column) for name, column in columns.items()}
    for _ in range(_ROUNDS):
        moved = 0.0
        for name, column in columns.items():
            if squares[name] == 0.0:
                continue
            along = sum(x * y for x, y in zip(column, left, strict=True))
            rate = max(0.0, rates[name] + along / squares[name])
            change = rate - rates[name]
            if change:
                rates[name] = rate
                left = [y - change * x for x, y in zip(column, left, strict=True)]
                moved = max(moved, abs(change) / (rate or 1.0))
        if moved < 1e-6:
            break
    return rates, sum(y * y for y in left)
