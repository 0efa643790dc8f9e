"""Whose turn it is: rules, credits and alarms, on a clock of our own."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core.placement import SHARED, Dedicated, Placement, Waiting, WaitReason
from supervisor.core.scheduling.connection import PROBE_EVENTS, PROVEN_ALONE_EVENTS, PROVEN_EVENTS
from supervisor.core.scheduling.scheduler import (
    BatchResult,
    Blocked,
    BlockReason,
    Ready,
    Scheduler,
    Take,
    Terms,
)

TERMS = Terms(batch_events=10, batch_bytes=1000, max_concurrency=2)


@dataclass
class Bench:
    """A scheduler with an invented queue."""

    fresh: dict[str, int] = field(default_factory=dict)
    retry_at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.s = Scheduler(self.look)

    def look(self, name: str) -> Ready:
        return Ready(self.fresh.get(name, 0), self.retry_at.get(name))

    def take(self, now: float = 0.0) -> Take | None:
        take = self.s.next(now)
        if take is not None and not take.retries:
            n = min(self.fresh[take.connection], take.max_events)
            self.fresh[take.connection] -= n
            self.s.sent(take, n)
        return take

    def take_of(self, name: str, now: float = 0.0) -> Take:
        """The next batch of this connection; those of others are over at once."""
        while True:
            take = self.take(now)
            assert take is not None
            if take.connection == name:
                return take
            self.finish(take, now)

    def take_of_any(self) -> str:
        """Who is next; its batch is over at once."""
        take = self.take()
        assert take is not None
        self.finish(take)
        return take.connection

    def finish(
        self,
        take: Take,
        now: float = 0.0,
        *,
        delivered: int = 1,
        retried: int = 0,
        congested: int = 0,
        started: float | None = None,
    ) -> None:
        batch = BatchResult(
            delivered=delivered,
            retried=retried,
            congested=congested,
            retries=take.retries,
            started=now if started is None else started,
            why="no good",
        )
        self.s.finished(take.connection, take.worker, batch, now=now, jitter=0.0)


def bench(terms: Terms = TERMS, credits: int = 4, **fresh: int) -> Bench:
    b = Bench(dict(fresh))
    for name in fresh:
        b.s.opened(name, terms)
    b.s.worker_came(1, credits)
    return b


def test_connections_take_turns() -> None:
    """With work for all, each connection sends one batch in its turn."""
    b = bench(a=100, b=100, c=100)
    assert [t.connection for _ in range(4) if (t := b.take())] == ["a", "b", "c", "a"]


def test_no_batch_without_a_credit() -> None:
    """Nobody buffers past the credits that workers grant."""
    b = bench(credits=1, a=100, b=100)
    first = b.take()
    assert first is not None
    assert b.take() is None
    assert b.s.waits_for("b", 0.0) == Blocked(BlockReason.CREDIT)
    b.finish(first)
    assert b.take() is not None


def test_work_spreads_over_workers() -> None:
    """The worker with the most credits left gets the next batch."""
    b = bench(a=100, b=100)
    b.s.worker_came(2, 4)
    assert [t.worker for _ in range(4) if (t := b.take())] == [1, 2, 1, 2]


def test_newcomer_gets_the_next_batch() -> None:
    """Of workers that are equally free, the one that has waited longest goes first."""
    b = bench(a=1000)
    for _ in range(2):
        take = b.take()
        assert take is not None
        b.finish(take)
    b.s.worker_came(2, 4)
    taken = []
    for _ in range(4):
        take = b.take()
        assert take is not None
        taken.append(take.worker)
        b.finish(take)
    assert taken == [2, 1, 2, 1]


def test_concurrency_is_bounded_per_connection() -> None:
    """`max_concurrency` batches at once, and the next when one of them is over."""
    b = bench(a=100)
    first, second = b.take(), b.take()
    assert first is not None
    assert second is not None
    assert b.take() is None
    assert b.s.waits_for("a", 0.0).rule is BlockReason.CONCURRENCY
    b.finish(first)
    assert b.take() is not None


def test_first_attempts_go_before_retries_but_do_not_starve_them() -> None:
    """Of nine batches with both kinds of work, one is of retries."""
    b = bench(Terms(10, 1000, 100), credits=100, a=10_000)
    b.retry_at["a"] = 0.0
    kinds = []
    for _ in range(9):
        take = b.take_of("a", 1.0)
        kinds.append(take.retries)
        b.finish(take, 1.0)
    assert kinds == [False] * 8 + [True]


def test_retries_wait_for_their_time() -> None:
    """A connection with nothing but a retry rings an alarm at its time, and sends then."""
    b = bench(a=0)
    b.retry_at["a"] = 5.0
    assert b.take(0.0) is None
    assert b.s.next_alarm() == 5.0
    take = b.take(5.0)
    assert take is not None
    assert take.retries


def test_failing_connection_trips_and_is_asked_with_a_small_batch_at_a_time() -> None:
    """After three batches of nothing but failures: one small batch after growing pauses."""
    b = bench(a=1000, b=1000)
    for now in (0.0, 0.1, 0.2):
        b.finish(b.take_of("a", now), now, delivered=0, retried=10)
    hold = b.s.waits_for("a", 0.2)
    assert (hold.rule, hold.until) == (BlockReason.TRIPPED, 0.7)
    assert hold.why == "nothing delivered in 3 batches in a row: no good"
    probe = b.take_of("a", 0.8)
    assert probe.max_events == min(PROBE_EVENTS, TERMS.batch_events)
    assert b.s.waits_for("a", 0.8).rule is BlockReason.TRIPPED
    b.finish(probe, 0.8, delivered=0, retried=10)
    assert b.s.waits_for("a", 0.8).until == 1.8
    b.finish(b.take_of("a", 2.0), 2.0, delivered=1)
    assert b.s.waits_for("a", 2.0).rule is BlockReason.NOTHING


def test_a_few_events_that_fail_again_and_again_do_not_trip() -> None:
    """Three batches are not enough: twenty events without a success between them are."""
    b = bench(Terms(1, 1000, 2), a=0)
    b.retry_at["a"] = 0.0
    for n in range(20):
        now = 10.0 * (n + 1)
        assert b.s.waits_for("a", now).rule is BlockReason.NOTHING
        take = b.take(now)
        assert take is not None
        assert take.retries
        b.s.sent(take, 1)
        b.finish(take, now, delivered=0, retried=1)
    assert b.s.waits_for("a", 200.0).rule is BlockReason.TRIPPED


def test_a_success_forgets_what_failed_before() -> None:
    """One bad event among good ones never trips, however often it is tried."""
    b = bench(a=10**6)
    for n in range(30):
        now = float(n)
        b.finish(b.take_of("a", now), now, delivered=0, retried=9)
        b.finish(b.take_of("a", now), now, delivered=0, retried=9)
        b.finish(b.take_of("a", now), now, delivered=1, retried=9)
        assert b.s.schedules["a"].breaker.is_closed


def test_connection_that_trips_again_soon_goes_on_with_its_pauses() -> None:
    """A worker killed by every other batch is not asked each second for ever."""
    b = bench(a=1000)
    b.s.tripped("a", "it kills its workers", 0.0)
    pauses = []
    now = 0.0
    for _ in range(4):
        until = b.s.waits_for("a", now).until
        assert until is not None
        pauses.append(until - now)
        now = until
        b.finish(b.take_of("a", now), now)
        b.s.tripped("a", "it kills its workers", now)
    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_trip_by_hand_says_why_and_ends_with_a_probe_that_is_taken() -> None:
    """`tripped` keeps the queue and its reason until a batch goes well."""
    b = bench(a=100, b=100)
    b.s.tripped("a", "3 workers died", 5.0)
    assert b.s.waits_for("a", 5.0) == Blocked(BlockReason.TRIPPED, 6.0, "3 workers died")
    assert b.take_of("b", 5.0).connection == "b"
    b.finish(b.take_of("a", 6.0), 6.0)
    assert b.s.schedules["a"].breaker.is_closed


def test_only_what_opens_a_breaker_counts_as_its_opening() -> None:
    """One that is open takes the new reason and stays as it is; after a probe it opens again."""
    b = bench(a=100)
    assert b.s.tripped("a", "3 workers died", 5.0)
    assert not b.s.tripped("a", "4 workers died", 5.1)
    breaker = b.s.schedules["a"].breaker
    assert (breaker.reason, breaker.trips) == ("4 workers died", 1)
    breaker.probe_began()
    assert b.s.tripped("a", "5 workers died", 9.0)
    assert not b.s.tripped("nobody", "it is not in the config", 9.0)


def test_success_from_before_a_trip_does_not_end_it() -> None:
    """What began earlier says nothing of how things are since."""
    b = bench(a=100)
    early = b.take_of("a", 1.0)
    b.s.tripped("a", "3 workers died", 2.0)
    b.finish(early, 3.0, started=1.0)
    assert not b.s.schedules["a"].breaker.is_closed


def test_batches_that_fail_side_by_side_count_once() -> None:
    """A worker that dies with eight batches of a connection is one failure, not eight."""
    b = bench(Terms(10, 1000, 8), credits=8, a=1000)
    b.s.schedules["a"].concurrency.limit = 8.0
    takes = [take for _ in range(7) if (take := b.take(1.0))]
    assert len(takes) == 7
    for take in takes:
        b.finish(take, 2.0, delivered=0, retried=10, started=1.0)
    assert b.s.waits_for("a", 2.0) == Blocked(BlockReason.NOTHING)


def test_retry_after_holds_the_whole_connection() -> None:
    """Nothing goes to a destination before the time that it asked for."""
    b = bench(a=100)
    b.s.retry_after("a", 30.0, "it asked for more")
    b.s.retry_after("a", 20.0)
    assert b.take(29.9) is None
    assert b.s.waits_for("a", 29.9) == Blocked(BlockReason.BACKOFF, 30.0, "it asked for more")
    assert b.take(30.0) is not None


def test_linger_waits_only_behind_a_batch_under_way() -> None:
    """A lone event goes at once; while it is under way, others gather until the batch is full."""
    b = bench(Terms(10, 1000, 8, linger_s=0.05), a=1)
    b.s.schedules["a"].concurrency.limit = 8.0
    first = b.take(0.0)
    assert first is not None
    b.fresh["a"] = 3
    b.s.work_came("a")
    assert b.take(0.01) is None
    assert b.s.waits_for("a", 0.01).rule is BlockReason.LINGER
    b.fresh["a"] = 10
    b.s.work_came("a")
    assert b.take(0.02) is not None
    b.fresh["a"] = 2
    b.s.work_came("a")
    assert b.take(0.03) is None
    assert b.take(0.09) is not None


def test_rate_limit_is_obeyed() -> None:
    """In ten seconds at 5 events/s, no more than the bucket and ten seconds' worth go out."""
    b = bench(Terms(2, 1000, 100, rate=5.0), credits=10_000, a=10_000)
    sent = 0
    for tick in range(1001):
        while (take := b.take(tick / 100)) is not None:
            sent += take.max_events
            b.finish(take, tick / 100)
    assert 50 <= sent <= 57


