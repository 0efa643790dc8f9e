"""Destinations as models: how long a batch takes, and what becomes of its events.

Pure: time and chance are arguments. A model answers for a whole batch, since
that is what the scheduler learns from.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """What a batch met: after `took_s` seconds so many of its events were taken.

    The rest is to be tried again; `is_congested` where that was a limit (429, a
    timeout, no connection), `retry_after_s` where the server said so.
    """

    took_s: float
    taken: int
    is_congested: bool = False
    retry_after_s: float | None = None
    why: str = ""


class Model(Protocol):
    """One endpoint."""

    def answer(self, events: int, now: float, chance: random.Random) -> Answer:
        """A batch of `events` begins now."""


@dataclass(slots=True)
class Healthy:
    """Takes everything, in a time that does not depend on others."""

    latency_s: float = 0.05
    per_event_s: float = 0.0

    def answer(self, events: int, now: float, chance: random.Random) -> Answer:
        spread = 0.8 + 0.4 * chance.random()
        return Answer((self.latency_s + events * self.per_event_s) * spread, events)


@dataclass(slots=True)
class Limited:
    """A server with so much capacity (events a second): what is over it waits, then times out.

    What has timed out costs it work all the same: so a server that is asked for
    more than it can do does less. `success` is the part of its answers that
    are good, by time; the others are its own errors, and quick.
    """

    capacity: float
    success: Callable[[float], float] = lambda now: 1.0
    latency_s: float = 0.05
    timeout_s: float = 10.0
    _busy_until: float = 0.0

    def answer(self, events: int, now: float, chance: random.Random) -> Answer:
        self._busy_until = max(self._busy_until, now) + events / self.capacity
        took_s = self._busy_until - now + self.latency_s * (0.8 + 0.4 * chance.random())
        if took_s > self.timeout_s:
            # Whoever gives up frees its place in the queue a little early.
            self._busy_until -= 0.5 * events / self.capacity
            return Answer(self.timeout_s, 0, is_congested=True, why="no answer in time")
        share = self.success(now)
        taken = events if share >= 1 else sum(chance.random() < share for _ in range(events))
        return Answer(took_s, taken, why="500")


@dataclass(slots=True)
class Hanging:
    """Takes connections and never answers."""

    timeout_s: float = 10.0

    def answer(self, events: int, now: float, chance: random.Random) -> Answer:
        return Answer(self.timeout_s, 0, is_congested=True, why="no answer in time")


@dataclass(slots=True)
class Refusing:
    """Nobody listens."""

    def answer(self, events: int, now: float, chance: random.Random) -> Answer:
        return Answer(0.002, 0, is_congested=True, why="connection refused")


@dataclass(slots=True)
class Throttling:
    """429 with Retry-After for all but so many events of each period."""

    events: int
    retry_after_s: float = 30.0
    latency_s: float = 0.05
    _left: int = 0
    _until: float = float("-inf")

    def answer(self, events: int, now: float, chance: random.Random) -> Answer:
        if now >= self._until:
            self._left, self._until = self.events, now + self.retry_after_s
        taken = min(events, self._left)
        self._left -= taken
        if taken == events:
            return Answer(self.latency_s, taken)
        return Answer(self.latency_s, taken, True, self._until - now, "429")


@dataclass(slots=True)
class Failing:
    """500 for everything, until a time."""

    until: float
    latency_s: float = 0.05

    def answer(self, events: int, now: float, chance: random.Random) -> Answer:
        return Answer(self.latency_s, events if now >= self.until else 0, why="500")
