"""What is counted of a connection: rates by time, latencies, backlog.

The same for a simulation and for a run of the real service. Latencies are kept
in slots that are 5 % wide, so that a percentile costs the same for a thousand
events and for a million.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from supervisor.core.scheduling.retry_governor import LEAST_AT_ONCE, LEAST_PER_S

_WIDTH = math.log(1.05)
_LEAST_S = 1e-4
#: Retries that may go in a second whatever was proven.
_ALWAYS = LEAST_PER_S + LEAST_AT_ONCE


@dataclass(slots=True)
class Slot:
    """One slot of time."""

    arrived: int = 0
    first: int = 0
    retries: int = 0
    delivered: int = 0
    on_retry: int = 0
    pending: int | None = None
    worst: int = 0
    proven: float | None = None


@dataclass(slots=True)
class Figures:
    """Of one connection; `bucket_s` is the width of its slots of time."""

    bucket_s: float
    slots: dict[int, Slot] = field(default_factory=dict)
    latencies: Counter[int] = field(default_factory=Counter)
    total: Slot = field(default_factory=Slot)
    given_up: int = 0
    worst_pending: int = 0
    last_delivery: float = 0.0

    def _slot(self, now: float) -> Slot:
        number = int(now / self.bucket_s)
        slot = self.slots.get(number)
        if slot is None:
            slot = self.slots[number] = Slot()
        return slot

    def arrived(self, n: int, now: float) -> None:
        self._slot(now).arrived += n
        self.total.arrived += n

    def sent(self, n: int, now: float, *, retries: bool) -> None:
        for slot in (self._slot(now), self.total):
            if retries:
                slot.retries += n
            else:
                slot.first += n

    def delivered(self, n: int, received: float, now: float, *, retries: bool) -> None:
        for slot in (self._slot(now), self.total):
            slot.delivered += n
            slot.on_retry += n if retries else 0
        latency_s = max(_LEAST_S, now - received)
        self.latencies[int(math.log(latency_s / _LEAST_S) / _WIDTH)] += n
        self.last_delivery = now

    def gave_up(self, n: int) -> None:
        self.given_up += n

    def pending(self, n: int, now: float) -> None:
        slot = self._slot(now)
        slot.pending, slot.worst = n, max(slot.worst, n)
        self.worst_pending = max(self.worst_pending, n)

    def proved(self, per_s: float, now: float) -> None:
        """That many events a second is what the destination has proven to take."""
        slot = self._slot(now)
        slot.proven = per_s if slot.proven is None else max(slot.proven, per_s)

    def series(self, name: str, until: float) -> list[float]:
        """One figure in each slot, a second.

        Of `pending` the most, of `proven` the highest; where there is none, the last one holds.
        """
        values: list[float] = []
        last = 0.0
        empty = Slot()
        for number in range(int(until / self.bucket_s) + 1):
            slot = self.slots.get(number, empty)
            if name == "pending":
                values.append(last if slot.pending is None else slot.worst)
                last = last if slot.pending is None else slot.pending
            elif name == "proven":
                last = last if slot.proven is None else slot.proven
                values.append(last)
            else:
                values.append(getattr(slot, name) / self.bucket_s)
        return values

    def retries_to_proven(self, since: float, until: float) -> float:
        """The most retries of a slot, as a share of what was proven in it or in the one before.

        What left in one second may arrive in the next. A few may always go, see
        `core/scheduling/retry_governor.py`, so that where less was proven they are the measure.
        """
        retries, proven = self.series("retries", until), self.series("proven", until)
        return max(
            retries[slot] / max(_ALWAYS, *proven[max(0, slot - 1) : slot + 1])
            for slot in range(int(since / self.bucket_s), len(retries))
        )

    def drained_at(self, since: float, until: float, most: int) -> float | None:
        """From when on at most `most` were pending, after `since`; None where there was no end."""
        slots = self.series("pending", until)
        begin = int(since / self.bucket_s)
        found = next((slot for slot in range(begin, len(slots)) if slots[slot] <= most), None)
        return None if found is None else found * self.bucket_s

    def percentile_s(self, share: float) -> float:
        """The latency that `share` of the deliveries did not exceed, within 5 %; 0 without any."""
        return percentile_s(self.latencies, share)


@dataclass(frozen=True, slots=True)
class Result:
    """A run that has lasted until that second; `marks` are times worth a line in the plot.

    `pending` is what each connection had left at its end.
    """

    title: str
    figures: Mapping[str, Figures]
    pending: Mapping[str, int]
    until: float
    marks: tuple[tuple[float, str], ...] = ()


def percentile_s(latencies: Counter[int], share: float) -> float:
    """The same of slots that were added up."""
    left = share * sum(latencies.values())
    for slot, n in sorted(latencies.items()):
        left -= n
        if left <= 0:
            return float(_LEAST_S * math.exp((slot + 1) * _WIDTH))
    return 0.0
