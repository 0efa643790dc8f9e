"""What a connection leaves behind when it works alone, as the kernel's figures show it.

Owns the observations between two rests of a worker, looks at which it had nothing to do. Where one
connection alone has worked in between, the growth is its own. Must not know why anybody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, sqrt

#: Times alone that are enough to judge, how many standard errors have to lie between growth and
#: none, and how many times are remembered: from twice as many on, each counts half.
LEAST_ALONE, SURE, ALONE = 8, 3.0, 128
#: Bytes a time below which growth may be the work of others: what they leave in memory that was
#: touched before does not show, and the next connection that needs more than is left touches new.
#: It cannot be where no other has worked since the last time.
BLUR_BYTES = 1024 * 1024


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
class TwoTallies:
    """Observations in turns, so that two that have none in common have to agree."""

    first: Tally = field(default_factory=Tally)
    second: Tally = field(default_factory=Tally)

    def add(self, events: int, grown_bytes: int) -> None:
        """It worked on so many events alone."""
        if self.first.times <= self.second.times:
            self.first.add(events, grown_bytes)
        else:
            self.second.add(events, grown_bytes)

    @property
    def is_enough(self) -> bool:
        """Both have seen it often enough."""
        return min(self.first.times, self.second.times) >= LEAST_ALONE

    @property
    def mean_bytes(self) -> float:
        """Growth a time."""
        return (self.first.bytes + self.second.bytes) / (self.first.times + self.second.times or 1)

    @property
    def per_event_bytes(self) -> float:
        """Growth an event where both are sure that it is more than none, else 0."""
        rates = (self.first.per_event_bytes, self.second.per_event_bytes)
        return sum(rates) / 2 if all(rates) else 0.0

    @property
    def most_per_event_bytes(self) -> float:
        """Growth an event that it surely does not surpass."""
        return max(self.first.most_per_event_bytes, self.second.most_per_event_bytes)


@dataclass(slots=True)
class Alone:
    """What one connection showed alone: each time, and those right after another such time."""

    each: TwoTallies = field(default_factory=TwoTallies)
    again: TwoTallies = field(default_factory=TwoTallies)

    @property
    def per_event_bytes(self) -> float:
        """What an event surely leaves behind; 0 where nobody can say that."""
        if self.again.is_enough:
            return self.again.per_event_bytes
        return self.each.per_event_bytes if self.each.mean_bytes >= BLUR_BYTES else 0.0

    @property
    def is_known(self) -> bool:
        """It was seen often enough, and its growth cannot be the work of others."""
        if self.again.is_enough or self.per_event_bytes:
            return True
        return self.each.is_enough and not self.each.per_event_bytes

    def refutes(self, per_event_bytes: float) -> bool:
        """Whether it surely leaves much less behind than that."""
        return self.again.most_per_event_bytes < per_event_bytes / 4


@dataclass(frozen=True, slots=True)
class _Rest:
    """A worker that has nothing to do, and the connection that worked alone before, if one did."""

    used_bytes: int
    events: Mapping[str, int]
    alone: str | None


@dataclass(slots=True)
class Observations:
    """Those of one pool; workers are known by number."""

    of: dict[str, Alone] = field(default_factory=dict)
    _rests: dict[int, _Rest] = field(default_factory=dict)

    def rested(self, worker: int, used_bytes: int, events: Mapping[str, int]) -> None:
        """A worker has nothing to do, after so many events of each connection since its start."""
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
            shown = self.of.setdefault(alone, Alone())
            shown.each.add(count, used_bytes - before.used_bytes)
            if before.alone == alone:
                shown.again.add(count, used_bytes - before.used_bytes)
        self._rests[worker] = _Rest(used_bytes, dict(events), alone)

    def ended(self, worker: int) -> None:
        """A worker is gone."""
        self._rests.pop(worker, None)

    def forgotten(self) -> None:
        """What was seen means nothing any more."""
        self.of.clear()
        self._rests.clear()
