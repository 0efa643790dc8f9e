"""What the end of a worker says of its cause, and which connections are accused of it."""

from __future__ import annotations

import pytest

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.attribution import (
    REMEMBERED,
    UNSOLVED_MOST,
    DeathKind,
    FaultAttribution,
    kind_of,
    last_at_it,
)
from supervisor.core.isolation.bisection import ProbeDue
from supervisor.core.isolation.facts import LostBatch, RunningMark, WorkerDied
from supervisor.core.placement import TrustState


def lost(batch: int, connection: str, size: int = 3, silent: int | None = None) -> LostBatch:
    """A batch of `size` events, of which the last `silent` were not reported."""
    unreported = tuple(range(size - (size if silent is None else silent), size))
    keys = tuple(batch * 1000 + index for index in unreported)
    return LostBatch(batch, connection, size, unreported, keys, 0.0)


def mark(batch: int, index: int | None = None) -> RunningMark:
    """A worker was at this batch; of whom it says it was does not matter."""
    return RunningMark("anybody", batch, index)


BOTH = [lost(1, "a"), lost(2, "b")]

# reason → what is known of the death of a worker that was at nothing, and of one that was at it
KINDS = {
    ExitReason.CRASH: (DeathKind.RUNNING, DeathKind.RUNNING),
    ExitReason.SIGNAL: (DeathKind.RUNNING, DeathKind.RUNNING),
    ExitReason.OOM: (DeathKind.RUNNING, DeathKind.RUNNING),
    ExitReason.LEAK: (DeathKind.RUNNING, DeathKind.RUNNING),
    ExitReason.TIMEOUT: (DeathKind.RUNNING, DeathKind.RUNNING),
    ExitReason.LIMIT: (DeathKind.ANY, DeathKind.RUNNING),
    ExitReason.PROTOCOL: (DeathKind.ANY, DeathKind.ANY),
    ExitReason.EGRESS: (DeathKind.ANY, DeathKind.ANY),
    ExitReason.RECYCLE: (DeathKind.OURS, DeathKind.OURS),
    ExitReason.DRAIN: (DeathKind.OURS, DeathKind.OURS),
}


@pytest.mark.parametrize("reason", ExitReason)
def test_every_reason_says_what_is_known_of_the_death(reason: ExitReason) -> None:
    """What is found out late accuses all; a limit only where nothing runs, which would be it."""
    idle, at_it = KINDS[reason]
    assert kind_of(WorkerDied(1, reason, ""), is_draining=False) is idle
    assert kind_of(WorkerDied(1, reason, "", mark=mark(1)), is_draining=False) is at_it


@pytest.mark.parametrize(
    ("detail", "kind"),
    [
        ("SIGKILL", DeathKind.KILLED),
        ("SIGSEGV", DeathKind.RUNNING),
        ("SIGABRT", DeathKind.RUNNING),
    ],
)
def test_a_sigkill_that_we_did_not_send_is_somebody_elses(detail: str, kind: DeathKind) -> None:
    """Of signals that one alone; and of reasons signals alone."""
    assert kind_of(WorkerDied(1, ExitReason.SIGNAL, detail), is_draining=False) is kind
    assert kind_of(WorkerDied(1, ExitReason.OOM, detail), is_draining=False) is DeathKind.RUNNING


def test_deaths_of_ours_are_nobodys_fault() -> None:
    """In a drain, with the zygote, of a worker that leaves; but not of one that was overdue."""
    died = WorkerDied(1, ExitReason.SIGNAL, "SIGSEGV", mark=mark(1))
    assert kind_of(died, is_draining=True) is DeathKind.OURS
    ours = WorkerDied(1, ExitReason.SIGNAL, "SIGSEGV", is_ours=True)
    assert kind_of(ours, is_draining=False) is DeathKind.OURS
    leaving = WorkerDied(1, ExitReason.TIMEOUT, "", is_leaving=True)
    assert kind_of(leaving, is_draining=False) is DeathKind.OURS
    late = WorkerDied(1, ExitReason.TIMEOUT, "", is_leaving=True, overdue=frozenset({1}))
    assert kind_of(late, is_draining=False) is DeathKind.RUNNING


