"""One batch under probation: what of it is sent again, in which company, and the verdict.

Owns the order of trials. A suspect batch is cut where the marked event is: what
stands before it goes once more together, the marked event alone, what follows
together; a part that kills its worker again goes on singly. So an innocent event is
sent again at most twice, one that kills whoever runs it dies alone twice, and the
order within the batch is kept. Must not know workers, connections or the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

#: Deaths alone after which an event is quarantined.
DEATHS_ALONE = 2


@dataclass(frozen=True, slots=True)
class Try:
    """Send these events, with nothing else in that worker; tell what came of it."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Quarantine:
    """This event kills the worker that runs it."""

    index: int


@dataclass(frozen=True, slots=True)
class Close:
    """Every event of the batch has its verdict, or was given back; `deaths` are those on trial."""

    deaths: int


Step = Try | Quarantine | Close


class OutOfTurn(Exception):
    """The shell told of a trial that does not run, or asked for a step while one does."""


@dataclass(slots=True)
class Case:
    """Events are known by their index in the batch."""

    waiting: deque[tuple[int, ...]]
    trying: tuple[int, ...] | None = None
    deaths: int = 0
    #: of the event that is first in `waiting`, or is on trial now
    _deaths_alone: int = field(default=0)

    @classmethod
    def opened(
        cls,
        suspects: Sequence[int],
        *,
        marked: int | None = None,
        was_alone: bool = False,
        seen: Collection[int] = (),
    ) -> Case:
        """A worker died with `suspects`, in order; `marked` is what it seemed to be at.

        `was_alone`: it had nothing else, so a single suspect has died alone once.
        `seen` were sent again before: they go singly, so that this was the last time.
        """
        if was_alone and len(suspects) == 1:
            return cls(deque([tuple(suspects)]), _deaths_alone=1)
        groups: list[tuple[int, ...]] = []
        together: list[int] = []
        for index in suspects:
            if index == marked or index in seen:
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
        """Events without a verdict, those on trial included."""
        return sum(map(len, self.waiting)) + len(self.trying or ())

    def next(self) -> Step:
        """What is to be done now. Raises OutOfTurn while a trial runs."""
        if self.trying is not None:
            raise OutOfTurn("the last trial is not over")
        if not self.waiting:
            return Close(self.deaths)
        group = self.waiting.popleft()
        if self._deaths_alone >= DEATHS_ALONE:
            self._deaths_alone = 0
            return Quarantine(group[0])
        self.trying = group
        return Try(group)

    def survived(self) -> None:
        """The trial is over, and each of its events has an outcome. Raises OutOfTurn."""
        self._end_trial()
        self._deaths_alone = 0

    def died(self, silent: Collection[int]) -> None:
        """The worker died of the trial; `silent` are events without an outcome. Raises OutOfTurn.

        An event that has its outcome keeps it, also where it killed the worker afterwards.
        """
        group = self._end_trial()
        self.deaths += 1
        left = [index for index in group if index in silent]
        if len(group) == 1 and left:
            self._deaths_alone += 1
        else:
            self._deaths_alone = 0
        self.waiting.extendleft((index,) for index in reversed(left))

    def interrupted(self, silent: Collection[int]) -> None:
        """The trial ended for reasons of ours: what has no outcome is tried again, uncharged."""
        group = self._end_trial()
        left = tuple(index for index in group if index in silent)
        if left:
            self.waiting.appendleft(left)

    def give_up(self) -> tuple[int, ...]:
        """Try nothing more but what has died alone once, and return what is dropped for that."""
        kept = [self.waiting.popleft()] if self._deaths_alone and self.trying is None else []
        dropped = tuple(index for group in self.waiting for index in group)
        self.waiting = deque(kept)
        return dropped

    def dissolve(self) -> tuple[int, ...]:
        """Try nothing more at all, and return what is dropped for that."""
        dropped = tuple(index for group in self.waiting for index in group)
        self.waiting.clear()
        self._deaths_alone = 0
        return dropped

    def _end_trial(self) -> tuple[int, ...]:
        if self.trying is None:
            raise OutOfTurn("no trial runs")
        group, self.trying = self.trying, None
        return group
