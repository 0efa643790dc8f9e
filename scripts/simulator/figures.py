"""What is counted of a connection: rates by time, latencies, backlog.

Latencies are kept in slots that are 5 % wide, so that a percentile costs the
same for a thousand events and for a million.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

_WIDTH = math.log(1.05)
_LEAST_S = 1e-4


@dataclass(slots=True)
class Slot:
    """One slot of time."""

    arrived: int = 0
    first: int = 0
    retries: int = 0
    delivered: int = 0
    on_retry: int = 0
    pending: int = 0


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

    def arrived(self, n: int, now: float, pending: int) -> None:
        self._slot(now).arrived += n
        self.total.arrived += n
        self.pending(pending, now)

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
        self._slot(now).pending = n
        self.worst_pending = max(self.worst_pending, n)

    def series(self, name: str, until: float) -> list[float]:
        """One figure in each slot, a second; of `pending` the last known."""
        values: list[float] = []
        pending = 0
        empty = Slot()
        for number in range(int(until / self.bucket_s) + 1):
            slot = self.slots.get(number, empty)
            if name == "pending":
                pending = pending if slot is empty else slot.pending
                values.append(pending)
            else:
                values.append(getattr(slot, name) / self.bucket_s)
        return values

    def percentile_s(self, share: float) -> float:
        """The latency that `share` of the deliveries did not exceed, within 5 %; 0 without any."""
        return percentile_s(self.latencies, share)


def percentile_s(latencies: Counter[int], share: float) -> float:
    """The same of slots that were added up."""
    left = share * sum(latencies.values())
    for slot, n in sorted(latencies.items()):
        left -= n
        if left <= 0:
            return float(_LEAST_S * math.exp((slot + 1) * _WIDTH))
    return 0.0
