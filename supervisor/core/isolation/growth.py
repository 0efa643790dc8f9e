"""Whether a worker leaks: memory whose floor rises with its events for as long as anybody looks.

Owns the memory of one worker over its life, in few points, and the shape that tells a leak from
healthy growth: at start, while caches fill, by fragmentation. Whose growth it is stands in
`holdings.py` and `alone.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from supervisor.core.isolation.holdings import HoldingHistory

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


@dataclass(frozen=True, slots=True)
class Point:
    """A worker's private memory after so many events of each connection since its start."""

    used_bytes: int
    events: Mapping[str, int]
    total: int = field(init=False)
    """Events of all connections."""

    def __post_init__(self) -> None:
        # Asked for again and again, and there may be thousands of connections.
        object.__setattr__(self, "total", sum(self.events.values()))


@dataclass(slots=True)
class Life:
    """The memory of one worker over its events, in few points, and who was counted to hold it."""

    points: list[Point] = field(default_factory=list)
    stride: int = 1
    least_bytes: int | None = None
    """The least memory that it was seen with."""
    seen: set[str] = field(default_factory=set)
    """Connections that it has ever had a batch of."""
    is_over: bool = False
    """The worker has ended."""
    holdings: HoldingHistory = field(default_factory=HoldingHistory)
    _connections: int = 0

    def sampled(self, point: Point) -> None:
        """Take a sample; it is kept where enough has happened since the last one."""
        least = self.least_bytes
        self.least_bytes = point.used_bytes if least is None else min(least, point.used_bytes)
        if len(point.events) > MORE_CONNECTIONS * self._connections + 1:
            self._connections = len(point.events)
            self.points.clear()
            self.stride = 1
        if self.points and point.total - self.points[-1].total < self.stride:
            return
        self.points.append(point)
        if len(self.points) >= 2 * POINTS:
            self.points = self.points[::2]
            self.stride = max(1, self.points[-1].total // POINTS)

    def fed_by(self, destination_of: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """Connections that this worker has ever had a batch of, by their destination.

        One of them may leave something behind long after its last batch.
        """
        found: dict[str, tuple[str, ...]] = {}
        for name in sorted(self.seen):
            destination = destination_of.get(name, "")
            found[destination] = (*found.get(destination, ()), name)
        return found

    def denies(self, least_bytes: float) -> bool:
        """Whether there is enough to judge by, and it does not show a steady growth."""
        return len(self._past_warm_up) >= LEAST_POINTS and not self.growing(least_bytes)

    @property
    def _past_warm_up(self) -> Sequence[Point]:
        return self.points[int(len(self.points) * WARM_UP) :]

    def growing(self, least_bytes: float) -> Sequence[Point]:
        """The points past the warm-up, where they show a steady growth; else none."""
        points = self._past_warm_up
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


def worked(points: Sequence[Point]) -> dict[str, int]:
    """Events of each connection that had any between the first point and the last."""
    first, last = points[0].events, points[-1].events
    return {
        name: count - first.get(name, 0)
        for name, count in last.items()
        if count > first.get(name, 0)
    }


def _slope(points: Sequence[Point]) -> float:
    """Bytes an event of whatever connection, by least squares."""
    at = sum(point.total for point in points) / len(points)
    used = sum(point.used_bytes for point in points) / len(points)
    square = sum((point.total - at) ** 2 for point in points)
    along = sum((point.total - at) * (point.used_bytes - used) for point in points)
    return along / square if square else 0.0
