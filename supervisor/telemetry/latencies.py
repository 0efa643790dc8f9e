"""From receipt to delivery, by connection: a histogram, fine for people and coarse for Prometheus.

Owns its steps: 2^(1/4) from 1 ms to 4.7 hours, so that a quantile is right to a tenth; of these,
Prometheus gets each fourth, which is a doubling. Counting and taking are for the event loop's
thread; the text may be written in any.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from supervisor.telemetry.families import head

#: Upper bounds in seconds, ascending; past the last one is one bucket more.
BOUNDS_S: Final[tuple[float, ...]] = tuple(0.001 * 2.0 ** (step / 4) for step in range(1, 97))
#: Of which Prometheus gets these.
COARSE: Final = 4
COARSE_BOUNDS_S: Final = BOUNDS_S[COARSE - 1 :: COARSE]
_BUCKETS: Final = len(BOUNDS_S) + 1
_COARSE_BUCKETS: Final = len(COARSE_BOUNDS_S) + 1

#: A bucket and how many fell into it, one after the other, buckets ascending.
Sparse = list[int]


def _none_yet() -> array[int]:
    # Of 16 bits: most count little in a minute, and there may be ten thousand of them.
    return array("H", bytes(2 * _BUCKETS))


class _Latencies:
    """Those of one connection: coarse up to the last time they were taken, and fine since then.

    Both are replaced together, so that a reader in another thread has a pair that belongs together.
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = (array("Q", bytes(8 * _COARSE_BUCKETS)), _none_yet())
        self.sum_s = 0.0

    def total(self) -> array[int]:
        """By coarse bucket, of all time."""
        coarse, fine = self.counts
        return array(
            "Q",
            (n + sum(fine[slot * COARSE : (slot + 1) * COARSE]) for slot, n in enumerate(coarse)),
        )

    def fold(self) -> None:
        """What is fine becomes coarse."""
        self.counts = (self.total(), _none_yet())

    def widen(self) -> array[int]:
        """A bucket is full: from here on, until they are taken, each counts as far as any."""
        coarse, fine = self.counts
        self.counts = (coarse, array("Q", fine))
        return self.counts[1]


class Latencies:
    """One family of Prometheus, which can be taken from."""

    def __init__(self, name: str, text: str) -> None:
        self._children: dict[str, _Latencies] = {}
        self._head = head(name, text, "histogram")
        # What is doubled survives the formatting that puts names and figures in.
        bounds = [*(f"{bound:.10g}" for bound in COARSE_BOUNDS_S), "+Inf"]
        self._lines = "".join(
            f'{name}_bucket{{{{connection="{{0}}",le="{bound}"}}}} {{{slot}}}.0\n'
            for slot, bound in enumerate(bounds, 1)
        )
        last = len(bounds)
        self._lines += f'{name}_count{{{{connection="{{0}}"}}}} {{{last}}}.0\n'
        self._lines += f'{name}_sum{{{{connection="{{0}}"}}}} {{{last + 1}!r}}\n'

    def observe_ages(self, connection: str, since: Iterable[float], now: float) -> None:
        """The time from each of these (epoch seconds) to `now`."""
        child = self._children.get(connection)
        if child is None:
            child = self._children[connection] = _Latencies()
        fine = child.counts[1]
        last_at, bucket, age_s, sum_s = math.nan, 0, 0.0, 0.0
        for at in since:
            # Events of one request share their time of receipt, so most need no search.
            if at != last_at:
                last_at = at
                age_s = now - at if now > at else 0.0  # the wall clock may have been set back
                bucket = bisect_left(BOUNDS_S, age_s)
            try:
                fine[bucket] += 1
            except OverflowError:
                fine = child.widen()
                fine[bucket] += 1
            sum_s += age_s
        child.sum_s += sum_s

    def taken(self, connection: str) -> Sparse:
        """What came since the last time; it is not taken twice."""
        child = self._children.get(connection)
        if child is None:
            return []
        found = _sparse(child.counts[1])
        if found:
            child.fold()
        return found

    def recent(self, connection: str) -> Sparse:
        """The same, and it can be taken later."""
        child = self._children.get(connection)
        return [] if child is None else _sparse(child.counts[1])

    def retain(self, connections: Collection[str]) -> None:
        """Forget all others."""
        for connection in [name for name in self._children if name not in connections]:
            del self._children[connection]

    def text(self) -> Iterator[str]:
        """Prometheus' text format. A copy is one step: the event loop goes on counting."""
        yield self._head
        for connection, child in self._children.copy().items():
            yield self._lines.format(connection, *accumulate(child.total()), child.sum_s)


def _sparse(fine: Sequence[int]) -> Sparse:
    return [each for slot, n in enumerate(fine) if n for each in (slot, n)]


def quantile_s(sparse: Sequence[int], share: float) -> float | None:
    """The latency in seconds that `share` (0 to 1) of what was counted stay within.

    None where nothing was; past the last bound, that bound.
    """
    total = sum(sparse[1::2])
    if not total:
        return None
    wanted, seen = share * total, 0
    for slot, n in zip(sparse[::2], sparse[1::2], strict=True):
        if seen + n >= wanted:
            if slot >= len(BOUNDS_S):
                break
            low = BOUNDS_S[slot - 1] if slot else 0.0
            return low + (BOUNDS_S[slot] - low) * (wanted - seen) / n
        seen += n
    return BOUNDS_S[-1]
