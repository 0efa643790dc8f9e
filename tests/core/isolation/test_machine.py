"""What the machine answers to single facts: which connections it charges, and where they run."""

from __future__ import annotations

import pytest

from supervisor.core.effects import ExitReason
from supervisor.core.isolation import facts as told
from supervisor.core.isolation.attribution import UNSOLVED_MOST
from supervisor.core.isolation.charges import SLOW_SHARE
from supervisor.core.isolation.dedication import IDLE_S, TURN_S
from supervisor.core.isolation.effects import (
    BatchFate,
    BlameKind,
    CountBlame,
    ExtendLease,
    ForgetLease,
    HoldLease,
    IsolationEffect,
    PlaceConnection,
    PostponeAlone,
    QuarantineDelivery,
    RecordFates,
    ReportDecided,
    ReportNoisyNeighbour,
    ReportProbation,
    ReportTrust,
    RequestWorker,
    Requeue,
    Resend,
    ReturnWorker,
    Trip,
)
from supervisor.core.isolation.health import DEATHS_MOST
from supervisor.core.isolation.machine import EXTEND_S, HOLD_S, Isolation
from supervisor.core.isolation.records import BlameCounts
from supervisor.core.isolation.trust import (
    EVENTS_A_BATCH,
    PROOF_BATCHES,
    PROOF_BATCHES_MOST,
    QUIET_S,
    SECONDS_A_BATCH,
)
from supervisor.core.placement import (
    SHARED,
    Dedicated,
    TrustState,
    Waiting,
    WaitReason,
)
from tests.core.isolation.world import BATCH_LIMIT_S, LEASE_S, World

TRUSTED, PROBATION, UNPROVEN = TrustState.TRUSTED, TrustState.PROBATION, TrustState.UNPROVEN


def blame(world: World, name: str) -> BlameCounts:
    """What a connection has cost."""
    status = world.machine.status(name)
    assert status is not None
    return status.blame


def sent(world: World, name: str, n: int = 1, worker: int | None = None) -> int:
    """A connection has so many events with a worker, whose number that is."""
    world.accept(name, n)
    number = world.places(name)[0] if worker is None else worker
    world.send(name, number)
    return number


def unproven(world: World, name: str) -> int:
    """A connection that hogged runs in a worker of its own, whose number that is."""
    world.tell(told.LoopHogged(name, "blocked one"))
    placement = world.machine.placement(name)
    assert isinstance(placement, Dedicated)
    return placement.worker


def kinds(effects: list[IsolationEffect]) -> list[str]:
    """Their names."""
    return [type(one).__name__ for one in effects]


# --- a death, step by step ---


def test_a_death_is_charged_before_its_probe_leaves() -> None:
    """Also where a worker is there at once; all of one fact is carried out before the next."""
    world = World()
    number = sent(world, "a", 3)
    effects = world.die(number, mark=told.RunningMark("a", 1, 1), is_luck=False)
    assert effects == [
        HoldLease(1),
        ReportProbation("a", ExitReason.SIGNAL, "SIGSEGV", 3, 1),
        PlaceConnection("a", Waiting(WaitReason.PROBATION)),
        RequestWorker("a"),
        CountBlame("a", BlameKind.DEATH),
        RecordFates("exit-1", (BatchFate(1, tried_alone=3),)),
        PlaceConnection("a", Dedicated(4, is_probed=True)),
        Resend(1, "a", 4, (0,)),
    ]


def test_a_death_that_trips_sends_no_probe() -> None:
    """What it would have sent waits in the queue, each event alone."""
    world = World()
    for _ in range(3):
        world.tell(told.ResourcesExhausted("a", ExitReason.OOM, "all used"))
    assert blame(world, "a").trips == 0
    number = sent(world, "a", 1)
    began = len(world.effects)
    world.die(number)
    # Alone in its own worker it has died alone once: that one is decided all the same.
    told_of = kinds(world.effects[began:])
    assert told_of[-5:] == ["CountBlame", "Trip", "RecordFates", "PlaceConnection", "Resend"]
    assert blame(world, "a").trips == 1
    world = World(spares=0)
    number = sent(world, "a", 4)
    for _ in range(3):
        world.tell(told.ResourcesExhausted("a", ExitReason.OOM, "all used"))
    effects = world.die(number)
    assert PostponeAlone(1, (0, 1, 2, 3), "worker exited: signal (SIGSEGV)") in effects
    assert not any(isinstance(one, Resend) for one in effects)
    assert effects[-3:] == [
        ReportDecided("a", 0),
        PlaceConnection("a", Waiting(WaitReason(2))),
        RecordFates("exit-1", (BatchFate(1, postponed=4),)),
    ]


