"""How trust is lost, and what wins it back."""

from __future__ import annotations

import itertools

import pytest

from supervisor.core.isolation.trust import (
    EVENTS_A_BATCH,
    PROOF_BATCHES,
    PROOF_BATCHES_MOST,
    QUIET_S,
    RELAPSE_S,
    SECONDS_A_BATCH,
    Attribution,
    TrustFact,
    trust_after,
)
from supervisor.core.placement import TrustState

TRUSTED, PROBATION, UNPROVEN = TrustState.TRUSTED, TrustState.PROBATION, TrustState.UNPROVEN

# (trust, fact) → trust after it
TABLE = {
    (TRUSTED, TrustFact.ACCUSED): PROBATION,
    (TRUSTED, TrustFact.CLEARED): TRUSTED,
    (TRUSTED, TrustFact.SUSPECTED): TRUSTED,
    (TRUSTED, TrustFact.PROVEN): TRUSTED,
    (PROBATION, TrustFact.ACCUSED): PROBATION,
    (PROBATION, TrustFact.CLEARED): TRUSTED,
    (PROBATION, TrustFact.SUSPECTED): UNPROVEN,
    (PROBATION, TrustFact.PROVEN): PROBATION,
    (UNPROVEN, TrustFact.ACCUSED): PROBATION,
    (UNPROVEN, TrustFact.CLEARED): UNPROVEN,
    (UNPROVEN, TrustFact.SUSPECTED): UNPROVEN,
    (UNPROVEN, TrustFact.PROVEN): TRUSTED,
}

# (trust, what happens) → trust after it
HAPPENINGS = {
    (TRUSTED, "accused"): PROBATION,
    (TRUSTED, "case closed"): TRUSTED,
    (TRUSTED, "case closed, alone"): TRUSTED,
    (TRUSTED, "case closed, one of many"): TRUSTED,
    (TRUSTED, "went well"): TRUSTED,
    (PROBATION, "accused"): PROBATION,
    (PROBATION, "case closed"): UNPROVEN,
    (PROBATION, "case closed, alone"): TRUSTED,
    (PROBATION, "case closed, one of many"): TRUSTED,
    (PROBATION, "went well"): PROBATION,
    (UNPROVEN, "accused"): PROBATION,
    (UNPROVEN, "case closed"): UNPROVEN,
    (UNPROVEN, "case closed, alone"): UNPROVEN,
    (UNPROVEN, "case closed, one of many"): UNPROVEN,
    (UNPROVEN, "went well"): UNPROVEN,
}


@pytest.mark.parametrize(("trust", "fact"), list(itertools.product(TrustState, TrustFact)))
def test_every_trust_answers_every_fact(trust: TrustState, fact: TrustFact) -> None:
    """Trust and a fact lead to one trust."""
    assert trust_after(trust, fact) is TABLE[trust, fact]


@pytest.mark.parametrize(("trust", "what"), HAPPENINGS)
def test_every_trust_answers_whatever_happens(trust: TrustState, what: str) -> None:
    """One batch that goes well proves too little."""
    attribution = Attribution(cases=1 if trust is PROBATION else 0, batch_events=1)
    attribution.is_suspected = what != "case closed, one of many"
    match what:
        case "accused":
            after = attribution.accused(trust, 1, 0.0)
        case "case closed" | "case closed, one of many":
            after = attribution.case_closed(trust, is_alone=False)
        case "case closed, alone":
            after = attribution.case_closed(trust, is_alone=True)
        case _:
            after = attribution.went_well(trust, EVENTS_A_BATCH, 0.0)
    assert after is HAPPENINGS[trust, what]


def accused_and_closed(attribution: Attribution, trust: TrustState, now: float) -> None:
    """It alone is accused with one batch, which is decided."""
    assert attribution.accused(trust, 1, now) is PROBATION
    assert attribution.case_closed(PROBATION, is_alone=False) is UNPROVEN


def prove(attribution: Attribution, now: float = 0.0) -> int:
    """So many batches in a row that go well win it back."""
    for n in itertools.count(1):
        if attribution.went_well(UNPROVEN, EVENTS_A_BATCH, now) is TRUSTED:
            return n
        assert n < 1000
    raise AssertionError


def test_proof_takes_a_row_of_good_batches_that_grow() -> None:
    """One event, then two, then four; after enough of them it runs among the others again."""
    attribution = Attribution()
    accused_and_closed(attribution, TRUSTED, 0.0)
    sizes = []
    for _ in range(PROOF_BATCHES - 1):
        sizes.append(attribution.batch_events)
        assert attribution.went_well(UNPROVEN, EVENTS_A_BATCH, 0.0) is UNPROVEN
    assert sizes[:4] == [1, 2, 4, 8]
    assert attribution.went_well(UNPROVEN, EVENTS_A_BATCH, 0.0) is TRUSTED
    assert attribution.batch_events is None


def test_batches_of_few_events_prove_little_until_they_have_taken_long() -> None:
    """Who does it at one event of a hundred has many that go well, one soon after the other."""
    attribution = Attribution()
    accused_and_closed(attribution, TRUSTED, 0.0)
    enough_s = PROOF_BATCHES * SECONDS_A_BATCH
    for _ in range(4 * PROOF_BATCHES):
        assert attribution.went_well(UNPROVEN, 1, enough_s - 0.1) is UNPROVEN
    assert attribution.went_well(UNPROVEN, 1, enough_s) is TRUSTED


