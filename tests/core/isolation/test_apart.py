"""Why a connection runs apart: what is kept of each thing that sets one apart, and for how long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from supervisor.core.effects import ExitReason
from supervisor.core.isolation import facts as told
from supervisor.core.isolation.apart import Apart, ApartCause, ApartCode
from supervisor.core.isolation.attribution import UNSOLVED_MOST
from supervisor.core.isolation.effects import PostponeAlone, QuarantineDelivery, RecordFates
from supervisor.core.isolation.trust import PROOF_BATCHES
from supervisor.core.placement import TrustState
from tests.core.isolation.world import World


def cause_of(world: World, name: str) -> ApartCause | None:
    """Why a connection is apart."""
    status = world.machine.status(name)
    return None if status is None or status.apart is None else status.apart.cause


def sent(world: World, name: str, n: int = 1, worker: int | None = None) -> int:
    """A connection has so many events with a worker, whose number that is."""
    world.accept(name, n)
    number = world.places(name)[0] if worker is None else worker
    world.send(name, number)
    return number


def _dies(world: World) -> None:
    number = sent(world, "b", 2)
    sent(world, "a", 2, number)
    world.die(number, mark=told.RunningMark("a", 2, 0))


def _dies_with_all_told(world: World) -> None:
    number = sent(world, "a", 1)
    world.workers[number].configured.add("a")
    world.work(number)
    world.die(number)


def _is_found(world: World) -> None:
    number = sent(world, "b", 1)
    world.die(number, ExitReason.LIMIT, "too many files", ended=frozenset("a"))


def _is_hinted_at(world: World) -> None:
    number = sent(world, "b", 1)
    mark = told.RunningMark("a", 99)
    world.die(number, ExitReason.LIMIT, "too many files", mark, ended=frozenset("a"))


def _is_named(world: World) -> None:
    company = frozenset("b")
    world.tell(told.ResourcesExhausted("a", ExitReason.OOM, "it says", company=company))


def _was_there_again(world: World) -> None:
    for _ in range(UNSOLVED_MOST + 1):
        fact = told.ResourcesExhausted("b", ExitReason.OOM, "it says", company=frozenset("a"))
        world.tell(fact)


def _uses_up(world: World) -> None:
    world.tell(told.ResourcesExhausted("a", ExitReason.LIMIT, "9 files"))


def _leaks(world: World) -> None:
    world.tell(told.ResourcesExhausted("a", ExitReason.LEAK, "9 bytes an event"))


def _hogs(world: World) -> None:
    world.tell(told.LoopHogged("a", "blocked one"))


def _may_hog(world: World) -> None:
    world.tell(told.LoopHogged("a", "blocked one", frozenset("b")))


#: What sets `a` apart, and what is kept of it.
CASES: dict[ApartCode, tuple[Callable[[World], None], ExitReason | None]] = {
    ApartCode.WORKER_DIED: (_dies, ExitReason.SIGNAL),
    ApartCode.LAST_IN_IT: (_dies_with_all_told, ExitReason.SIGNAL),
    ApartCode.FOUND: (_is_found, ExitReason.LIMIT),
    ApartCode.MAY_HAVE_USED_UP: (_is_named, ExitReason.OOM),
    ApartCode.WAS_THERE_AGAIN: (_was_there_again, ExitReason.OOM),
    ApartCode.USED_UP: (_uses_up, ExitReason.LIMIT),
    ApartCode.LEAKS: (_leaks, ExitReason.LEAK),
    ApartCode.KEEPS_LOOPS: (_hogs, None),
    ApartCode.MAY_KEEP_LOOPS: (_may_hog, None),
}


def test_each_cause_has_its_case() -> None:
    """The set is closed, and none of it is idle."""
    assert CASES.keys() == set(ApartCode)


@pytest.mark.parametrize("code", ApartCode)
def test_what_sets_one_apart_is_kept(code: ApartCode) -> None:
    """With the end that is meant, and since when, until it is trusted again."""
    world = World(shared=1)
    happens, reason = CASES[code]
    world.now += 5.0
    since = world.now
    happens(world)
    status = world.machine.status("a")
    assert status is not None
    assert status.apart is not None
    cause = status.apart.cause
    assert (cause.code, cause.reason, status.apart.since) == (code, reason, since)
    has_exit = code in (ApartCode.WORKER_DIED, ApartCode.LAST_IN_IT, ApartCode.FOUND)
    assert (cause.exit_id is not None) is has_exit
    world.settle()
    for _ in range(10 * PROOF_BATCHES):
        if world.machine.trust("a") is TrustState.TRUSTED:
            break
        world.tick(11.0)
        world.accept("a", 20)
        world.settle()
    assert cause_of(world, "a") is None


def test_who_is_hinted_at_is_found_and_no_other() -> None:
    """A hint says who is tried first: the others are not apart."""
    world = World(("a", "b", "c"), shared=1)
    _is_hinted_at(world)
    found = cause_of(world, "a")
    assert found is not None
    assert found.code is ApartCode.FOUND
    assert cause_of(world, "b") is None


def test_the_last_cause_counts_and_the_first_moment() -> None:
    """But that it was there again says less than whatever is known already."""
    died = ApartCause(ApartCode.WORKER_DIED, ExitReason.OOM)
    hogs, again = ApartCause(ApartCode.KEEPS_LOOPS), ApartCause(ApartCode.WAS_THERE_AGAIN)
    first = Apart.after(None, died, 1.0)
    assert first == Apart(died, 1.0)
    assert Apart.after(first, hogs, 2.0) == Apart(hogs, 1.0)
    assert Apart.after(first, again, 2.0) == first
    assert Apart.after(None, again, 2.0) == Apart(again, 2.0)


def test_one_that_was_tried_for_it_and_does_it_is_named() -> None:
    """Then it is not what it may have done, but what it does."""
    world = World()
    _may_hog(world)
    _hogs(world)
    assert cause_of(world, "a") == ApartCause(ApartCode.KEEPS_LOOPS)


def test_what_it_has_to_prove_is_told() -> None:
    """So many batches, of which those that went well are counted; nothing on probation."""
    world = World(poison=frozenset({1}))
    _leaks(world)
    status = world.machine.status("a")
    assert status is not None
    assert status.proof is not None
    assert (status.proof.good, status.proof.needed) == (0, PROOF_BATCHES)
    world.work(sent(world, "a"))
    status = world.machine.status("a")
    assert status is not None
    assert status.proof is None, "its killer is tried"


# --- what became of batches ---


def fates(
    world: World, number: int, mark: told.RunningMark | None = None, *, is_ours: bool = False
) -> list[dict[str, int]]:
    """Of each batch of a worker that dies, the counts that are not 0."""
    effects = world.die(number, mark=mark, is_ours=is_ours)
    (found,) = [one for one in effects if isinstance(one, RecordFates)]
    names = ("sent_again", "tried_alone", "tried_together", "postponed", "quarantined")
    return [{name: n for name in names if (n := getattr(fate, name))} for fate in found.fates]


def test_of_two_one_is_suspected() -> None:
    """Its marked event is tried alone, those around it together; the other's go again."""
    world = World(shared=1)
    number = sent(world, "a", 5)
    sent(world, "b", 2, number)
    found = fates(world, number, mark=told.RunningMark("a", 1, 2))
    assert found == [{"tried_alone": 1, "tried_together": 4}, {"sent_again": 2}]