def test_paused_connection_sends_nothing_until_resumed() -> None:
    """Pause stops, resume lets go on."""
    b = bench(a=100)
    b.s.paused("a")
    assert b.take() is None
    assert b.s.waits_for("a", 0.0).rule is BlockReason.PAUSED
    b.s.resumed("a")
    assert b.take() is not None


def test_queue_that_has_nothing_after_all_does_not_spin() -> None:
    """A lease that comes back empty takes the connection out of turn."""
    b = bench(a=5)
    take = b.s.next(0.0)
    assert take is not None
    b.s.nothing_leased(take, 0.0)
    assert b.s.next(0.0) is None
    b.s.work_came("a")
    assert b.s.next(0.0) is not None


def test_worker_that_is_granted_less_gets_nothing_until_it_has_less() -> None:
    """What it runs finishes, and the others lose no place by it."""
    b = bench(TERMS, 4, **dict.fromkeys("abcdefgh", 10**6))

    def taken() -> list[Take]:
        return [take for _ in range(9) if (take := b.take())]

    before = taken()
    assert len(before) == 4
    b.s.worker_granted(1, 1)
    b.s.worker_came(2, 2)
    assert [take.worker for take in taken()] == [2, 2]
    for take in before[:3]:
        b.finish(take)
        assert not taken()
    b.finish(before[3])
    assert [take.worker for take in taken()] == [1]
    b.s.worker_granted(1, 4)
    assert [take.worker for take in taken()] == [1, 1, 1]


