"""How well a connection does: one score for deaths, memory, slowness and errors together.

Owns when a connection trips by itself: after a few faults with nothing good between
them, or when it has cost more workers than it may in a while, however much it delivers
meanwhile. Errors and slowness add to the score but never trip alone, since a partner that
is down or slow is the business of back-off. Must not know workers, queues or breakers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from supervisor.core.effects import ExitReason

#: The score at which a connection trips. One event that kills (in company once, alone twice) is
#: not enough; whatever else dies before anything goes well is.
TRIP_AT = 4.0
#: The most that errors and slowness may make of it.
MILD_MOST = 2.0
#: Where the score stands after a trip: a probe that dies twice trips again.
AFTER_TRIP = TRIP_AT - 2.0
#: Deaths that a connection may cause at once, and seconds in which it earns one back.
DEATHS_MOST = 6.0
DEATH_EARNED_S = 10.0


class FaultKind(Enum):
    """What went wrong."""

    DEATH = auto()
    """A worker died of it: crash, signal, nonsense on the wire."""
    HANG = auto()
    """A worker had to be killed, since it blocked or ran past its deadline."""
    MEMORY = auto()
    """It used up, or leaks, the memory of its worker."""
    SLOW = auto()
    """A batch took nearly all the time that it may take."""
    ERROR = auto()
    """A batch failed as a whole."""


#: What a fault adds to the score.
_WEIGHTS = {
    FaultKind.DEATH: 1.0,
    FaultKind.HANG: 1.0,
    FaultKind.MEMORY: 1.0,
    FaultKind.SLOW: 0.5,
    FaultKind.ERROR: 0.25,
}
#: Those that never trip a connection by themselves.
_MILD = frozenset({FaultKind.SLOW, FaultKind.ERROR})
_WORDS = {
    FaultKind.DEATH: "workers killed",
    FaultKind.HANG: "workers hung",
    FaultKind.MEMORY: "workers out of memory",
    FaultKind.SLOW: "batches too slow",
    FaultKind.ERROR: "batches failed",
}


def fault_of(reason: ExitReason) -> FaultKind | None:
    """What the end of a worker is charged as, None where that is nobody's fault.

    The same for one that was replaced before it could die of it: that, too, takes a fork and
    a snapshot, which neighbours pay for, and will happen again.
    """
    match reason:
        case ExitReason.OOM | ExitReason.LEAK:
            return FaultKind.MEMORY
        case ExitReason.TIMEOUT:
            return FaultKind.HANG
        case (
            ExitReason.CRASH
            | ExitReason.SIGNAL
            | ExitReason.LIMIT
            | ExitReason.PROTOCOL
            | ExitReason.EGRESS
        ):
            return FaultKind.DEATH
        case ExitReason.RECYCLE | ExitReason.DRAIN:
            return None


@dataclass(slots=True)
class HealthScore:
    """One connection's. Times are seconds of a clock that does not go back."""

    grave: float = 0.0
    mild: float = 0.0
    _deaths_left: float = DEATHS_MOST
    _earned_at: float | None = None
    _counts: dict[FaultKind, int] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """0 is perfect; at `TRIP_AT` it trips."""
        return self.grave + min(self.mild, MILD_MOST)

    def charged(self, fault: FaultKind, detail: str, now: float) -> str | None:
        """Count a fault; why the connection trips, where it does now."""
        self._counts[fault] = self._counts.get(fault, 0) + 1
        if fault in _MILD:
            self.mild = min(self.mild + _WEIGHTS[fault], MILD_MOST)
            return None
        self.grave += _WEIGHTS[fault]
        self._earn(now)
        self._deaths_left -= 1.0
        if self.score >= TRIP_AT:
            return self._tripped(
                f"{self._story()}, and too little delivered between; last: {detail}"
            )
        if self._deaths_left < 0:
            self._deaths_left = 0.0
            return self._tripped(
                f"it cost more than {DEATHS_MOST:g} workers in a short while: {self._story()};"
                f" last: {detail}"
            )
        return None

    def went_well(self) -> None:
        """A batch was delivered: half of what was held against it is forgotten."""
        self.grave /= 2
        self.mild /= 2
        if self.score < 1.0:
            self._counts.clear()  # what comes from here on is another story

    def _earn(self, now: float) -> None:
        if self._earned_at is not None:
            earned = (now - self._earned_at) / DEATH_EARNED_S
            self._deaths_left = min(DEATHS_MOST, self._deaths_left + earned)
        self._earned_at = now

    def _tripped(self, reason: str) -> str:
        self.grave, self.mild = AFTER_TRIP, 0.0
        self._counts.clear()
        return reason

    def _story(self) -> str:
        return ", ".join(f"{n} {_WORDS[fault]}" for fault, n in self._counts.items())
