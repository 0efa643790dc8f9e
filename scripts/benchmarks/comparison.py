"""How figures are compared: the "How" paragraph of the goals, and nothing else.

Owns interleaved pairs, medians, the A/A pair and the refusal of noise. Pure
but for calling the measurements it is given; must not know what they measure.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

#: One run; returns its figure.
Measurement = Callable[[], float]
PAIRS = 5


class Disposition(enum.StrEnum):
    """What may be said of a figure and its goal."""

    MET = "met"
    MISSED = "missed"
    NO_RESULT = "no result"
    NO_GOAL = "-"


@dataclass(frozen=True)
class Figure:
    """One line of a result: a value, its goal, and how much two equal runs differed.

    `noise` is a share (0.05 is 5 %). `detail` says what the value is made of.
    """

    name: str
    value: float
    unit: str
    goal: float | None
    is_more_better: bool
    noise: float
    detail: str = ""

    @classmethod
    def median(
        cls,
        name: str,
        figures: Sequence[float],
        unit: str,
        goal: float | None,
        is_more_better: bool,
        noise: float,
    ) -> Figure:
        """The median of several runs; the detail tells the lowest and the highest."""
        detail = f"{min(figures):,.4g} to {max(figures):,.4g} in {len(figures)} runs"
        return cls(name, statistics.median(figures), unit, goal, is_more_better, noise, detail)

    @property
    def disposition(self) -> Disposition:
        """Where noise is above half the margin to the goal, there is no result."""
        if self.goal is None:
            return Disposition.NO_GOAL
        is_met = self.value >= self.goal if self.is_more_better else self.value <= self.goal
        # A figure without noise is a count, and stands as it is.
        if self.noise and self.noise > abs(self.value / self.goal - 1) / 2:
            return Disposition.NO_RESULT
        return Disposition.MET if is_met else Disposition.MISSED


@dataclass(frozen=True)
class Pairs:
    """Figures of A and B that were measured in turn, and of two more runs of A."""

    a: Sequence[float]
    b: Sequence[float]
    same: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Median of A over B, pair by pair, so that slow drift of the machine cancels out."""
        return statistics.median(a / b for a, b in zip(self.a, self.b, strict=True))

    @property
    def noise(self) -> float:
        """How much two runs of A differ, as a share."""
        return difference(*self.same)


def difference(one: float, other: float) -> float:
    """How far two figures are apart, as a share of the smaller one."""
    low, high = sorted((one, other))
    return high / low - 1 if low > 0 else float("inf")


def interleave(a: Measurement, b: Measurement, pairs: int = PAIRS) -> Pairs:
    """A B A B ..., then A A. Whatever a measurement raises ends it all."""
    figures_a: list[float] = []
    figures_b: list[float] = []
    for _ in range(pairs):
        figures_a.append(a())
        figures_b.append(b())
    return Pairs(figures_a, figures_b, (a(), a()))


T = TypeVar("T")


@dataclass(frozen=True)
class Beside(Generic[T]):
    """What A gave, round by round, and what the B before and behind it in its round gave."""

    a: Sequence[T]
    b: Sequence[tuple[T, T]]

    def ratio(self, figure: Callable[[T], float]) -> float:
        """Median of A over the mean of both B of its round."""
        return statistics.median(
            figure(a) / statistics.mean(map(figure, pair))
            for a, pair in zip(self.a, self.b, strict=True)
        )

    def noise(self, figure: Callable[[T], float]) -> float:
        """How much two runs of B differ, as a share: the median over rounds."""
        return statistics.median(difference(*map(figure, pair)) for pair in self.b)


def beside(
    many: Mapping[str, Callable[[], T]], b: Callable[[], T], rounds: int, done: Callable[[], None]
) -> dict[str, Beside[T]]:
    """B A1 A2 ... B, again and again: many to compare with one, which is not run for each anew.

    `done` is called after each run. Whatever a measurement raises ends it all.
    """
    figures: dict[str, list[T]] = {name: [] for name in many}
    pairs: list[tuple[T, T]] = []

    def run(measure: Callable[[], T]) -> T:
        figure = measure()
        done()
        return figure

    for _ in range(rounds):
        first = run(b)
        for name, measure in many.items():
            figures[name].append(run(measure))
        pairs.append((first, run(b)))
    return {name: Beside(found, pairs) for name, found in figures.items()}


def percentile(figures: Sequence[float], share: float) -> float:
    """The smallest of `figures` that `share` of them do not exceed; `share` within (0, 1]."""
    ordered = sorted(figures)
    return ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)]
