"""Who holds what grew: what a worker's own copy counts, and how far that is believed.

Owns the evidence of one worker's life. A count says what each connection and each destination's
modules hold. Between two counts, a window, it shows who has come to hold more. It comes from the
process that destinations run in, so it is a hint: it has to agree with the memory that the kernel
accounts for and with the events that were worked on, and several windows have to say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

_Key = TypeVar("_Key", str, tuple[str, ...])

#: Counts kept of one worker's life; past them every other one is dropped.
COUNTS = 16
#: Growth between two counts, as a share of the growth that is judged at all.
WINDOW_SHARE = 1 / 3
#: Windows that have to agree, the last ones.
AGREE = 3
#: A holder is named for at least this share of a window's growth.
LEAST_SHARE = 0.2
#: The kernel's growth must be this share of what is said to be held more, or the count is wrong.
CONFIRMED_SHARE = 0.5
#: What an event leaves behind in the later windows, of what it left in the earlier ones, at least:
#: a cache that fills leaves less and less.
STEADY_SHARE = 0.85
#: What a holder let go of again in any window, as a share of all that it grew by, at most: a leak
#: never does, and what only works with much memory does all the time.
GIVEN_BACK_SHARE = 0.25
#: Counts in a row that could not be had, after which none is waited for.
MOST_FAILURES = 3
#: Share of a window's growth from which on it is known who holds it.
KNOWN_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Count:
    """What was held when a worker had so much private memory, after so many events of each.

    connections: bytes that each holds alone. destinations: bytes that modules hold, by the
    destinations whose modules they are. shared: bytes that nobody's in particular hold, by name.
    """

    used_bytes: int
    events: Mapping[str, int]
    connections: Mapping[str, int] = field(default_factory=dict)
    destinations: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    shared: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Growth:
    """What a holder has come to hold over a life's windows, after so many events of its own."""

    bytes: int
    events: int

    @property
    def per_event_bytes(self) -> float:
        """Of its own events."""
        return self.bytes / self.events if self.events else 0.0


@dataclass(slots=True)
class HoldingHistory:
    """That of one worker's life."""

    counts: list[Count] = field(default_factory=list)
    failures: int = 0
    """Counts that could not be had, since the last that could."""

    def counted(self, count: Count) -> None:
        """Take a count."""
        self.failures = 0
        self.counts.append(count)
        if len(self.counts) > COUNTS:
            self.counts = self.counts[::2]

    def is_due(self, used_bytes: int, base_bytes: int, least_bytes: float) -> bool:
        """Whether it has grown enough for another count, from `base_bytes` on for the first.

        Not where it was tried in vain again and again.
        """
        if self.failures >= MOST_FAILURES:
            return False
        last = self.counts[-1].used_bytes if self.counts else base_bytes
        return used_bytes >= last + WINDOW_SHARE * least_bytes

    @property
    def is_enough(self) -> bool:
        """Whether there are as many windows as have to agree."""
        return len(self.counts) > AGREE

    @property
    def grown_bytes(self) -> int:
        """What the worker has grown by, from its first count to its last."""
        return self.counts[-1].used_bytes - self.counts[0].used_bytes if self.counts else 0

    def leaks(
        self, fed_by: Mapping[str, tuple[str, ...]], least_bytes: float
    ) -> Iterator[tuple[str, Growth]]:
        """Connections that are certain to leave memory behind, with what they did.

        What modules hold is a connection's where it alone, of all that this worker has ever served,
        feeds their destinations; `fed_by` are those, by destination.
        """
        if not self.is_enough:
            return
        for name in self.counts[-1].connections:
            held = [count.connections.get(name, 0) for count in self.counts]
            growth = self._growth(held, (name,), least_bytes)
            if growth is not None:
                yield name, growth
        for names, growth in self.of_modules(fed_by, least_bytes):
            if len(names) == 1:
                yield names[0], growth

    def of_modules(
        self, fed_by: Mapping[str, tuple[str, ...]], least_bytes: float
    ) -> Iterator[tuple[tuple[str, ...], Growth]]:
        """What modules have come to hold, with the connections that may have brought it there."""
        if not self.is_enough:
            return
        for key in self.counts[-1].destinations:
            names = tuple(name for destination in key for name in fed_by.get(destination, ()))
            held = [count.destinations.get(key, 0) for count in self.counts]
            growth = self._growth(held, names, least_bytes)
            if growth is not None:
                yield names, growth

    def events_of(self, names: Iterable[str]) -> dict[str, int]:
        """Events of each of these between the first count and the last."""
        first, last = self.counts[0].events, self.counts[-1].events
        return {name: last.get(name, 0) - first.get(name, 0) for name in names}

    @property
    def nobodys(self) -> str | None:
        """Who holds most of what grew, where that is nobody in particular; else None."""
        return self._most(lambda count: count.shared)

    @property
    def modules(self) -> tuple[str, ...]:
        """The destinations whose modules hold most of what grew; else none."""
        return self._most(lambda count: count.destinations) or ()

    def _most(self, held_in: Callable[[Count], Mapping[_Key, int]]) -> _Key | None:
        """Who of these holds most of what grew since the first count."""
        if len(self.counts) < 2:
            return None
        first, last = held_in(self.counts[0]), held_in(self.counts[-1])
        grown = {name: held - first.get(name, 0) for name, held in last.items()}
        most = max(grown, key=lambda name: grown[name], default=None)
        if most is None or grown[most] < KNOWN_SHARE * max(1, self.grown_bytes):
            return None
        return most

    def _growth(
        self, held: Sequence[int], names: Sequence[str], least_bytes: float
    ) -> Growth | None:
        """What a holder grew by, where all agrees; `held` at each count, `names` feed it."""
        worked = [sum(count.events.get(name, 0) for name in names) for count in self.counts]
        grown = held[-1] - held[0]
        if grown < least_bytes:
            return None
        if any(before - after > GIVEN_BACK_SHARE * grown for before, after in pairwise(held)):
            return None
        for before, after in list(pairwise(range(len(held))))[-AGREE:]:
            more = held[after] - held[before]
            used = self.counts[after].used_bytes - self.counts[before].used_bytes
            if more <= 0 or worked[after] <= worked[before]:
                return None
            if more < LEAST_SHARE * used or used < CONFIRMED_SHARE * more:
                return None
        half = len(held) // 2
        earlier = Growth(held[half] - held[0], worked[half] - worked[0])
        later = Growth(held[-1] - held[half], worked[-1] - worked[half])
        if later.per_event_bytes < STEADY_SHARE * earlier.per_event_bytes:
            return None
        return Growth(grown, worked[-1] - worked[0])