def test_a_killer_dies_alone_twice_and_is_quarantined() -> None:
    """With the exit record of its last death; then its connection has something to prove."""
    world = World(poison=frozenset({1}))
    number = sent(world, "a", 2)
    began = len(world.effects)
    world.work(number)
    while world.busy():
        world.work(world.busy()[0])
    found = [one for one in world.effects[began:] if isinstance(one, QuarantineDelivery)]
    assert found == [QuarantineDelivery(1, "a", 0, ExitReason.SIGNAL, "SIGSEGV", "exit-5")]
    assert found[0].why == "it kills its worker: signal (SIGSEGV)"
    assert world.delivered == {2: 1}
    counts = blame(world, "a")
    assert (counts.deaths, counts.quarantined, counts.executions) == (3, 1, 3)
    assert world.machine.trust("a") is UNPROVEN
    assert not world.held


def test_innocent_company_is_requeued_uncharged() -> None:
    """At once, and with nothing held against it."""
    world = World(shared=1)
    number = sent(world, "a", 2)
    world.accept("b", 2)
    world.send("b", number)
    effects = world.die(number, mark=told.RunningMark("a", 1, 0))
    assert Requeue(2, (0, 1)) in effects
    assert world.machine.status("b") is None


def test_nothing_is_asked_back_of_what_was_reported() -> None:
    """Outcomes that came ahead of a death hold."""
    world = World()
    number = sent(world, "a", 2)
    world.report_some(number)
    effects = world.die(number, is_ours=True)
    assert effects == [Requeue(1, (1,)), RecordFates("exit-1", (BatchFate(1, sent_again=1),))]


def test_whatever_a_dead_probe_had_beside_it_is_requeued() -> None:
    """There should be nothing; if there is, it is not lost."""
    machine = Isolation()
    machine.handle(told.ConnectionOpened("a"), 0.0)
    machine.handle(told.ConnectionOpened("b"), 0.0)
    lost = told.LostBatch(1, "a", 1, (0,), (11,), 99.0)
    machine.handle(told.WorkerDied(1, ExitReason.CRASH, "", (lost,)), 0.0)
    machine.handle(told.WorkerDedicated(2, "a"), 0.0)
    machine.handle(told.ProbeSent("a", 2), 0.0)
    probe = told.LostBatch(2, "a", 1, (0,), (11,), 99.0)
    other = told.LostBatch(3, "a", 2, (1,), (12,), 99.0)
    effects = machine.handle(told.WorkerDied(2, ExitReason.CRASH, "", (probe, other)), 0.0)
    assert Requeue(3, (1,)) in effects


# --- whom it charges ---


@pytest.mark.parametrize("reason", [ExitReason.LEAK, ExitReason.OOM, ExitReason.LIMIT])
def test_what_is_used_up_is_charged_though_nobody_died(reason: ExitReason) -> None:
    """It is on the score, and the connection runs apart; nobody else does."""
    world = World(spares=0)
    effects = world.tell(told.ResourcesExhausted("a", reason, "64 of 64 MiB used"))
    status = world.machine.status("a")
    assert status is not None
    assert (status.trust, status.score, status.undecided) == (UNPROVEN, 1.0, 0)
    assert status.blame == BlameCounts(used_up=1)
    assert effects == [
        CountBlame("a", BlameKind.USED_UP),
        PlaceConnection("a", Waiting(WaitReason.PROBATION)),
        RequestWorker("a"),
        PlaceConnection("a", Waiting(WaitReason.DEDICATED_WORKER)),
    ]
    assert world.machine.status("b") is None


def test_a_workers_word_has_all_tried_that_were_there_and_charges_nobody() -> None:
    """It may be forged, in any name: what each does where it is alone is the proof."""
    world = World(("a", "b", "c", "d"), spares=4)
    for n in range(8):
        named = "a" if n % 2 else "gone"
        fact = told.ResourcesExhausted(
            named, ExitReason.OOM, "all used", frozenset("ab") - {named}, frozenset("abc")
        )
        effects = world.tell(fact)
        assert not any(isinstance(one, Trip | CountBlame) for one in effects)
        assert world.machine.trust("a") is world.machine.trust("b") is UNPROVEN
        # It had no batch there, and is tried with the next where the others are not it.
        assert (world.machine.trust("c") is UNPROVEN) is (n >= UNSOLVED_MOST)
    assert world.machine.trust("d") is TRUSTED
    assert blame(world, "a") == blame(world, "b") == BlameCounts()
    world.tell(told.ResourcesExhausted("b", ExitReason.OOM, "all used"))
    assert blame(world, "b") == BlameCounts(used_up=1)
    for name in "abc":
        for _ in range(PROOF_BATCHES_MOST):
            if world.machine.trust(name) is UNPROVEN:
                world.work(sent(world, name, EVENTS_A_BATCH))
        assert world.machine.trust(name) is TRUSTED