def proven(b: Bench, *names: str) -> Bench:
    for name in names:
        b.s.schedules[name].proven = PROVEN_EVENTS
    return b


def test_worker_that_is_away_gets_nothing_and_holds_back_nobody() -> None:
    """Batches that are stuck in it count against no limit but `max_concurrency`."""
    b = proven(bench(Terms(10, 1000, 3), 2, a=10**6), "a")
    stuck = [b.take(), b.take()]
    assert all(stuck)
    assert b.take() is None
    assert b.s.waits_for("a", 0.0).rule is BlockReason.ADAPTIVE
    b.s.worker_away(1, {"a": 2}, None)
    b.s.worker_came(2, 8)
    took = b.take()
    assert took is not None
    assert took.worker == 2
    assert b.take() is None
    assert b.s.waits_for("a", 0.0).rule is BlockReason.CONCURRENCY


def test_worker_that_is_back_takes_batches_as_before() -> None:
    """Those that finish afterwards, or were lost with it, count once."""
    b = proven(bench(Terms(10, 1000, 8), 4, a=10**6), "a")
    first, second = b.take(), b.take()
    assert first is not None
    assert second is not None
    b.s.worker_away(1, {"a": 2}, None)
    assert b.s.schedules["a"].stuck == 2
    assert b.take() is None
    b.finish(first)
    assert b.s.schedules["a"].stuck == 1
    b.s.worker_granted(1, 4)
    assert (b.s.schedules["a"].stuck, b.s.schedules["a"].inflight) == (0, 1)
    b.s.worker_away(1, {"a": 1}, None)
    b.s.worker_left(1)
    b.finish(second)
    assert (b.s.schedules["a"].stuck, b.s.schedules["a"].inflight) == (0, 0)
    b.s.worker_came(2, 4)
    assert b.take() is not None