def test_who_is_named_again_has_more_to_show_each_time() -> None:
    """By whoever it is, and it is charged with nothing; who was only there has not."""
    for is_named, needed in ((True, [8, 16, 32]), (False, [8, 8, 8])):
        attribution = Attribution()
        for most in needed:
            assert attribution.tried(TRUSTED, 0.0, is_named=is_named) is PROBATION
            assert attribution.case_closed(PROBATION, is_alone=False) is UNPROVEN
            assert prove(attribution) == most


def test_an_accusation_begins_the_proof_anew() -> None:
    """What went well before counts no more, and batches are of one event again."""
    attribution = Attribution()
    accused_and_closed(attribution, TRUSTED, 0.0)
    for _ in range(PROOF_BATCHES - 1):
        attribution.went_well(UNPROVEN, EVENTS_A_BATCH, 0.0)
    accused_and_closed(attribution, UNPROVEN, RELAPSE_S + 1.0)
    assert attribution.batch_events == 1
    assert prove(attribution) == PROOF_BATCHES


def test_relapse_doubles_the_proof() -> None:
    """Soon after the last time it takes twice as much, much later it does not."""
    attribution = Attribution()
    for at, needed in (
        (0.0, PROOF_BATCHES),
        (RELAPSE_S - 1.0, 2 * PROOF_BATCHES),
        (2 * RELAPSE_S - 1.0, PROOF_BATCHES),
    ):
        accused_and_closed(attribution, TRUSTED, at)
        assert prove(attribution) == needed


def test_relapse_on_the_way_doubles_the_proof_up_to_a_bound() -> None:
    """Also where it had not proven itself yet."""
    attribution, trust = Attribution(), TRUSTED
    for needed in (8, 16, 32, 64, 64, 64):
        accused_and_closed(attribution, trust, 0.0)
        trust = UNPROVEN
        assert attribution.needed == needed
    assert attribution.needed == PROOF_BATCHES_MOST


def test_deaths_of_one_probation_are_one_relapse() -> None:
    """Accused and dead in two probes, it has been suspected once."""
    attribution = Attribution()
    attribution.accused(TRUSTED, 1, 0.0)
    attribution.died_in_probe(1.0)
    attribution.died_in_probe(2.0)
    assert attribution.needed == PROOF_BATCHES


def test_one_of_many_accused_is_trusted_again_at_once() -> None:
    """It has not done it again, and nothing else is held against it."""
    attribution = Attribution()
    attribution.accused(TRUSTED, 1, 0.0, is_alone=False)
    assert attribution.case_closed(PROBATION, is_alone=False) is TRUSTED
    assert attribution.batch_events is None


def test_one_of_many_accused_that_dies_in_a_probe_has_to_prove_itself() -> None:
    """Then it is known which did it."""
    attribution = Attribution()
    attribution.accused(TRUSTED, 1, 0.0, is_alone=False)
    attribution.died_in_probe(0.0)
    assert attribution.has_died_in_probe
    assert attribution.case_closed(PROBATION, is_alone=False) is UNPROVEN


def test_one_of_many_accused_that_was_unproven_has_as_much_to_prove() -> None:
    """A new accusation does not clear it of the last one."""
    attribution = Attribution()
    accused_and_closed(attribution, TRUSTED, 0.0)
    attribution.accused(UNPROVEN, 1, 1.0, is_alone=False)
    assert attribution.needed == PROOF_BATCHES
    assert attribution.case_closed(PROBATION, is_alone=False) is UNPROVEN


def test_a_new_probation_has_no_deaths_yet() -> None:
    """Who died in a probe last time is guilty of that alone."""
    attribution = Attribution()
    attribution.accused(TRUSTED, 1, 0.0)
    attribution.died_in_probe(0.0)
    attribution.case_closed(PROBATION, is_alone=False)
    attribution.accused(UNPROVEN, 1, 0.0)
    assert not attribution.has_died_in_probe
    attribution.died_in_probe(0.0)
    attribution.accused(PROBATION, 1, 0.0)
    assert attribution.has_died_in_probe


def test_trust_waits_for_the_last_case() -> None:
    """With two batches suspected it is held until both are decided."""
    attribution = Attribution()
    attribution.accused(TRUSTED, 2, 0.0)
    assert attribution.case_closed(PROBATION, is_alone=False) is PROBATION
    assert attribution.case_closed(PROBATION, is_alone=False) is UNPROVEN


def test_what_hogs_proves_nothing_for_a_while() -> None:
    """Its good batches count when it has not done so for long, and none from before."""
    attribution = Attribution()
    accused_and_closed(attribution, TRUSTED, 0.0)
    attribution.went_well(UNPROVEN, EVENTS_A_BATCH, 0.0)
    attribution.hogged(1.0)
    for _ in range(100):
        assert attribution.went_well(UNPROVEN, EVENTS_A_BATCH, 0.99 + QUIET_S) is UNPROVEN
    assert prove(attribution, 1.0 + QUIET_S) == PROOF_BATCHES


def test_an_accusation_forgets_what_was_unsolved() -> None:
    """It is on probation now, which is what that was to lead to."""
    attribution = Attribution(unsolved=2)
    attribution.accused(TRUSTED, 1, 0.0)
    assert attribution.unsolved == 0
