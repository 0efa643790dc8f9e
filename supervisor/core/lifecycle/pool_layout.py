"""The plan of one pool: so many slots, so many spares, and the child in each.

Owns which child serves in which slot, which one serves a single connection apart
from the others, when another one is forked, and how long to wait after starts that
failed or workers that died too often. Knows children by number only; their lives
are told in `worker_state.py`. Invariant after every event: children alive and wanted
= slots + cells + spares, or a `Wake` is planned that will make it so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from supervisor.core.effects import Assign, ExitReason, Fork, Isolate, Retire, Wake

Effect = Fork | Assign | Isolate | Retire | Wake


#: Connections of one pool that have a worker of their own at once; others wait for theirs.
CELLS_MOST = 4


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait after starts that failed, and after too many deaths.

    Pauses double from `first_s` up to `most_s`. In the manner of OTP's restart intensity,
    `deaths_a_slot` deaths within `period_s` are made good at once; the next one
    has to wait. The death of a worker that had finished batches is a tenth of one: work is
    done between such deaths, and whose fault they are is for the isolation machine to find out.

    A spare that takes a dead one's slot has `settle_s` to itself before the next one is forked:
    a fork takes ten milliseconds of a core, and the slot's work has waited long enough. Not
    longer, since until then the next death finds no spare.
    """

    first_s: float = 0.1
    most_s: float = 30.0
    deaths_a_slot: int = 10
    period_s: float = 10.0
    worked_cost: float = 0.1
    settle_s: float = 0.005

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after `failures` (at least 1) failed starts in a row."""
        return float(min(self.first_s * 2 ** min(failures - 1, 30), self.most_s))


@dataclass(slots=True)
class PoolLayout:
    """Slots are numbered from 1; `numbers` gives each new child its number."""

    numbers: Iterator[int]
    slots_wanted: int
    spares_wanted: int
    policy: RestartPolicy = RestartPolicy()
    #: slot → child that serves in it, None while it has none
    slots: dict[int, int | None] = field(default_factory=dict)
    #: ready and waiting, oldest first
    spares: list[int] = field(default_factory=list)
    #: connection → child that serves it alone, None while it has none; in the order of their turns
    cells: dict[str, int | None] = field(default_factory=dict)
    #: asked for, not ready yet
    starting: set[int] = field(default_factory=set)
    failures: int = 0
    #: pauses in a row for too many deaths
    pauses: int = 0
    closed: bool = False
    _not_before: float = 0.0
    _settled_at: float = 0.0
    _deaths: float = 0.0
    _deaths_at: float = 0.0

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

    def child_gone(
        self, child: int, *, was_ready: bool, has_worked: bool = False, now: float
    ) -> list[Effect]:
        """A child is dead; a spare takes its slot, and another is forked when that has settled.

        `has_worked`: it had finished a batch.
        """
        if child in self.starting:
            self.starting.discard(child)
            if not was_ready:
                self.failures += 1
                self._not_before = now + self.policy.delay_s(self.failures)
        elif child in self.spares or child in self.slots.values():
            self._died(has_worked, now)
        if self.spares and child in self.slots.values():
            self._settled_at = now + self.policy.settle_s
        self._forget(child)
        return self._fill(now)

    def isolated(self, connection: str, now: float) -> list[Effect]:
        """A connection is to run in a worker of its own, beside the slots."""
        self.cells.setdefault(connection, None)
        return self._fill(now)

    def rejoined(self, connection: str, now: float) -> list[Effect]:
        """It has no use for a worker of its own any more."""
        child = self.cells.pop(connection, None)
        effects: list[Effect] = []
        if child is not None:
            effects.append(Retire(child, ExitReason.RECYCLE))
        return effects + self._fill(now)

    def recycled(
        self, child: int, now: float, reason: ExitReason = ExitReason.RECYCLE
    ) -> list[Effect]:
        """Replace a child that serves: a spare takes its slot first, then it drains."""
        if child not in self.slots.values():
            return []
        self._forget(child)
        return [*self._fill(now), Retire(child, reason)]

    def renewed(self, now: float) -> list[Effect]:
        """What the workers run under has changed: replace all of them."""
        old = self._dismissed()
        self.failures, self.pauses, self._not_before, self._deaths = 0, 0, 0.0, 0.0
        return [*self._fill(now), *(Retire(child, ExitReason.RECYCLE) for child in old)]

    def shut(self) -> list[Effect]:
        """The service drains: nothing is forked any more, and everybody finishes."""
        self.closed = True
        return [Retire(child, ExitReason.DRAIN) for child in self._dismissed()]

    def woke(self, now: float) -> list[Effect]:
        """A planned time has come."""
        return self._fill(now)

    def children(self) -> list[int]:
        """Those that serve, by slot."""
        return [child for _, child in sorted(self.slots.items()) if child is not None]

    @property
    def is_failing(self) -> bool:
        """No child serves, and starts fail, or wait since too many children died."""
        return (self.failures > 0 or self.pauses > 0) and not self.children()

    def pause_s(self, now: float) -> float:
        """Seconds until anybody is forked or put into a slot again; 0 where nothing waits."""
        return max(0.0, self._not_before - now)

    def _dismissed(self) -> list[int]:
        """All children, which have no place here any more."""
        cells = [child for child in self.cells.values() if child is not None]
        everybody = [*self.starting, *self.spares, *self.children(), *cells]
        self.starting.clear()
        self.spares.clear()
        self.slots = dict.fromkeys(self.slots)
        self.cells = dict.fromkeys(self.cells)
        return everybody

    def _died(self, has_worked: bool, now: float) -> None:
        """Count a death of one that served or would have; past the budget, pause."""
        policy = self.policy
        budget = float(policy.deaths_a_slot * max(1, self.slots_wanted))
        healed = (now - self._deaths_at) * budget / policy.period_s
        self._deaths, self._deaths_at = max(0.0, self._deaths - healed), now
        if not self._deaths:
            self.pauses = 0
        self._deaths += policy.worked_cost if has_worked else 1.0
        if self._deaths > budget:
            self._deaths = budget
            self.pauses += 1
            self._not_before = max(self._not_before, now + policy.delay_s(self.pauses))

    def _forget(self, child: int) -> None:
        if child in self.spares:
            self.spares.remove(child)
        for slot, holder in self.slots.items():
            if holder == child:
                self.slots[slot] = None
        for connection, holder in list(self.cells.items()):
            if holder == child:
                # To the end of the line: those that wait have not even been tried.
                del self.cells[connection]
                self.cells[connection] = None

    def _fill(self, now: float) -> list[Effect]:
        if self.closed:
            return []
        effects: list[Effect] = []
        is_pausing = self.pauses > 0 and now < self._not_before
        for slot, holder in sorted(self.slots.items()):
            if holder is None and self.spares and not is_pausing:
                child = self.spares.pop(0)
                self.slots[slot] = child
                effects.append(Assign(child, slot))
        cells = list(self.cells.items())[:CELLS_MOST]
        for connection, holder in cells:
            if holder is None and self.spares:
                child = self.spares.pop(0)
                self.cells[connection] = child
                effects.append(Isolate(child, connection))
        empty = sum(holder is None for holder in self.slots.values())
        empty += sum(self.cells[connection] is None for connection, _ in cells)
        while len(self.spares) > self.spares_wanted + empty:
            effects.append(Retire(self.spares.pop(), ExitReason.RECYCLE))
        missing = empty + self.spares_wanted - len(self.spares) - len(self.starting)
        if now < self._not_before and (missing > 0 or (is_pausing and empty)):
            effects.append(Wake(self._not_before))
            return effects
        if missing > 0 and not empty and now < self._settled_at:
            effects.append(Wake(self._settled_at))
            return effects
        if self.failures and missing > 0:
            # One at a time while starts fail: a pool that cannot start must not eat the machine.
            missing = 0 if self.starting else 1
        for _ in range(missing):
            child = next(self.numbers)
            self.starting.add(child)
            effects.append(Fork(child))
        return effects
