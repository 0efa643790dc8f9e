"""One suspected batch: what is sent again, in which company, and which delivery is guilty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.isolation.bisection import (
    AllDecided,
    Bisection,
    KillerFound,
    ProbeDue,
    ProbeOutOfTurn,
)


@dataclass
class Probes:
    """Plays worker and shell: `kills(indices)` says of which event a worker dies, if any."""

    kills: Callable[[Sequence[int]], int | None]
    #: whether events ahead of the one that kills are reported before the worker dies
    reports_early: bool = False
    sent: Counter[int] = field(default_factory=Counter)
    tries: list[tuple[int, ...]] = field(default_factory=list)
    deaths: int = 0
    delivered: set[int] = field(default_factory=set)
    quarantined: set[int] = field(default_factory=set)

    def run(self, bisection: Bisection) -> None:
        for _ in range(10_000):
            match bisection.next():
                case ProbeDue(indices=indices):
                    self._try(bisection, indices)
                case KillerFound(index=index):
                    assert index not in self.delivered | self.quarantined
                    self.quarantined.add(index)
                case AllDecided():
                    return
        raise AssertionError("it does not end")

    def _try(self, bisection: Bisection, indices: tuple[int, ...]) -> None:
        self.tries.append(indices)
        self.sent.update(indices)
        assert not set(indices) & (self.delivered | self.quarantined)
        victim = self.kills(indices)
        if victim is None:
            self.delivered.update(indices)
            bisection.survived()
            return
        self.deaths += 1
        told = indices[: indices.index(victim)] if self.reports_early else ()
        self.delivered.update(told)
        bisection.died([index for index in indices if index not in told])


def by_event(*poison: int) -> Callable[[Sequence[int]], int | None]:
    return lambda indices: next((index for index in indices if index in poison), None)


def test_marked_event_goes_alone_and_the_rest_together() -> None:
    """The one that kills is cut out; what is before and behind it goes once more, in order."""
    probes = Probes(by_event(3))
    probes.run(Bisection.opened(range(6), marked=3))
    assert probes.tries == [(0, 1, 2), (3,), (3,), (4, 5)]
    assert probes.quarantined == {3}
    assert probes.delivered == {0, 1, 2, 4, 5}


def test_without_a_mark_they_go_together_and_then_singly() -> None:
    """A batch that dies again with nobody marked is taken apart."""
    probes = Probes(by_event(1))
    probes.run(Bisection.opened(range(3)))
    assert probes.tries == [(0, 1, 2), (0,), (1,), (1,), (2,)]
    assert probes.quarantined == {1}


def test_forged_mark_costs_an_innocent_nothing() -> None:
    """An event that is marked and innocent is delivered, and the guilty one is found."""
    probes = Probes(by_event(4))
    probes.run(Bisection.opened(range(6), marked=0))
    assert probes.quarantined == {4}
    assert probes.delivered == {0, 1, 2, 3, 5}


def test_event_that_was_alone_in_its_own_worker_has_died_alone_once() -> None:
    """It takes one more death, and not two."""
    probes = Probes(by_event(0))
    probes.run(Bisection.opened([0], marked=0, was_alone=True))
    assert probes.tries == [(0,)]
    assert probes.quarantined == {0}


def test_poison_in_company_only_is_delivered() -> None:
    """Two events that kill only together are delivered one by one."""
    probes = Probes(lambda indices: 2 if {2, 4} <= set(indices) else None)
    probes.run(Bisection.opened(range(6)))
    assert probes.delivered == set(range(6))
    assert not probes.quarantined


def test_events_that_were_sent_again_before_go_singly() -> None:
    """Who was in a death before and was sent again is sent once more only, decisively."""
    probes = Probes(by_event())
    probes.run(Bisection.opened(range(4), resent={1, 2}))
    assert probes.tries == [(0,), (1,), (2,), (3,)]


def test_what_was_reported_before_a_death_is_not_sent_again() -> None:
    """Outcomes that came ahead of a death hold."""
    probes = Probes(by_event(2), reports_early=True)
    probes.run(Bisection.opened(range(4)))
    assert probes.sent == Counter({0: 1, 1: 1, 2: 3, 3: 2})


def test_giving_up_decides_what_has_died_alone_and_drops_the_rest() -> None:
    """Of a connection that trips, the event that was probed gets its verdict; others wait."""
    bisection = Bisection.opened(range(4), marked=0)
    assert bisection.next() == ProbeDue((0,))
    bisection.died([0])
    assert bisection.give_up() == (1, 2, 3)
    assert bisection.next() == ProbeDue((0,))
    bisection.died([0])
    assert bisection.next() == KillerFound(0)
    assert bisection.next() == AllDecided(2)


def test_giving_up_between_trials_drops_everything() -> None:
    """Nothing that has not died alone is held any longer."""
    bisection = Bisection.opened(range(4))
    assert bisection.next() == ProbeDue((0, 1, 2, 3))
    bisection.died(range(4))
    assert bisection.give_up() == (0, 1, 2, 3)
    assert bisection.next() == AllDecided(1)


def test_dissolving_drops_also_what_has_died_alone() -> None:
    """In a drain nobody is tried any more; what runs may finish."""
    bisection = Bisection.opened(range(4), marked=1)
    assert bisection.next() == ProbeDue((0,))
    assert bisection.dissolve() == (1, 2, 3)
    bisection.died([0])
    assert bisection.dissolve() == (0,)
    assert bisection.next() == AllDecided(1)


def test_interrupted_trial_is_made_again_uncharged() -> None:
    """A worker that ended for reasons of ours says nothing about its events."""
    bisection = Bisection.opened([0, 1])
    assert bisection.next() == ProbeDue((0, 1))
    bisection.interrupted([1])
    assert bisection.next() == ProbeDue((1,))
    bisection.survived()
    assert bisection.next() == AllDecided(0)


@pytest.mark.parametrize("fact", ["survived", "died", "interrupted"])
def test_news_of_a_trial_that_does_not_run_is_a_bug(fact: str) -> None:
    """Between two probes, nothing can be told of one."""
    bisection = Bisection.opened([0, 1])
    arguments: list[list[int]] = [] if fact == "survived" else [[0]]
    with pytest.raises(ProbeOutOfTurn):
        getattr(bisection, fact)(*arguments)


def test_no_step_while_a_trial_runs() -> None:
    """One probe at a time."""
    bisection = Bisection.opened([0, 1])
    bisection.next()
    with pytest.raises(ProbeOutOfTurn):
        bisection.next()


@given(st.data())
def test_every_bisection_ends_and_spares_the_innocent(data: st.DataObject) -> None:
    """Whatever kills: each event has one verdict, innocents go at most twice, poison thrice."""
    size = data.draw(st.integers(1, 12))
    everyone = st.integers(0, size - 1)
    poison = data.draw(st.frozensets(everyone, max_size=3))
    is_whimsical = data.draw(st.booleans())

    def kills(indices: Sequence[int]) -> int | None:
        found = [index for index in indices if index in poison]
        if not found or (is_whimsical and data.draw(st.integers(0, 2))):
            return None
        return data.draw(st.sampled_from(found))

    probes = Probes(kills, reports_early=data.draw(st.booleans()))
    marked = data.draw(st.none() | everyone)
    resent = data.draw(st.frozensets(everyone))
    bisection = Bisection.opened(range(size), marked=marked, resent=resent)
    assert bisection.undecided == size
    probes.run(bisection)
    assert probes.delivered | probes.quarantined == set(range(size))
    assert not probes.delivered & probes.quarantined
    assert probes.quarantined <= poison
    assert is_whimsical or probes.quarantined == poison or probes.reports_early
    for index in range(size):
        most = 3 if index in poison else 1 if index in resent else 2
        assert probes.sent[index] <= most
    assert probes.deaths <= 2 * len(poison) + len(poison) + 1