def test_connection_that_is_away_and_removed_comes_back_as_new() -> None:
    """What is stuck of the old one is not the new one's."""
    b = bench(TERMS, 4, a=10**6)
    old = b.take()
    assert old is not None
    b.s.worker_away(1, {"a": 1}, None)
    b.s.removed("a")
    b.s.opened("a", TERMS)
    b.s.worker_came(2, 4)
    assert b.take() is not None
    b.finish(old)
    b.s.worker_granted(1, 4)
    assert b.s.schedules["a"].stuck == 0


def test_unproven_connection_keeps_to_one_worker_at_a_time() -> None:
    """If it blocks or kills its workers, it shall not be all of them; others spread."""
    b = bench(Terms(10, 1000, 8), 4, a=10**6)
    b.s.worker_came(2, 4)
    first, second = b.take(), b.take()
    assert first is not None
    assert second is not None
    assert first.worker == second.worker
    b.s.worker_away(first.worker, {"a": 2}, "a")
    assert b.take() is None
    assert b.s.waits_for("a", 0.0).rule is BlockReason.UNPROVEN
    b.s.worker_left(first.worker)
    b.finish(first)
    assert b.take() is None
    b.finish(second)
    other = b.take()
    assert other is not None
    assert other.worker != first.worker


def test_little_proves_a_connection_that_is_alone() -> None:
    """It has all workers until another has a batch too; then it keeps to one at a time."""
    b = bench(Terms(10, 1000, 8), 4, a=10**6, b=0)
    b.s.worker_came(2, 4)
    first, second = b.take_of("a"), b.take_of("a")
    assert first.worker == second.worker
    b.finish(first, delivered=PROVEN_ALONE_EVENTS)
    assert b.take_of("a").worker != second.worker
    assert b.s.schedules["a"].keeps_to(2) is not None