def test_a_death_of_ours_sends_all_of_it_again() -> None:
    """What was told of is in no count."""
    world = World(shared=1)
    number = sent(world, "a", 3)
    world.report_some(number)
    assert fates(world, number, is_ours=True) == [{"sent_again": 2}]


def test_a_probe_that_dies_is_a_trial() -> None:
    """Of those that were together each goes alone; one that dies alone twice is written off."""
    world = World(poison=frozenset({1}), shared=1)
    sent(world, "a", 3)
    began = len(world.effects)
    while world.busy():
        world.work(world.busy()[0])
    found = [one.fates[0] for one in world.effects[began:] if isinstance(one, RecordFates)]
    assert [one.is_probe for one in found] == [False, True, True]
    assert [(one.tried_alone, one.tried_together) for one in found] == [(1, 2), (1, 0), (0, 0)]
    assert [one.quarantined for one in found] == [0, 0, 1]
    written_off = [one for one in world.effects[began:] if isinstance(one, QuarantineDelivery)]
    assert len(written_off) == 1


def test_what_a_trip_postpones_is_told() -> None:
    """A connection that has cost too much has nothing tried any more."""
    world = World(spares=0)
    number = sent(world, "a", 4)
    for _ in range(3):
        world.tell(told.ResourcesExhausted("a", ExitReason.OOM, "all used"))
    assert fates(world, number) == [{"postponed": 4}]
    assert any(isinstance(one, PostponeAlone) for one in world.effects)
