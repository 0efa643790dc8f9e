"""The plan of one pool: so many slots, so many spares, and who is where.

Owns which child serves in which slot, when another one is forked, and how long
to wait after starts that failed. Knows children by number only; their lives
are told in `child.py`. Invariant after every event: children alive and wanted
= slots + spares, or a `Wake` is planned that will make it so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from supervisor.core.effects import Assign, ExitReason, Retire, Spawn, Wake

Effect = Spawn | Assign | Retire | Wake


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait after a start that failed: doubling from `first_s` up to `most_s`."""

    first_s: float = 0.1
    most_s: float = 30.0

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after `failures` (at least 1) failed starts in a row."""
        return float(min(self.first_s * 2 ** min(failures - 1, 30), self.most_s))


@dataclass(slots=True)
class Pool:
    """Slots are numbered from 1; `numbers` gives each new child its number."""

    numbers: Iterator[int]
    slots_wanted: int
    spares_wanted: int
    policy: RestartPolicy = RestartPolicy()
    #: slot → child that serves in it, None while it has none
    slots: dict[int, int | None] = field(default_factory=dict)
    #: ready and waiting, oldest first
    spares: list[int] = field(default_factory=list)
    #: asked for, not ready yet
    starting: set[int] = field(default_factory=set)
    failures: int = 0
    closed: bool = False
    _not_before: float = 0.0

    def started(self, now: float) -> list[Effect]:
        """The pool may run: fork everything that it needs."""
        self.slots = dict.fromkeys(range(1, self.slots_wanted + 1))
        return self._fill(now)

    def resized(self, slots: int, spares: int, now: float) -> list[Effect]:
        """The config wants other numbers; surplus workers finish what they have."""
        self.slots_wanted, self.spares_wanted = slots, spares
        effects: list[Effect] = []
        for slot in sorted(self.slots):
            if slot > slots:
                child = self.slots.pop(slot)
                if child is not None:
                    effects.append(Retire(child, ExitReason.RECYCLE))
        for slot in range(1, slots + 1):
            self.slots.setdefault(slot, None)
        return effects + self._fill(now)

    def child_ready(self, child: int, now: float) -> list[Effect]:
        """A child has started; it takes the first empty slot, else it is a spare."""
        if child not in self.starting:
            return []  # retired before it was ready
        self.starting.discard(child)
        self.spares.append(child)
        self.failures = 0
        return self._fill(now)

    def child_gone(self, child: int, *, was_ready: bool, now: float) -> list[Effect]:
        """A child is dead; a spare takes its slot, and another is forked behind it."""
        if child in self.starting:
            self.starting.discard(child)
            if not was_ready:
                self.failures += 1
                self._not_before = now + self.policy.delay_s(self.failures)
        self._forget(child)
        return self._fill(now)

    def recycled(self, child: int, now: float) -> list[Effect]:
        """Replace a child that serves: a spare takes its slot first, then it drains."""
        if child not in self.slots.values():
            return []
        self._forget(child)
        return [*self._fill(now), Retire(child, ExitReason.RECYCLE)]

    def renewed(self, now: float) -> list[Effect]:
        """What the workers run under has changed: replace all of them."""
        old = [*self.starting, *self.spares, *self.children()]
        self.starting.clear()
        self.spares.clear()
        for slot in self.slots:
            self.slots[slot] = None
        self.failures, self._not_before = 0, 0.0
        return [*self._fill(now), *(Retire(child, ExitReason.RECYCLE) for child in old)]

    def shut(self) -> list[Effect]:
        """The service drains: nothing is forked any more, and everybody finishes."""
        self.closed = True
        everybody = [*self.starting, *self.spares, *self.children()]
        self.starting.clear()
        self.spares.clear()
        for slot in self.slots:
            self.slots[slot] = None
        return [Retire(child, ExitReason.DRAIN) for child in everybody]

    def woke(self, now: float) -> list[Effect]:
        """A planned time has come."""
        return self._fill(now)

    def children(self) -> list[int]:
        """Those that serve, by slot."""
        return [child for _, child in sorted(self.slots.items()) if child is not None]

    @property
    def is_failing(self) -> bool:
        """No child serves, and starts fail."""
        return self.failures > 0 and not self.children()

    def _forget(self, child: int) -> None:
        if child in self.spares:
            self.spares.remove(child)
        for slot, holder in self.slots.items():
            if holder == child:
                self.slots[slot] = None

    def _fill(self, now: float) -> list[Effect]:
        if self.closed:
            return []
        effects: list[Effect] = []
        for slot, holder in sorted(self.slots.items()):
            if holder is None and self.spares:
                child = self.spares.pop(0)
                self.slots[slot] = child
                effects.append(Assign(child, slot))
        while len(self.spares) > self.spares_wanted:
            effects.append(Retire(self.spares.pop(), ExitReason.RECYCLE))
        empty = sum(holder is None for holder in self.slots.values())
        missing = empty + self.spares_wanted - len(self.spares) - len(self.starting)
        if missing > 0 and now < self._not_before:
            effects.append(Wake(self._not_before))
            return effects
        if self.failures and missing > 0:
            # One at a time while starts fail: a pool that cannot start must not eat the machine.
            missing = 0 if self.starting else 1
        for _ in range(missing):
            child = next(self.numbers)
            self.starting.add(child)
            effects.append(Spawn(child))
        return effects