def test_a_look_has_the_one_tried_first_whose_step_ran() -> None:
    """The others are sent again uncharged, and are tried once that one was innocent too often."""
    world = World(("a", "b", "c"), shared=1, spares=20)
    for n in range(UNSOLVED_MOST + 1):
        number = sent(world, "a")
        sent(world, "b", worker=number)
        batch = next(iter(world.workers[number].batches.values()))
        mark = told.RunningMark("a", batch.id, 0)
        began = len(world.effects)
        world.die(number, ExitReason.LIMIT, "too much", mark, ended=frozenset("c"))
        placed = {
            one.connection for one in world.effects[began:] if isinstance(one, PlaceConnection)
        }
        assert placed == set("abc" if n == UNSOLVED_MOST else "a")
        assert not any(isinstance(one, CountBlame) for one in world.effects[began:])
        world.settle()
        for _ in range(PROOF_BATCHES_MOST):
            if world.machine.trust("a") is UNPROVEN:
                world.work(sent(world, "a", EVENTS_A_BATCH))
        assert world.machine.trust("a") is TRUSTED


def test_a_look_has_the_one_tried_first_that_has_no_batch_any_more() -> None:
    """What the others had is sent again, and they are known for when that one is innocent."""
    world = World(("a", "b", "c"), shared=1, spares=20)
    for n in range(UNSOLVED_MOST + 1):
        number = sent(world, "a")
        sent(world, "b", worker=number)
        mark = told.RunningMark("c", 0)
        effects = world.die(number, ExitReason.LIMIT, "too much", mark, ended=frozenset("c"))
        assert len([one for one in effects if isinstance(one, Requeue)]) == 2
        tried = "abc" if n == UNSOLVED_MOST else "c"
        for name in "abc":
            assert world.machine.trust(name) is (UNPROVEN if name in tried else TRUSTED)
        world.accept("c", EVENTS_A_BATCH * PROOF_BATCHES_MOST)
        world.settle()
        assert world.machine.trust("c") is TRUSTED


def test_a_look_has_all_tried_where_no_step_ran() -> None:
    """Those without a batch at its end too, and also where nobody has any."""
    for is_idle in (False, True):
        world = World(("a", "b", "c"), shared=1, spares=20)
        number = sent(world, "a")
        if is_idle:
            sent(world, "b", worker=number)
            while world.workers[number].batches:
                world.work(number)
        ended = frozenset("bc")
        world.die(number, ExitReason.LIMIT, "too much", ended=ended)
        assert world.machine.trust("b") is world.machine.trust("c") is UNPROVEN
        assert world.machine.trust("a") is (TRUSTED if is_idle else PROBATION)


@pytest.mark.parametrize("is_death", [False, True])
def test_who_does_alone_what_it_was_named_for_clears_the_others(is_death: bool) -> None:
    """Nothing is left of a suspicion of those that were there."""
    world = World(("a", "b"), spares=20)
    company = frozenset("b")
    for _ in range(2 * UNSOLVED_MOST):
        world.tell(told.ResourcesExhausted("a", ExitReason.OOM, "all used", company=company))
        assert world.machine.trust("b") is TRUSTED
        if is_death:
            world.die(sent(world, "a"))
        else:
            world.tell(told.ResourcesExhausted("a", ExitReason.OOM, "all used"))
        world.settle()


def test_a_death_in_company_is_charged_once_it_is_proven() -> None:
    """The mark of a worker that several share is its word; a probe that dies is not."""
    world = World(("a", "b"), poison=frozenset({1}), shared=1)
    number = sent(world, "a")
    sent(world, "b", worker=number)
    world.die(number, mark=told.RunningMark("a", 1, 0))
    assert blame(world, "a").deaths == 0
    while world.busy():
        world.work(world.busy()[0])
    assert blame(world, "a").deaths == 3
    for n in range(9):
        world.tell(
            told.WorkerDied(
                90 + n,
                ExitReason.CRASH,
                "",
                mark=told.RunningMark("b", 1),
                configured=frozenset("ab"),
                has_finished=True,
            )
        )
    assert blame(world, "b") == BlameCounts()
    assert world.machine.trust("b") is UNPROVEN
    # Whoever is behind that was there each time.
    assert world.machine.trust("a") is UNPROVEN


def test_nobody_is_charged_that_is_gone_or_in_a_drain() -> None:
    """A name that the config does not have any more, and what no neighbour pays for."""
    world = World()
    world.tell(told.ResourcesExhausted("gone", ExitReason.LEAK, "all used"))
    world.tell(told.LoopHogged("gone", "blocked one"))
    world.drain()
    world.tell(told.ResourcesExhausted("a", ExitReason.LEAK, "all used"))
    world.tell(told.LoopHogged("a", "blocked one"))
    assert all(world.machine.status(name) is None for name in ("a", "b", "gone"))