ALL = frozenset({"a", "b", "c"})


@pytest.mark.parametrize(
    ("died", "connection"),
    [
        (WorkerDied(1, ExitReason.CRASH, "", configured=frozenset({"a"})), "a"),
        (WorkerDied(1, ExitReason.CRASH, "", configured=frozenset({"a", "b"})), None),
        (WorkerDied(1, ExitReason.CRASH, "", configured=frozenset({"a", "gone"})), "a"),
        (WorkerDied(1, ExitReason.CRASH, "", configured=frozenset({"gone"})), None),
        (WorkerDied(1, ExitReason.CRASH, ""), None),
        (
            WorkerDied(1, ExitReason.CRASH, "", mark=RunningMark("b", 9), configured=ALL),
            "b",
        ),
        (WorkerDied(1, ExitReason.CRASH, "", mark=RunningMark("gone", 9), configured=ALL), None),
        (
            WorkerDied(
                1,
                ExitReason.TIMEOUT,
                "",
                (lost(1, "a", silent=0), lost(2, "b", silent=0)),
                mark=RunningMark("b", 2),
                overdue=frozenset({1}),
            ),
            "a",
        ),
        (
            WorkerDied(
                1,
                ExitReason.TIMEOUT,
                "",
                (lost(1, "a", silent=0), lost(2, "b", silent=0)),
                overdue=frozenset({1, 2}),
            ),
            None,
        ),
    ],
)
def test_who_left_something_behind(died: WorkerDied, connection: str | None) -> None:
    """The late one, else what ran, else the only one that it ever worked for; of the config's."""
    assert last_at_it(died, ALL) == connection


@pytest.mark.parametrize(
    ("kind", "marked", "overdue", "accused"),
    [
        (DeathKind.OURS, mark(1), (), set()),
        (DeathKind.RUNNING, mark(1), (), {"a"}),
        (DeathKind.RUNNING, mark(9), (), {"a", "b"}),
        (DeathKind.RUNNING, None, (), {"a", "b"}),
        (DeathKind.ANY, mark(1), (), {"a", "b"}),
        (DeathKind.RUNNING, mark(1), (1, 2), {"a"}),
        (DeathKind.RUNNING, mark(1), (2,), {"b"}),
        (DeathKind.RUNNING, mark(1), (9,), {"a"}),
        (DeathKind.RUNNING, None, (2,), {"b"}),
        (DeathKind.ANY, mark(1), (1, 2), {"a", "b"}),
        (DeathKind.KILLED, mark(1), (), set()),
    ],
)
def test_who_is_accused(
    kind: DeathKind, marked: RunningMark | None, overdue: tuple[int, ...], accused: set[str]
) -> None:
    """The one that ran, the one that is late, or all that were there; nobody for deaths of ours."""
    inquiry = FaultAttribution().inquire(BOTH, kind, mark=marked, overdue=overdue)
    assert inquiry.accused == accused
    assert inquiry.bisections.keys() == {one.batch for one in BOTH if one.connection in accused}
    assert inquiry.attributed == (next(iter(accused)) if len(accused) == 1 else None)


def test_lone_connection_is_accused_whatever_the_mark_says() -> None:
    """Nobody else had a batch there."""
    inquiry = FaultAttribution().inquire([lost(1, "a")], DeathKind.ANY, mark=mark(7))
    assert inquiry.attributed == "a"


def test_batches_with_all_outcomes_told_accuse_nobody() -> None:
    """A worker that died with nothing open has nothing suspected."""
    inquiry = FaultAttribution().inquire([lost(1, "a", silent=0)], DeathKind.RUNNING)
    assert inquiry.bisections == {}
    assert not inquiry.accused