def test_whoever_is_stuck_behind_a_suspect_goes_elsewhere() -> None:
    """Unproven or not: it is somebody else's step that keeps the worker."""
    b = bench(TERMS, 4, a=10**6)
    b.s.worker_came(2, 4)
    stuck = b.take()
    assert stuck is not None
    b.s.worker_away(stuck.worker, {"a": 1}, "b")
    other = b.take()
    assert other is not None
    assert other.worker != stuck.worker


def test_connection_that_keeps_a_worker_from_the_others_keeps_to_it() -> None:
    """Where it is alone, all workers are its own; proven or not."""
    b = proven(bench(Terms(10, 1000, 8), 8, a=10**6, b=10**6), "a", "b")
    b.s.worker_came(2, 8)
    took = b.take_of("a")
    b.s.worker_away(took.worker, {"a": 1}, "a")
    assert b.s.schedules["a"].keeps_to(2) is None
    b.s.worker_granted(took.worker, 8)
    other = b.take_of("b")
    b.s.worker_away(took.worker, {"a": 1, "b": 1}, "a")
    assert b.s.schedules["a"].keeps_to(2) == took.worker
    assert b.s.schedules["b"].keeps_to(2) is None
    b.finish(other)


def test_connection_is_proven_by_events_that_end_and_no_more_after_an_accusation() -> None:
    """A thousand of them; what it had proven is void when a worker died of it."""
    b = bench(TERMS, 4, a=10**6)
    b.s.worker_came(2, 4)
    take = b.take()
    assert take is not None
    b.finish(take, delivered=PROVEN_EVENTS)
    assert b.s.schedules["a"].proven == PROVEN_EVENTS
    workers = {take.worker for _ in range(2) if (take := b.take())}
    assert workers == {1, 2}
    b.s.place("a", Waiting(WaitReason.PROBATION))
    assert b.s.schedules["a"].proven == 0


def test_removed_connection_is_forgotten() -> None:
    """Batches of a connection that left the config still free their credit."""
    b = bench(credits=1, a=100)
    take = b.take()
    assert take is not None
    b.s.removed("a")
    b.finish(take)
    assert b.s.capacity.credits[1] == 1
    assert b.take() is None


def test_idle_connection_that_comes_back_goes_next() -> None:
    """Who was away saves up nothing and owes nothing: its turn is now."""
    b = bench(a=1000, b=0)
    for _ in range(20):
        b.finish(b.take_of("a"))
    b.fresh["b"] = 100
    b.s.work_came("b")
    assert [b.take_of_any() for _ in range(4)] == ["b", "a", "b", "a"]


@settings(deadline=None, max_examples=40)
@given(
    weights=st.lists(st.integers(1, 20), min_size=2, max_size=6),
    sizes=st.lists(st.integers(1, 20), min_size=6, max_size=6),
)
def test_shares_follow_weights_whatever_the_batches_hold(
    weights: list[int], sizes: list[int]
) -> None:
    """Where all have work and the pool is what is short, events sent follow weights within 5 %."""
    b = Bench({str(n): 10**9 for n in range(len(weights))})
    for n, weight in enumerate(weights):
        b.s.opened(str(n), Terms(sizes[n], 10**9, 64, weight=weight))
    b.s.worker_came(1, 1)
    sent = dict.fromkeys(b.fresh, 0)
    # Until each has had so many of its batches that one more or less is no matter.
    enough = 60 * max(size / weight for size, weight in zip(sizes, weights, strict=False))
    total = enough * sum(weights)
    while sum(sent.values()) < total:
        take = b.take()
        assert take is not None
        sent[take.connection] += take.max_events
        b.finish(take)
    shares = [sent[str(n)] / weight for n, weight in enumerate(weights)]
    assert max(shares) <= 1.05 * min(shares)