def test_connection_that_hogs_runs_apart_and_is_charged_nothing() -> None:
    """What goes well counts when it has not done so for a while; it is told how often, and how."""
    world = World()
    effects = world.tell(told.LoopHogged("a", "blocked one"))
    assert effects[:2] == [
        CountBlame("a", BlameKind.HOGGED),
        ReportNoisyNeighbour("a", "blocked one"),
    ]
    assert world.tell(told.LoopHogged("a", "blocked two")) == [CountBlame("a", BlameKind.HOGGED)]
    assert blame(world, "a") == BlameCounts(hogged=2, hogs="blocked two")
    status = world.machine.status("a")
    assert status is not None
    assert status.score == 0.0
    for now, is_trusted in ((0.9 * QUIET_S, False), (0.2 * QUIET_S, True)):
        world.now += now
        for _ in range(PROOF_BATCHES):
            assert world.machine.trust("a") is UNPROVEN
            world.work(sent(world, "a"))
        assert (world.machine.trust("a") is TRUSTED) is is_trusted


def forged(world: World, name: str) -> list[IsolationEffect]:
    """A worker's page says that it is this one that keeps its loop, of all that were there."""
    others = frozenset(world.open) - {name}
    return world.tell(told.LoopHogged(name, "blocked one", others))


def test_who_may_have_kept_a_loop_is_tried_and_named_once_it_does_it_alone() -> None:
    """On the page's word it runs apart, and is charged nothing; what it does there is its own."""
    world = World(("a", "b", "c"), spares=4)
    effects = forged(world, "a")
    assert not {"CountBlame", "ReportNoisyNeighbour"} & set(kinds(effects))
    assert world.machine.trust("a") is UNPROVEN
    assert blame(world, "a") == BlameCounts()
    assert forged(world, "a") == [], "its batches that are still among theirs"
    effects = world.tell(told.LoopHogged("a", "blocked one"))
    assert effects == [CountBlame("a", BlameKind.HOGGED), ReportNoisyNeighbour("a", "blocked one")]
    assert world.tell(told.LoopHogged("a", "blocked two")) == [CountBlame("a", BlameKind.HOGGED)]
    # It was it, and nothing is left of a suspicion of the others.
    for _ in range(3):
        world.now += QUIET_S + PROOF_BATCHES_MOST * SECONDS_A_BATCH
        for _ in range(PROOF_BATCHES_MOST):
            if world.machine.trust("a") is UNPROVEN:
                world.work(sent(world, "a"))
        assert world.machine.trust("a") is TRUSTED
        forged(world, "a")
        world.tell(told.LoopHogged("a", "blocked one"))
        assert {world.machine.trust(name) for name in "bc"} == {TRUSTED}


def test_who_forges_marks_of_its_neighbours_is_tried_itself() -> None:
    """Each of them that is named is found innocent; whoever was there each time is tried next."""
    world = World(("bad", "a", "b", "c"), spares=4)
    for name in "ab":
        forged(world, name)
        assert world.machine.trust(name) is UNPROVEN
        assert world.machine.trust("bad") is TRUSTED
    forged(world, "c")
    assert world.machine.trust("bad") is UNPROVEN
    effects = world.tell(told.LoopHogged("bad", "blocked one"))
    assert ReportNoisyNeighbour("bad", "blocked one") in effects
    for name in "abc":
        assert blame(world, name) == BlameCounts()


def test_innocent_that_was_tried_for_a_loop_is_trusted_after_a_while() -> None:
    """It has not done it alone for long, and is named nowhere."""
    world = World(("a", "b"), spares=4)
    forged(world, "a")
    world.now += QUIET_S
    for _ in range(PROOF_BATCHES):
        assert world.machine.trust("a") is UNPROVEN
        world.work(sent(world, "a"))
    assert world.machine.trust("a") is TRUSTED
    assert not any(isinstance(one, ReportNoisyNeighbour) for one in world.effects)


def test_connection_on_probation_does_not_hog() -> None:
    """What is under way there has its own end."""
    world = World(spares=0)
    world.die(sent(world, "a"))
    assert world.machine.trust("a") is PROBATION
    assert world.tell(told.LoopHogged("a", "blocked one")) == []
    assert blame(world, "a").hogged == 0


def test_connection_that_fills_worker_after_worker_trips() -> None:
    """Slow leaks never do; one that has a worker replaced every second does, and it is said why."""
    world = World()
    exhausted = told.ResourcesExhausted("a", ExitReason.LEAK, "64 of 64 MiB used")
    for gap_s, n in ((60.0, 100), (1.0, int(DEATHS_MOST) + 3)):
        for _ in range(n):
            world.tell(exhausted)
            world.tell(told.BatchFinished(1, 0, "a", 1, 0, 0.1, BATCH_LIMIT_S))
            world.now += gap_s
        assert blame(world, "a").trips == (gap_s == 1.0)
    why = next(one.reason for one in world.effects if isinstance(one, Trip))
    assert "in a short while" in why
    assert "workers out of memory" in why
    assert "64 of 64 MiB used" in why


def test_a_trip_counts_once_for_each_opening() -> None:
    """Deaths while the breaker is open add none."""
    world = World()
    died = told.WorkerDied(
        99, ExitReason.CRASH, "", mark=told.RunningMark("a", 1), has_finished=True
    )
    for _ in range(8):
        world.tell(died)
    assert sum(isinstance(one, Trip) for one in world.effects) == 4
    assert (blame(world, "a").trips, blame(world, "a").deaths) == (1, 8)
    world.tell(told.BreakerOpened("gone"))
    assert world.machine.status("gone") is None