def test_only_the_marked_batch_is_cut_at_the_mark() -> None:
    """Other batches of the accused go together first."""
    inquiry = FaultAttribution().inquire(
        [lost(1, "a"), lost(2, "a")], DeathKind.RUNNING, mark=mark(1, 0)
    )
    assert inquiry.bisections[1].next() == ProbeDue((0,))
    assert inquiry.bisections[2].next() == ProbeDue((0, 1, 2))


def test_a_mark_that_says_nothing_cuts_nothing() -> None:
    """Where the cause is found out late, all go together first."""
    inquiry = FaultAttribution().inquire([lost(1, "a")], DeathKind.ANY, mark=mark(1, 0))
    assert inquiry.bisections[1].next() == ProbeDue((0, 1, 2))


def test_foreign_kill_of_the_same_event_twice_accuses() -> None:
    """SIGKILL from nowhere is no verdict, unless it always meets the same event."""
    faults = FaultAttribution()
    marked = mark(1, 1)
    assert not faults.inquire([lost(1, "a")], DeathKind.KILLED, mark=marked).accused
    inquiry = faults.inquire([lost(1, "a")], DeathKind.KILLED, mark=marked)
    assert inquiry.accused == {"a"}
    # All of them were sent again already, so that each is probed singly.
    assert inquiry.bisections[1].next() == ProbeDue((0,))


@pytest.mark.parametrize(
    ("marked", "is_accused"),
    [(None, True), (mark(2), True), (mark(2, 0), True), (mark(2, 2), False), (mark(9, 0), False)],
)
def test_foreign_kill_accuses_for_the_event_that_ran(
    marked: RunningMark | None, is_accused: bool
) -> None:
    """One that was there before counts where it may have been what ran."""
    faults = FaultAttribution()
    faults.inquire([LostBatch(1, "a", 1, (0,), (77,), 0.0)], DeathKind.KILLED)
    again = LostBatch(2, "a", 3, (0, 1, 2), (77, 78, 79), 0.0)
    assert bool(faults.inquire([again], DeathKind.KILLED, mark=marked).accused) is is_accused


def test_forged_marks_wear_off() -> None:
    """One that is always there when innocents are accused is accused with the next one."""
    faults = FaultAttribution()
    for batch in range(UNSOLVED_MOST):
        deaths = [lost(batch, "innocent"), lost(100 + batch, "forger")]
        inquiry = faults.inquire(deaths, DeathKind.RUNNING, mark=mark(batch))
        assert inquiry.attributed == "innocent"
        faults.of("innocent").accused(TrustState.TRUSTED, 1, 0.0)
        faults.case_closed("innocent", TrustState.PROBATION, is_alone=False)
    deaths = [lost(50, "innocent"), lost(51, "forger")]
    inquiry = faults.inquire(deaths, DeathKind.RUNNING, mark=mark(50))
    assert inquiry.accused == {"innocent", "forger"}
    assert inquiry.attributed is None


def test_who_ended_there_is_tried_where_nobody_is_marked() -> None:
    """With those that have a batch; a mark has one tried first, the others once it wears off."""
    faults = FaultAttribution()
    found = faults.inquire(BOTH, DeathKind.ANY, ended={"c"})
    assert found.accused == {"a", "b"}
    assert found.tried == {"c"}
    assert found.attributed is None
    found = faults.inquire([lost(3, "a")], DeathKind.ANY, ended={"c"})
    assert found.accused == {"a"}
    assert found.tried == {"c"}
    assert found.attributed is None
    for batch in range(10, 10 + UNSOLVED_MOST):
        deaths = [lost(batch, "a"), lost(100 + batch, "b")]
        found = faults.inquire(deaths, DeathKind.RUNNING, mark=mark(batch), ended={"c"})
        assert found.attributed == "a"
        assert not found.tried
        faults.of("a").accused(TrustState.TRUSTED, 1, 0.0)
        faults.case_closed("a", TrustState.PROBATION, is_alone=False)
    deaths = [lost(50, "a"), lost(51, "b")]
    found = faults.inquire(deaths, DeathKind.RUNNING, mark=mark(50), ended={"c"})
    assert found.accused == {"a", "b"}
    assert found.tried == {"c"}
    assert found.attributed is None
    assert not faults.inquire(deaths, DeathKind.OURS, ended={"c"}).tried


