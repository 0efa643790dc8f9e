"""Who is accused of a death, and what becomes of their standing."""

from __future__ import annotations

import pytest

from supervisor.core.poison import (
    PROOF_BATCHES,
    RELAPSE_S,
    REMEMBERED,
    UNSOLVED_MOST,
    Cause,
    Court,
    Held,
    Hint,
    Order,
    Record,
    Standing,
)
from supervisor.core.probation import Try


def held(batch: int, connection: str, size: int = 3, silent: int | None = None) -> Held:
    """A batch of `size` events, of which the last `silent` were not reported."""
    suspects = range(size - (size if silent is None else silent), size)
    return Held(batch, connection, size, suspects, [batch * 1000 + index for index in suspects])


BOTH = [held(1, "a"), held(2, "b")]


@pytest.mark.parametrize(
    ("cause", "hint", "overdue", "accused"),
    [
        (Cause.OURS, Hint(1), (), set()),
        (Cause.RUNNING, Hint(1), (), {"a"}),
        (Cause.RUNNING, Hint(9), (), {"a", "b"}),
        (Cause.RUNNING, None, (), {"a", "b"}),
        (Cause.ANY, Hint(1), (), {"a", "b"}),
        (Cause.RUNNING, Hint(1), (1, 2), {"a"}),
        (Cause.RUNNING, Hint(1), (2,), {"b"}),
        (Cause.RUNNING, None, (2,), {"b"}),
        (Cause.KILLED, Hint(1), (), set()),
    ],
)
def test_who_is_accused(
    cause: Cause, hint: Hint | None, overdue: tuple[int, ...], accused: set[str]
) -> None:
    """The one that ran, the one that is late, or all who were there; nobody for deaths of ours."""
    inquest = Court().inquest(BOTH, cause, hint=hint, overdue=overdue)
    assert inquest.accused == accused
    assert inquest.cases.keys() == {one.batch for one in BOTH if one.connection in accused}
    assert inquest.culprit == (next(iter(accused)) if len(accused) == 1 else None)


def test_lone_connection_is_accused_whatever_the_hint_says() -> None:
    """Nobody else had a batch there."""
    assert Court().inquest([held(1, "a")], Cause.ANY, hint=Hint(7)).culprit == "a"


def test_batches_with_all_outcomes_told_accuse_nobody() -> None:
    """A worker that died with nothing open has no suspects."""
    inquest = Court().inquest([held(1, "a", silent=0)], Cause.RUNNING)
    assert inquest.cases == {}
    assert not inquest.accused


def test_only_the_marked_batch_is_cut_at_the_mark() -> None:
    """Other batches of the accused go together first."""
    inquest = Court().inquest(
        [held(1, "a"), held(2, "a")], Cause.RUNNING, hint=Hint(batch=1, index=0)
    )
    assert inquest.cases[1].next() == Try((0,))
    assert inquest.cases[2].next() == Try((0, 1, 2))


def test_foreign_kill_of_the_same_event_twice_accuses() -> None:
    """SIGKILL from nowhere is no verdict, unless it always meets the same event."""
    court = Court()
    hint = Hint(batch=1, index=1)
    assert not court.inquest([held(1, "a")], Cause.KILLED, hint=hint).accused
    inquest = court.inquest([held(1, "a")], Cause.KILLED, hint=hint)
    assert inquest.accused == {"a"}
    # All of them were sent again already, so that each is tried singly.
    assert inquest.cases[1].next() == Try((0,))


def test_forged_hints_wear_off() -> None:
    """Who is always there when innocents are accused is accused with the next one."""
    court = Court()
    for batch in range(UNSOLVED_MOST):
        deaths = [held(batch, "innocent"), held(100 + batch, "forger")]
        assert court.inquest(deaths, Cause.RUNNING, hint=Hint(batch)).culprit == "innocent"
        court.record("innocent").accused(1, 0.0)
        court.case_closed("innocent", is_alone=False)
    deaths = [held(50, "innocent"), held(51, "forger")]
    inquest = court.inquest(deaths, Cause.RUNNING, hint=Hint(50))
    assert inquest.accused == {"innocent", "forger"}
    assert inquest.culprit is None


def test_guilty_verdict_clears_the_witnesses() -> None:
    """Where the accused dies on trial, nobody else is suspicious for having been there."""
    court = Court()
    for batch in range(UNSOLVED_MOST + 1):
        deaths = [held(batch, "guilty"), held(100 + batch, "witness")]
        inquest = court.inquest(deaths, Cause.RUNNING, hint=Hint(batch))
        assert inquest.culprit == "guilty"
        court.record("guilty").accused(1, 0.0)
        court.record("guilty").died_on_trial(0.0)
        court.case_closed("guilty", is_alone=False)


def test_event_alone_in_its_own_worker_has_died_alone() -> None:
    """Only where the worker was its own, and had that event and nothing else."""
    court = Court()
    alone = court.inquest([held(1, "a", size=1)], Cause.RUNNING, was_own=True)
    case = alone.cases[1]
    case.next()
    case.died([0])
    assert case.give_up() == ()
    assert case.deaths == 1