@pytest.mark.parametrize(
    ("reason", "detail", "is_charged"),
    [
        (ExitReason.CRASH, "", True),
        (ExitReason.EGRESS, "", True),
        (ExitReason.SIGNAL, "SIGKILL", False),
        (ExitReason.RECYCLE, "", False),
        (ExitReason.DRAIN, "", False),
    ],
)
def test_death_with_nothing_to_tell_is_charged_to_what_ran(
    reason: ExitReason, detail: str, is_charged: bool
) -> None:
    """Something that an earlier batch left behind did it; a kill from outside says nothing."""
    world = World()
    mark = told.RunningMark("a", 1)
    world.tell(told.WorkerDied(99, reason, detail, mark=mark, has_finished=True))
    assert (world.machine.trust("a") is UNPROVEN) is is_charged
    assert world.machine.trust("b") is TRUSTED
    # A worker that never finished anything can have nothing of anybody's left.
    world.tell(told.WorkerDied(98, ExitReason.CRASH, "", mark=told.RunningMark("b", 1)))
    assert world.machine.trust("b") is TRUSTED


def killed(world: World, number: int, mark: told.RunningMark | None = None) -> bool:
    """Whether a worker that gets SIGKILL now was ended from outside, as far as is known."""
    worker = world.workers[number]
    fact = told.WorkerDied(
        number,
        ExitReason.SIGNAL,
        "SIGKILL",
        tuple(map(world.lost, worker.batches.values())),
        mark,
    )
    return world.machine.is_outsiders(fact)


def test_kill_of_an_idle_dedicated_worker_is_its_connections_the_second_time() -> None:
    """Somebody outside would have to choose that one of all, twice."""
    world = World()
    for deaths in (0, 1):
        if world.machine.trust("a") is TRUSTED:
            unproven(world, "a")
        number = sent(world, "a")
        world.work(number)
        assert killed(world, number) is (deaths == 0)
        world.die(number, ExitReason.SIGNAL, "SIGKILL")
        assert blame(world, "a").deaths == deaths


def test_kill_of_an_idle_shared_worker_is_nobodys_however_often() -> None:
    """Also where only one connection ever had a batch there: the place is not its own."""
    world = World(("a", "b"), shared=1)
    for _ in range(3):
        number = sent(world, "a")
        world.work(number)
        world.die(number, ExitReason.SIGNAL, "SIGKILL")
        assert world.machine.trust("a") is TRUSTED
        status = world.machine.status("a")
        assert status is None or status.blame == BlameCounts()


def test_kill_from_outside_is_nobodys_until_it_meets_the_same_again() -> None:
    """Whatever ran; in a worker of its own, where that event is tried, it is its own."""
    world = World(("a", "b"), shared=1)
    number = sent(world, "a")
    sent(world, "b", worker=number)
    batch = next(iter(world.workers[number].batches.values()))
    mark = told.RunningMark("a", batch.id, 0)
    assert killed(world, number, mark)
    world.die(number, ExitReason.SIGNAL, "SIGKILL", mark)
    assert world.machine.trust("a") is TRUSTED
    (number,) = {world.places(name)[0] for name in "ab"}
    again = world.send("a", number)
    mark = told.RunningMark("a", again.id, 0)
    assert not killed(world, number, mark), "it was in a worker that died before"
    world.die(number, ExitReason.SIGNAL, "SIGKILL", mark)
    assert world.machine.trust("a") is PROBATION
    (probed,) = world.busy()
    assert not killed(world, probed), "it is tried alone"


def test_other_ends_are_nobody_elses() -> None:
    """Only of SIGKILL it is not known who sent it."""
    world = World()
    for reason, detail in ((ExitReason.SIGNAL, "SIGSEGV"), (ExitReason.OOM, "SIGKILL")):
        assert not world.machine.is_outsiders(told.WorkerDied(1, reason, detail))


def test_worker_that_had_told_all_and_did_not_end_is_charged() -> None:
    """To the connection whose batch was late; deaths of ours to nobody."""
    for is_ours in (True, False):
        world = World(shared=1)
        number = sent(world, "a")
        sent(world, "b", worker=number)
        for batch in world.workers[number].batches.values():
            batch.reported.add(0)
        world.delivered.update([1, 2])
        world.workers[number].overdue = frozenset({2})
        world.die(number, ExitReason.TIMEOUT, "not ended", is_ours=is_ours)
        assert (world.machine.trust("b") is UNPROVEN) is not is_ours
        assert world.machine.status("a") is None