def test_who_has_ended_there_may_be_hinted_at() -> None:
    """Then no batch is suspected; those that had one are known for when it is innocent."""
    faults, ended = FaultAttribution(), RunningMark("c", 9, 0)
    found = faults.inquire(BOTH, DeathKind.RUNNING, mark=ended, ended={"c", "d"})
    assert (found.hinted, found.bisections, found.attributed) == ("c", {}, None)
    assert found.others == {"a", "b", "c", "d"}
    assert faults.inquire(BOTH, DeathKind.RUNNING, mark=ended).hinted is None
    assert faults.inquire(BOTH, DeathKind.OURS, mark=ended, ended={"c"}).hinted is None


def test_an_accusation_counts_once_against_those_that_were_there() -> None:
    """Another case of the accused that ends later adds nothing."""
    faults = FaultAttribution()
    faults.inquire([lost(1, "a"), lost(2, "b")], DeathKind.RUNNING, mark=mark(1))
    for _ in range(3):
        faults.of("a").accused(TrustState.TRUSTED, 1, 0.0)
        faults.case_closed("a", TrustState.PROBATION, is_alone=False)
    assert faults.of("b").unsolved == 1


def test_guilty_verdict_clears_those_that_were_there() -> None:
    """Where the accused dies in a probe, nobody else is suspicious for having been there."""
    faults = FaultAttribution()
    for batch in range(UNSOLVED_MOST + 1):
        deaths = [lost(batch, "guilty"), lost(100 + batch, "bystander")]
        inquiry = faults.inquire(deaths, DeathKind.RUNNING, mark=mark(batch))
        assert inquiry.attributed == "guilty"
        faults.of("guilty").accused(TrustState.TRUSTED, 1, 0.0)
        faults.of("guilty").died_in_probe(0.0)
        faults.case_closed("guilty", TrustState.PROBATION, is_alone=False)


@pytest.mark.parametrize(
    ("batches", "was_dedicated", "is_last"),
    [
        ([lost(1, "a", size=1)], True, True),
        ([lost(1, "a", size=1)], False, False),
        ([lost(1, "a", size=2, silent=1)], True, False),
        ([lost(1, "a", size=1), lost(2, "a", size=1)], True, False),
    ],
)
def test_event_alone_in_its_own_worker_has_died_alone(
    batches: list[LostBatch], was_dedicated: bool, is_last: bool
) -> None:
    """Only where the worker was its own, and had that event and nothing else."""
    found = FaultAttribution().inquire(batches, DeathKind.RUNNING, was_dedicated=was_dedicated)
    bisection = found.bisections[1]
    assert (bisection.give_up() == ()) is is_last


def test_memory_of_events_is_bounded() -> None:
    """The oldest are forgotten first."""
    faults = FaultAttribution()
    for batch in range(REMEMBERED // 100 + 10):
        keys = tuple(batch * 1000 + n for n in range(100))
        faults.inquire([LostBatch(batch, "a", 100, tuple(range(100)), keys, 0.0)], DeathKind.OURS)
    assert len(faults._resent) == REMEMBERED
    assert min(faults._resent) == 10 * 1000


def test_what_left_the_config_is_forgotten() -> None:
    """The same name has nothing to prove when it comes back."""
    faults = FaultAttribution()
    faults.of("a").accused(TrustState.TRUSTED, 1, 0.0)
    assert faults.most_events("a") == 1
    faults.forget("a")
    assert faults.most_events("a") is None