def test_memory_of_events_is_bounded() -> None:
    """The oldest are forgotten first."""
    court = Court()
    for batch in range(REMEMBERED // 100 + 10):
        keys = [batch * 1000 + n for n in range(100)]
        court.inquest([Held(batch, "a", 100, range(100), keys)], Cause.OURS)
    assert len(court._resent) == REMEMBERED


# (standing, fact) → (standing after, orders)
TABLE = {
    (Standing.TRUSTED, "accused"): (Standing.PROBATION, [Order.HOLD, Order.ISOLATE]),
    (Standing.TRUSTED, "case closed"): (Standing.TRUSTED, []),
    (Standing.TRUSTED, "case closed, alone"): (Standing.TRUSTED, []),
    (Standing.TRUSTED, "went well"): (Standing.TRUSTED, []),
    (Standing.PROBATION, "accused"): (Standing.PROBATION, []),
    (Standing.PROBATION, "case closed"): (Standing.UNPROVEN, [Order.LET_GO]),
    (Standing.PROBATION, "case closed, alone"): (
        Standing.TRUSTED,
        [Order.LET_GO, Order.REJOIN],
    ),
    (Standing.PROBATION, "case closed, one of many"): (
        Standing.TRUSTED,
        [Order.LET_GO, Order.REJOIN],
    ),
    (Standing.TRUSTED, "case closed, one of many"): (Standing.TRUSTED, []),
    (Standing.UNPROVEN, "case closed, one of many"): (Standing.UNPROVEN, []),
    (Standing.PROBATION, "went well"): (Standing.PROBATION, []),
    (Standing.UNPROVEN, "accused"): (Standing.PROBATION, [Order.HOLD]),
    (Standing.UNPROVEN, "case closed"): (Standing.UNPROVEN, []),
    (Standing.UNPROVEN, "case closed, alone"): (Standing.UNPROVEN, []),
    (Standing.UNPROVEN, "went well"): (Standing.UNPROVEN, []),
}
FACTS = ("accused", "case closed", "case closed, alone", "case closed, one of many", "went well")


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize("standing", Standing)
def test_every_standing_answers_every_fact(standing: Standing, fact: str) -> None:
    """A standing and a fact lead to one standing and its orders."""
    record = Record(standing, cases=1 if standing is Standing.PROBATION else 0, batch_events=1)
    record.is_suspect = fact != "case closed, one of many"
    match fact:
        case "accused":
            orders = record.accused(1, 0.0)
        case "case closed" | "case closed, one of many":
            orders = record.case_closed(is_alone=False)
        case "case closed, alone":
            orders = record.case_closed(is_alone=True)
        case _:
            orders = record.went_well(0.0)
    assert (record.standing, orders) == TABLE[standing, fact]


def test_proof_takes_a_row_of_good_batches_that_grow() -> None:
    """One event, then two, then four; after enough of them it runs among the others again."""
    record = Record()
    record.accused(1, 0.0)
    record.case_closed(is_alone=False)
    sizes = []
    for _ in range(PROOF_BATCHES - 1):
        sizes.append(record.batch_events)
        assert record.went_well(0.0) == []
    assert sizes[:4] == [1, 2, 4, 8]
    assert record.went_well(0.0) == [Order.REJOIN]
    assert (record.standing, record.batch_events) == (Standing.TRUSTED, None)


def test_relapse_doubles_the_proof() -> None:
    """Soon after the last time it takes twice as much, much later it does not."""
    record = Record()
    for at, needed in (
        (0.0, PROOF_BATCHES),
        (1.0, 2 * PROOF_BATCHES),
        (RELAPSE_S + 2.0, PROOF_BATCHES),
    ):
        record.accused(1, at)
        assert record.needed == needed
        record.case_closed(is_alone=False)
        for _ in range(needed):
            record.went_well(0.0)
        assert record.standing is Standing.TRUSTED


def test_relapse_on_the_way_doubles_the_proof() -> None:
    """Also where it had not proven itself yet."""
    record = Record()
    for needed in (PROOF_BATCHES, 2 * PROOF_BATCHES, 4 * PROOF_BATCHES):
        record.accused(1, 0.0)
        assert record.case_closed(is_alone=False) == [Order.LET_GO]
        assert record.needed == needed


def test_one_of_many_accused_that_dies_on_trial_has_to_prove_itself() -> None:
    """Then it is known who did it."""
    record = Record()
    record.accused(1, 0.0, is_alone=False)
    record.died_on_trial(0.0)
    assert record.case_closed(is_alone=False) == [Order.LET_GO]
    assert record.standing is Standing.UNPROVEN


def test_standing_waits_for_the_last_case() -> None:
    """With two batches under probation it is held until both are decided."""
    record = Record()
    record.accused(2, 0.0)
    assert record.case_closed(is_alone=False) == []
    assert record.case_closed(is_alone=False) == [Order.LET_GO]