def test_slow_and_failed_batches_are_on_the_score() -> None:
    """They never trip a connection; what is delivered takes half of it back."""
    world = World()

    def score(delivered: int, retried: int, share: float) -> float:
        seconds = share * BATCH_LIMIT_S
        world.tell(told.BatchFinished(1, 0, "a", delivered, retried, seconds, BATCH_LIMIT_S))
        status = world.machine.status("a")
        return 0.0 if status is None else status.score

    assert score(1, 0, SLOW_SHARE - 0.01) == 0.0
    assert world.machine.status("a") is None
    assert score(1, 0, SLOW_SHARE) == 0.5
    assert score(0, 1, 0.1) == 0.75
    assert score(1, 1, 0.1) == 0.375
    assert score(0, 1, SLOW_SHARE) == 1.125
    assert score(0, 0, 0.1) == 1.125


def test_probe_that_delivers_counts_for_its_connection() -> None:
    """And one that does not, does not."""
    for delivered, score in ((1, 0.5), (0, 1.0)):
        world = World()
        world.die(sent(world, "a"))
        (number,) = world.busy()
        (batch,) = world.workers[number].batches.values()
        batch.reported.add(0)
        assert batch.part_of is not None
        batch.part_of.reported.add(0)
        world.delivered.update([1])
        world.finish(world.workers[number], batch, delivered=delivered, retried=1 - delivered)
        status = world.machine.status("a")
        assert status is not None
        assert status.score == score


# --- where it runs ---


def test_connection_without_company_is_let_go_at_once() -> None:
    """There is nobody to protect from it; what it had proven is void all the same."""
    world = World(("a", "b"))
    world.add("b", is_closed=True)
    effects = world.tell(told.ResourcesExhausted("a", ExitReason.OOM, "all used"))
    assert effects == [CountBlame("a", BlameKind.USED_UP), PlaceConnection("a", SHARED)]
    assert world.machine.trust("a") is TRUSTED
    assert world.machine.most_events("a") is None
    assert not world.claims


def test_connection_without_company_does_not_hog() -> None:
    """It keeps nothing from anybody: it is not accused, nor counted, nor moved."""
    world = World(("a", "b"))
    world.add("b", is_closed=True)
    assert world.tell(told.LoopHogged("a", "blocked one")) == []
    assert world.machine.status("a") is None


@pytest.mark.parametrize("has_worker", [False, True], ids=["waits for one", "has one"])
def test_nothing_of_a_closed_connection_is_tried(has_worker: bool) -> None:
    """Its destination was left out: what is suspected of it is pending again, and charged nothing.

    A probe that is with a worker already is awaited; another one is not sent.
    """
    world = World(("a", "b"), spares=int(has_worker))
    number = sent(world, "a", 3)
    world.die(number)
    probing = world.busy()
    assert bool(probing) == has_worker
    began = len(world.effects)
    world.add("a", is_closed=True)
    for worker in probing:
        world.die(worker)
    told_of = world.effects[began:]
    assert not [one for one in told_of if isinstance(one, (Resend, QuarantineDelivery))]
    assert Requeue(1, (0, 1, 2)) in told_of
    assert not world.held
    # Nor is what dies with it from now on.
    world = World(("a", "b"))
    number = sent(world, "a", 3)
    world.add("a", is_closed=True)
    effects = world.die(number)
    assert Requeue(1, (0, 1, 2)) in effects
    assert not [one for one in effects if isinstance(one, Resend)]


def test_worker_that_comes_too_late_is_nobodys() -> None:
    """Its request was taken back meanwhile: it is not asked for anything, and runs nothing."""
    world = World(("a",))
    effects = world.tell(told.ResourcesExhausted("a", ExitReason.OOM, "all used"))
    assert not any(
        isinstance(one, PlaceConnection) and isinstance(one.placement, Dedicated) for one in effects
    )
    assert world.machine.placement("a") == SHARED
    machine = Isolation()
    assert machine.handle(told.WorkerDedicated(7, "gone"), 0.0) == []
    assert machine.dedicated_to(7) == "gone"
    assert not machine.may_run("a", 7)


def test_where_a_batch_may_go_that_was_leased_meanwhile() -> None:
    """A trusted one among the others, an unproven one to its own worker, on probation nowhere."""
    world = World(("a", "b"))
    assert world.machine.may_run("a", 1)
    number = unproven(world, "a")
    assert not world.machine.may_run("a", 1)
    assert world.machine.may_run("a", number)
    assert not world.machine.may_run("b", number)
    world.die(sent(world, "a"))
    placement = world.machine.placement("a")
    assert isinstance(placement, Dedicated)
    assert placement.is_probed
    assert not world.machine.may_run("a", placement.worker)
    assert world.machine.dedicated_to(placement.worker) == "a"
    assert world.machine.dedicated_to(number) is None
    assert world.machine.dedicated_to(1) is None


