"""Histograms by connection, and their text: what would be most of the page at ten thousand.

The library's own cost a lock an observation, and microseconds a line when they
are read; here a connection's lines are one string. Counting is for the event
loop's thread; the text may be written in any. Connections' names need no
escaping: the config sees to that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

from supervisor.telemetry.families import head


class _Histogram:
    """What was observed of one connection."""

    __slots__ = ("counts", "sum_s")

    def __init__(self, slots: int) -> None:
        self.counts = [0] * slots
        self.sum_s = 0.0


class Histograms:
    """One family; `bounds_s` are upper bounds in seconds, ascending."""

    def __init__(self, name: str, text: str, bounds_s: Sequence[float]) -> None:
        self._bounds_s = bounds_s
        self._children: dict[str, _Histogram] = {}
        self._head = head(name, text, "histogram")
        # What is doubled survives the formatting that puts names and figures in.
        bounds = [*map(str, map(float, bounds_s)), "+Inf"]
        self._lines = "".join(
            f'{name}_bucket{{{{connection="{{0}}",le="{bound}"}}}} {{{slot}}}.0\n'
            for slot, bound in enumerate(bounds, 1)
        )
        last = len(bounds)
        self._lines += f'{name}_count{{{{connection="{{0}}"}}}} {{{last}}}.0\n'
        self._lines += f'{name}_sum{{{{connection="{{0}}"}}}} {{{last + 1}!r}}\n'

    def observe(self, connection: str, seconds: float) -> None:
        """One observation."""
        child = self._child(connection)
        child.counts[bisect_left(self._bounds_s, seconds)] += 1
        child.sum_s += seconds

    def _child(self, connection: str) -> _Histogram:
        child = self._children.get(connection)
        if child is None:
            child = self._children[connection] = _Histogram(len(self._bounds_s) + 1)
        return child

    def retain(self, connections: Collection[str]) -> None:
        """Forget all others."""
        for connection in [name for name in self._children if name not in connections]:
            del self._children[connection]

    def text(self) -> Iterator[str]:
        """Prometheus' text format. A copy is one step: the event loop goes on counting."""
        yield self._head
        for connection, child in self._children.copy().items():
            yield self._lines.format(connection, *accumulate(child.counts), child.sum_s)