def test_connection_that_hangs_holds_only_its_share() -> None:
    """Beside nine that are busy, one that never finishes holds two tenths of the pool at most."""
    names = [f"c{n}" for n in range(10)]
    b = bench(Terms(10, 1000, 1000), credits=40, **dict.fromkeys(names, 10**9))
    for schedule in b.s.schedules.values():
        schedule.concurrency.limit = 1000.0
    running: list[Take] = []
    for _ in range(2000):
        while (take := b.take()) is not None:
            running.append(take)
        done = next(take for take in running if take.connection != "c0")
        running.remove(done)
        b.finish(done)
    assert b.s.inflight("c0") <= 8
    assert b.s.waits_for("c0", 0.0).rule is BlockReason.SHARE


def test_connection_alone_may_hold_all_but_an_eighth() -> None:
    """What nobody else wants is for who does; a newcomer still finds a place at once."""
    b = bench(Terms(10, 1000, 1000), credits=40, a=10**9, b=0)
    b.s.schedules["a"].concurrency.limit = 1000.0
    while b.take() is not None:
        pass
    assert b.s.inflight("a") == 35
    b.fresh["b"] = 1
    b.s.work_came("b")
    take = b.take()
    assert take is not None
    assert take.connection == "b"


def test_probes_of_many_sick_connections_hold_a_quarter_of_the_pool() -> None:
    """A hundred destinations that hang on every probe leave the others three quarters."""
    sick = [f"s{n}" for n in range(100)]
    b = bench(TERMS, 40, **dict.fromkeys([*sick, "well"], 10**6))
    for name in sick:
        b.s.tripped(name, "it hangs", 0.0)
    probes = [take for _ in range(60) if (take := b.take(10.0))]
    assert sum(take.connection != "well" for take in probes) == 10
    assert b.s.waits_for("s99", 10.0).rule is BlockReason.PROBES
    over = next(take for take in probes if take.connection != "well")
    b.finish(over, 11.0, delivered=0, retried=1)
    following = b.take(11.0)
    assert following is not None
    assert following.connection not in {take.connection for take in probes}


def test_dedicated_worker_and_its_connection_have_only_each_other() -> None:
    """`place` keeps a connection apart, one batch at a time, and lets it back among the others."""
    b = bench(credits=2, a=10**6, b=10**6)
    b.s.place("a", Dedicated(2))
    takes = [take for _ in range(9) if (take := b.take())]
    assert {(take.connection, take.worker) for take in takes} == {("a", 2), ("b", 1)}
    assert sum(take.connection == "a" for take in takes) == 1
    assert b.s.waits_for("a", 0.0).rule is BlockReason.HOME
    for take in takes:
        b.finish(take)
    b.s.worker_left(2)
    served = {take.connection for _ in range(9) if (take := b.take())}
    assert served == {"b"}
    assert b.s.waits_for("a", 0.0).rule is BlockReason.HOME
    b.s.place("a", SHARED)
    assert b.s.waits_for("a", 0.0).rule is not BlockReason.HOME


@pytest.mark.parametrize(
    ("placement", "rule"),
    [
        (Waiting(WaitReason.PROBATION), BlockReason.PROBATION),
        (Waiting(WaitReason.DEDICATED_WORKER), BlockReason.APART),
        (Dedicated(2, is_probed=True), BlockReason.PROBATION),
    ],
)
def test_placement_says_what_a_connection_waits_for(
    placement: Placement, rule: BlockReason
) -> None:
    """Nothing of it is leased, in its own worker neither, and whatever it had proven is void."""
    b = bench(a=10**6)
    b.s.schedules["a"].proven = PROVEN_EVENTS
    b.s.place("a", placement)
    assert b.take() is None
    assert b.s.waits_for("a", 0.0).rule is rule
    assert b.s.schedules["a"].proven == 0