def test_batches_of_an_unproven_connection_grow_until_it_is_trusted() -> None:
    """Then its worker is given back, and it is told."""
    world = World()
    unproven(world, "a")
    world.now += QUIET_S
    for n in range(PROOF_BATCHES):
        assert world.machine.most_events("a") == 2**n
        number = sent(world, "a")
        began = len(world.effects)
        world.work(number)
    assert world.effects[began:] == [
        PlaceConnection("a", SHARED),
        ReturnWorker("a"),
        ReportTrust("a"),
    ]
    assert number not in world.workers


def test_dedicated_worker_that_is_idle_is_given_back() -> None:
    """And asked for again when there is work; never while it has a batch."""
    world = World()
    number = unproven(world, "a")
    world.tick(IDLE_S)
    assert number in world.workers
    sent(world, "a")
    world.tick(IDLE_S + 1)
    assert number in world.workers
    world.work(number)
    world.tick(IDLE_S)
    assert number in world.workers
    world.tick(0.1)
    assert number not in world.workers
    assert world.machine.placement("a") == Waiting(WaitReason.DEDICATED_WORKER)
    assert world.machine.dormant() == ["a"]
    world.tick(1.0)
    assert not world.claims
    world.accept("a", 1)
    world.tick(1.0)
    assert world.claims
    assert world.machine.dormant() == []


def test_connections_take_turns_with_dedicated_workers() -> None:
    """Between two batches one that has had its turn makes room for one that waits."""
    world = World(("a", "b", "c"))
    first, second = unproven(world, "a"), unproven(world, "b")
    world.now += TURN_S + 0.1
    for number, name in ((first, "a"), (second, "b")):
        world.work(sent(world, name, worker=number))
        assert number in world.workers, "nobody waits"
    sent(world, "a", worker=first)
    world.tell(told.LoopHogged("c", "blocked one"))
    assert world.claims["c"] is None
    world.work(first)
    assert first not in world.workers
    assert second in world.workers
    assert isinstance(world.machine.placement("c"), Dedicated)
    world.tell(told.LoopHogged("a", "blocked one"))
    assert "a" not in world.claims, "it asks when it has something to send"


def test_a_turn_lasts_its_time() -> None:
    """Whoever waits, a worker that has just come is not given back."""
    world = World(("a", "b", "c"))
    first, _ = unproven(world, "a"), unproven(world, "b")
    world.tell(told.LoopHogged("c", "blocked one"))
    world.now += TURN_S
    world.work(sent(world, "a", worker=first))
    assert first in world.workers
    world.now += 0.01
    world.work(sent(world, "a", worker=first))
    assert first not in world.workers


def test_as_many_make_room_at_a_tick_as_wait() -> None:
    """A fork is dear; and a connection that asks in this very tick may find a spare."""
    world = World(("a", "b", "c"), spares=2)
    unproven(world, "a"), unproven(world, "b")
    world.tell(told.LoopHogged("c", "blocked one"))
    effects = [one for one in tick(world, 2 * TURN_S) if isinstance(one, ReturnWorker)]
    assert effects == [ReturnWorker("a")]


def tick(world: World, seconds: float) -> list[IsolationEffect]:
    """What a tick brings."""
    began = len(world.effects)
    world.tick(seconds)
    return world.effects[began:]


def test_connection_with_suspected_batches_keeps_its_worker() -> None:
    """However long, and whoever waits: it is on probation."""
    world = World(("a", "b", "c"))
    world.die(sent(world, "a"))
    (number,) = world.busy()
    unproven(world, "b")
    world.tell(told.LoopHogged("c", "blocked one"))
    world.tick(100.0)
    assert number in world.workers
    assert not any(isinstance(one, ReturnWorker) for one in tick(world, 100.0)[:1])


def test_worker_that_dies_leaves_its_connection_waiting() -> None:
    """For the next one, which is asked for already."""
    world = World(spares=1)
    number = unproven(world, "a")
    effects = world.die(number, ExitReason.RECYCLE, "")
    assert effects == [PlaceConnection("a", Waiting(WaitReason.DEDICATED_WORKER))]
    assert world.claims == {"a": None}
    assert world.machine.dormant() == []


# --- suspected batches ---


def test_case_goes_on_when_a_busy_worker_is_free() -> None:
    """Its last batch among the others died while its own worker had one."""
    world = World(shared=1)
    shared = sent(world, "a")
    own = unproven(world, "a")
    sent(world, "a", worker=own)
    effects = world.die(shared)
    assert not any(isinstance(one, Resend) for one in effects)
    world.work(own)
    assert isinstance(world.effects[-1], Resend)


def test_case_goes_before_a_turn_of_others() -> None:
    """Its worker is not given back between its last batch and its first probe, whoever waits."""
    world = World(("a", "b", "c"), shared=1)
    shared = sent(world, "a")
    own = unproven(world, "a")
    sent(world, "a", worker=own)
    unproven(world, "b")
    world.tell(told.LoopHogged("c", "blocked one"))
    world.die(shared)
    world.now += 2 * TURN_S
    began = len(world.effects)
    world.work(own)
    assert kinds(world.effects[began:]) == ["Resend"]


