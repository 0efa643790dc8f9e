"""How much a worker may say: what its batches are worth, and a little beside.

A worker is hostile input. Frames cost the supervisor time whether they mean anything or not, so
each worker has a budget in bytes, which fills with time and with every delivery that it is given.
What is read costs its bytes, and a frame costs beside them what it takes to handle one of its kind,
before it is decoded. An honest worker never comes near it. Must not know what a message says.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes a second for what no batch pays for: heartbeats and log lines.
BYTES_PER_S = 1024 * 1024
#: Most bytes that idle time can earn.
MOST_EARNED = 1024 * 1024
#: Bytes for each delivery: an outcome with the longest detail, in a frame of its own.
BYTES_PER_DELIVERY = 9 * 1024
#: What a frame costs beside its bytes, so that many small ones are not cheaper than a large one.
FRAME_COST = 256


@dataclass(slots=True)
class WireBudget:
    """Times are seconds of any clock that does not go back. `owed` are outcomes yet to come.

    `prices` are what a frame costs by its kind, where that is more than FRAME_COST.
    """

    prices: dict[int, int]
    left: float = MOST_EARNED
    owed: int = 0
    at: float | None = None

    def given(self, deliveries: int) -> None:
        """A batch went to the worker: it will have something to say."""
        self.left += deliveries * BYTES_PER_DELIVERY
        self.owed += deliveries

    def read(self, size: int, now: float) -> bool:
        """So many bytes were read of it; whether that was within its budget."""
        if self.at is not None and self.left < MOST_EARNED:
            self.left = min(MOST_EARNED, self.left + (now - self.at) * BYTES_PER_S)
        self.at = now
        self.left -= size
        return self.left >= 0

    def said(self, kind: int | None, outcomes: int) -> bool:
        """There is a frame of that kind, with so many outcomes; whether it was within its budget.

        Each delivery has one outcome: a worker has none to tell twice.
        """
        self.left -= FRAME_COST if kind is None else self.prices.get(kind, FRAME_COST)
        self.owed -= outcomes
        return self.left >= 0 and self.owed >= 0


@dataclass(slots=True)
class LineAllowance:
    """Lines of a worker that are logged in a second; the worker keeps to it by itself."""

    most: int
    _second: int = -1
    _taken: int = 0

    def takes(self, now: float) -> bool:
        """Whether there is room for one more line at `now`, in seconds."""
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        self._taken += 1
        return self._taken <= self.most