@pytest.mark.parametrize("placement", [Dedicated(2), Waiting(WaitReason.PROBATION), SHARED])
def test_probes_are_counted_anew_where_a_connection_is_placed_elsewhere(
    placement: Placement,
) -> None:
    """A batch of one whose breaker is open is a probe among the others, and none in its own worker.

    However it is moved about, none is counted once everything is over.
    """
    b = bench(credits=8, a=10**6, b=10**6)
    take = b.take()
    assert take is not None
    b.s.tripped(take.connection, "it kills", 0.0)
    b.s.place(take.connection, placement)
    b.s.place(take.connection, SHARED)
    b.finish(take)
    assert b.s._probing == 0


def test_retries_wait_for_the_governor() -> None:
    """With nothing proven, ten retries go at once, and then five a second."""
    b = bench(Terms(100, 1000, 8), a=0)
    b.retry_at["a"] = 0.0
    take = b.s.next(1.0)
    assert take is not None
    assert (take.retries, take.max_events) == (True, 10)
    b.s.sent(take, 10)
    assert b.s.next(1.0) is None
    assert b.s.waits_for("a", 1.0) == Blocked(BlockReason.GOVERNOR, 1.2)


@given(st.data())
def test_nobody_with_work_and_permission_starves(data: st.DataObject) -> None:
    """Through any history, work that may go does go, and credits never run below none."""
    names = ["a", "b", "c"]
    b = bench(Terms(10, 1000, 2), credits=3, **dict.fromkeys(names, 0))
    running: list[Take] = []
    now = 0.0
    for _ in range(data.draw(st.integers(0, 60))):
        now += data.draw(st.sampled_from([0.0, 0.1, 5.0]))
        match data.draw(st.sampled_from(["work", "finish", "fail", "pump", "worker"])):
            case "work":
                name = data.draw(st.sampled_from(names))
                b.fresh[name] += data.draw(st.integers(1, 30))
                b.s.work_came(name)
            case "finish" if running:
                b.finish(running.pop(data.draw(st.integers(0, len(running) - 1))), now)
            case "fail" if running:
                take = running.pop(data.draw(st.integers(0, len(running) - 1)))
                b.finish(take, now, delivered=0, retried=1)
            case "worker":
                b.s.worker_left(1)
                b.s.worker_came(1, 3 - min(3, len(running)))
            case _:
                while (taken := b.take(now)) is not None:
                    running.append(taken)
        assert all(0 <= n <= 3 + len(running) for n in b.s.capacity.credits.values())
    for take in running:
        b.finish(take, now)
    now += 1000.0
    served = set()
    b.s.worker_came(1, 1000)
    while (taken := b.take(now)) is not None:
        served.add(taken.connection)
        b.finish(taken, now)
    assert all(b.fresh[name] == 0 for name in names), served


def test_batches_get_smaller_where_they_are_spoiled() -> None:
    """By what the shell tells of them; `linger` then fills no more than that either."""
    b = bench(Terms(batch_events=100, batch_bytes=1000, max_concurrency=2), a=1000)
    for most in (100, 50, 25):
        take = b.take()
        assert take is not None
        assert take.max_events == most
        batch = BatchResult(retried=take.max_events, spoiled=take.max_events, why="no good")
        b.s.finished("a", 1, batch, now=0.0, jitter=0.0)
        b.s.resumed("a")  # its breaker is another matter
    take = b.take()
    assert take is not None
    b.s.finished("a", 1, BatchResult(delivered=take.max_events), now=0.0, jitter=0.0)
    take = b.take()
    assert take is not None
    assert take.max_events == 13
