"""Counters by label and figures by connection, and their text, for what there may be thousands of.

The library's own cost a lock a count, and microseconds a line when they are
read, which at ten thousand connections is most of a second; here a line is one
string. Counting is for the event loop's thread; the text may be written in any.
Values of labels need no escaping: they are names that the config has checked, or
members of closed sets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal


def head(name: str, text: str, kind: Literal["counter", "gauge", "histogram"]) -> str:
    """What stands above the lines of a family."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


class _Count:
    """One line: all of it but the number, and the number."""

    __slots__ = ("line", "n")

    def __init__(self, line: str) -> None:
        self.line = line
        self.n = 0


class Counts:
    """A family of counters; `labels` are the names of what `add` is given, in its order."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self._name = name
        self._labels = labels
        self._head = head(name, text, "counter")
        self._children: dict[tuple[str, ...], _Count] = {}

    def add(self, values: tuple[str, ...], n: int) -> None:
        """Count `n` more under these values of the labels."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = _Count(self._line(values))
        child.n += n

    def _line(self, values: tuple[str, ...]) -> str:
        pairs = sorted(zip(self._labels, values, strict=True))
        inside = ",".join(f'{label}="{value}"' for label, value in pairs)
        return f"{self._name}{{{inside}}} "

    def retain(self, kept: Collection[str]) -> None:
        """Forget those whose first label is not in `kept`."""
        for values in [values for values in self._children if values[0] not in kept]:
            del self._children[values]

    def text(self) -> Iterator[str]:
        """Prometheus' text format. A copy is one step: the event loop goes on counting."""
        yield self._head
        for child in self._children.copy().values():
            yield f"{child.line}{child.n}.0\n"


def by_connection(
    name: str,
    text: str,
    kind: Literal["counter", "gauge"],
    figures: Iterable[tuple[str, float]],
) -> Iterator[str]:
    """A family with one line a connection, for figures that are looked at and not counted."""
    yield head(name, text, kind)
    for connection, figure in figures:
        yield f'{name}{{connection="{connection}"}} {float(figure)!r}\n'
