"""One suspected batch: which of its deliveries are sent again, in which company, and the verdict.

Owns the order of probes. A suspected batch is cut where the marked delivery is: the deliveries
before it go once more together, the marked one alone, those behind it together; a part that kills
its worker again goes on singly. So an innocent delivery is sent again at most twice, one that kills
any worker that runs it dies alone twice, and the order within the batch is kept. Must not know
workers, connections or the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

#: Deaths alone after which a delivery is quarantined.
DEATHS_ALONE = 2


@dataclass(frozen=True, slots=True)
class ProbeDue:
    """Send these, with nothing else in their worker, and tell what came of it."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KillerFound:
    """This delivery kills the worker that runs it."""

    index: int


@dataclass(frozen=True, slots=True)
class AllDecided:
    """Every delivery has its verdict, or was given back; `deaths` are those of probes."""

    deaths: int


BisectionStep = ProbeDue | KillerFound | AllDecided


class ProbeOutOfTurn(Exception):
    """The machine told of a probe that does not run, or asked for a step while one does."""


@dataclass(slots=True)
class Bisection:
    """Deliveries are known by their index in the batch."""

    waiting: deque[tuple[int, ...]]
    probed: tuple[int, ...] | None = None
    deaths: int = 0
    #: of the delivery that is first in `waiting`, or is probed now
    _deaths_alone: int = field(default=0)

    @classmethod
    def opened(
        cls,
        suspected: Sequence[int],
        *,
        marked: int | None = None,
        was_alone: bool = False,
        resent: Collection[int] = (),
    ) -> Bisection:
        """A worker died with `suspected`, in order; `marked` is what it seemed to be at.

        `was_alone`: the worker had nothing else, so a single delivery has died alone once.
        `resent` were sent again before: they go singly, so that this was the last time.
        """
        if was_alone and len(suspected) == 1:
            return cls(deque([tuple(suspected)]), _deaths_alone=1)
        groups: list[tuple[int, ...]] = []
        together: list[int] = []
        for index in suspected:
            if index == marked or index in resent:
                if together:
                    groups.append(tuple(together))
                    together = []
                groups.append((index,))
            else:
                together.append(index)
        if together:
            groups.append(tuple(together))
        return cls(deque(groups))

    @property
    def undecided(self) -> int:
        """Deliveries without a verdict, those of a probe that runs included."""
        return sum(map(len, self.groups))

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """Deliveries without a verdict, by what goes together; a probe that runs comes first."""
        return [*([] if self.probed is None else [self.probed]), *self.waiting]

    def next(self) -> BisectionStep:
        """What is to be done now. Raises ProbeOutOfTurn while a probe runs."""
        if self.probed is not None:
            raise ProbeOutOfTurn("the last probe is not over")
        if not self.waiting:
            return AllDecided(self.deaths)
        group = self.waiting.popleft()
        if self._deaths_alone >= DEATHS_ALONE:
            self._deaths_alone = 0
            return KillerFound(group[0])
        self.probed = group
        return ProbeDue(group)

    def survived(self) -> None:
        """The probe is over, and each of its deliveries has an outcome. Raises ProbeOutOfTurn."""
        self._end_probe()
        self._deaths_alone = 0

    def died(self, unreported: Collection[int]) -> None:
        """The worker died of the probe; `unreported` have no outcome. Raises ProbeOutOfTurn.

        A delivery that has its outcome keeps it, also where it killed the worker afterwards.
        """
        group = self._end_probe()
        self.deaths += 1
        left = [index for index in group if index in unreported]
        if len(group) == 1 and left:
            self._deaths_alone += 1
        else:
            self._deaths_alone = 0
        self.waiting.extendleft((index,) for index in reversed(left))

    def interrupted(self, unreported: Collection[int]) -> None:
        """The probe ended for reasons of ours: what has no outcome is probed again, uncharged.

        Raises ProbeOutOfTurn.
        """
        group = self._end_probe()
        left = tuple(index for index in group if index in unreported)
        if left:
            self.waiting.appendleft(left)

    def give_up(self) -> tuple[int, ...]:
        """Probe nothing more but what has died alone once, and return what is dropped for that."""
        kept = [self.waiting.popleft()] if self._deaths_alone and self.probed is None else []
        dropped = tuple(index for group in self.waiting for index in group)
        self.waiting = deque(kept)
        return dropped

    def dissolve(self) -> tuple[int, ...]:
        """Probe nothing more at all, and return what is dropped for that."""
        dropped = tuple(index for group in self.waiting for index in group)
        self.waiting.clear()
        self._deaths_alone = 0
        return dropped

    def _end_probe(self) -> tuple[int, ...]:
        if self.probed is None:
            raise ProbeOutOfTurn("no probe runs")
        group, self.probed = self.probed, None
        return group