def test_case_asks_for_a_worker_that_was_given_back() -> None:
    """Its last batch among the others died while it had none."""
    world = World(shared=1)
    shared = sent(world, "a")
    unproven(world, "a")
    world.tick(2 * IDLE_S)
    assert world.machine.dormant() == ["a"]
    effects = world.die(shared)
    assert RequestWorker("a") in effects
    assert isinstance(effects[-1], Resend)


def test_refused_probe_is_sent_to_the_next_worker() -> None:
    """The worker was dead, and that was not known yet. It was no execution."""
    world = World(shared=1)
    shared = sent(world, "a")
    own = unproven(world, "a")
    world.workers[own].is_ready = False
    world.die(shared)
    assert blame(world, "a").executions == 0
    assert not world.busy()
    effects = world.die(own, ExitReason.TIMEOUT, "blocked")
    assert isinstance(effects[0], PlaceConnection)
    world.tick(0.1)
    assert isinstance(world.effects[-1], Resend)
    assert blame(world, "a").executions == 1


def test_probe_that_is_refused_in_a_drain_is_given_back() -> None:
    """Facts that cross leave nothing behind."""
    machine = Isolation()
    for name in ("a", "b"):
        machine.handle(told.ConnectionOpened(name), 0.0)
    lost = told.LostBatch(1, "a", 1, (0,), (11,), 99.0)
    machine.handle(told.WorkerDied(1, ExitReason.CRASH, "", (lost,)), 0.0)
    assert isinstance(machine.handle(told.WorkerDedicated(2, "a"), 0.0)[-1], Resend)
    assert machine.handle(told.Draining(), 0.0) == []
    effects = machine.handle(told.ProbeRefused("a"), 0.0)
    assert effects[:3] == [Requeue(1, (0,)), ForgetLease(1), ReportDecided("a", 0)]
    assert machine.handle(told.ProbeRefused("a"), 0.0) == []
    assert machine.handle(told.ProbeSent("gone", 1), 0.0) == []


def test_drain_lets_a_probe_finish_and_begins_none() -> None:
    """What it does not answer is pending again."""
    world = World()
    world.die(sent(world, "a", 3), mark=told.RunningMark("a", 1, 0), is_luck=False)
    began = len(world.effects)
    world.drain()
    (number,) = world.busy()
    world.work(number)
    assert world.effects[began : began + 3] == [
        Requeue(1, (1, 2)),
        ForgetLease(1),
        ReportDecided("a", 0),
    ]


def test_drain_decides_what_waits_for_a_worker() -> None:
    """At once: nobody is probed any more."""
    world = World(spares=0)
    world.die(sent(world, "a", 2))
    assert world.held
    world.drain()
    assert not world.held
    assert world.pending["a"] == [1, 2]


def test_removed_connection_gives_back_what_it_has() -> None:
    """Its probe runs on, as a batch like any other."""
    world = World()
    world.die(sent(world, "a", 3), mark=told.RunningMark("a", 1, 0), is_luck=False)
    (number,) = world.busy()
    began = len(world.effects)
    world.remove("a")
    assert world.effects[began:] == [Requeue(1, (1, 2)), ForgetLease(1), ReturnWorker("a")]
    assert world.machine.status("a") is None
    world.work(number)
    assert world.delivered == {1: 1}
    assert world.machine.status("a") is None


def test_batches_of_removed_connections_are_requeued() -> None:
    """They accuse nobody, and are no company."""
    world = World(shared=1)
    number = sent(world, "a")
    sent(world, "b", worker=number)
    world.remove("b")
    effects = world.die(number)
    assert Requeue(2, (0,)) in effects
    assert world.machine.trust("a") is PROBATION
    assert world.machine.status("b") is None


def test_leases_of_suspected_batches_are_extended_in_time() -> None:
    """Each for so long, when that much is left."""
    world = World(spares=0)
    world.die(sent(world, "a"))
    assert tick(world, LEASE_S - EXTEND_S) == []
    assert tick(world, 0.1) == [ExtendLease(1, HOLD_S)]
    assert tick(world, HOLD_S - EXTEND_S) == []
    assert tick(world, 0.1) == [ExtendLease(1, HOLD_S)]


def test_lost_lease_ends_its_case() -> None:
    """What it had is pending again without our help."""
    world = World(spares=0)
    world.die(sent(world, "a", 2))
    machine = world.machine
    assert machine.handle(told.LeaseLost(99), world.now) == []
    assert machine.handle(told.LeaseLost(1), world.now) == [
        ForgetLease(1),
        ReportDecided("a", 0),
        PlaceConnection("a", Waiting(WaitReason.DEDICATED_WORKER)),
    ]


def test_clean_connection_costs_nothing() -> None:
    """No record, no effect."""
    world = World()
    world.work(sent(world, "a", 5))
    assert world.effects == []
    assert world.machine.status("a") is None
    assert world.machine.most_events("a") is None
    assert world.machine.dormant() == []
