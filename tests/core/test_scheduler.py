"""Whose turn it is: rules, credits and alarms, on a clock of our own."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.scheduler import Ready, Rule, Scheduler, Take, Terms

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
            self.fresh[take.connection] = max(0, self.fresh[take.connection] - take.max_events)
            self.s.sent(take.connection, take.max_events)
        return take

    def finish(
        self,
        take: Take,
        now: float = 0.0,
        *,
        delivered: int = 1,
        retried: int = 0,
        started: float | None = None,
    ) -> None:
        self.s.finished(
            take.connection,
            take.worker,
            delivered=delivered,
            retried=retried,
            started=now if started is None else started,
            now=now,
            jitter=0.0,
        )


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
    assert b.s.waits_for("b", 0.0) == (Rule.CREDIT, None)
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
    assert b.s.waits_for("a", 0.0)[0] is Rule.CONCURRENCY
    b.finish(first)
    assert b.take() is not None


def test_first_attempts_go_before_retries_but_do_not_starve_them() -> None:
    """Of nine batches with both kinds of work, one is of retries."""
    b = bench(Terms(10, 1000, 100), credits=100, a=10_000)
    b.retry_at["a"] = 0.0
    assert [t.retries for _ in range(9) if (t := b.take(1.0))] == [False] * 8 + [True]


def test_retries_wait_for_their_time() -> None:
    """A connection with nothing but a retry rings an alarm at its time, and sends then."""
    b = bench(a=0)
    b.retry_at["a"] = 5.0
    assert b.take(0.0) is None
    assert b.s.next_alarm() == 5.0
    take = b.take(5.0)
    assert take is not None
    assert take.retries


def test_failing_connection_backs_off_and_probes_with_one_batch() -> None:
    """After three batches of nothing but failures, one batch at a time after growing pauses."""
    b = bench(a=1000, b=1000)
    now = 0.0
    for _ in range(3):
        take = next(t for _ in range(2) if (t := b.take(now)) and t.connection == "a")
        b.finish(take, now, delivered=0, retried=10)
    rule, until = b.s.waits_for("a", now)
    assert (rule, until) == (Rule.BACKOFF, 0.5)
    probe = next(t for _ in range(3) if (t := b.take(0.6)) and t.connection == "a")
    assert b.s.waits_for("a", 0.6)[0] is Rule.CONCURRENCY
    b.finish(probe, 0.6, delivered=0, retried=10)
    assert b.s.waits_for("a", 0.6) == (Rule.BACKOFF, 1.6)
    probe = next(t for _ in range(9) if (t := b.take(2.0)) and t.connection == "a")
    b.finish(probe, 2.0, delivered=1)
    assert b.s.waits_for("a", 2.0)[0] in (Rule.NOTHING, Rule.CREDIT)


def test_batches_that_fail_side_by_side_count_once() -> None:
    """A worker that dies with eight batches of a connection is one failure, not eight."""
    b = bench(Terms(10, 1000, 8), credits=8, a=1000)
    takes = [take for _ in range(8) if (take := b.take(1.0))]
    for take in takes:
        b.finish(take, 2.0, delivered=0, retried=10, started=1.0)
    assert b.s.waits_for("a", 2.0) == (Rule.NOTHING, None)


def test_retry_after_holds_the_whole_connection() -> None:
    """Nothing goes to a destination before the time that it asked for."""
    b = bench(a=100)
    b.s.asked_to_wait("a", 30.0)
    assert b.take(29.9) is None
    assert b.s.waits_for("a", 29.9) == (Rule.BACKOFF, 30.0)
    assert b.take(30.0) is not None


def test_linger_waits_only_behind_a_batch_under_way() -> None:
    """A lone event goes at once; while it is under way, others gather until the batch is full."""
    b = bench(Terms(10, 1000, 8, linger_s=0.05), a=1)
    first = b.take(0.0)
    assert first is not None
    b.fresh["a"] = 3
    b.s.work_came("a")
    assert b.take(0.01) is None
    assert b.s.waits_for("a", 0.01)[0] is Rule.LINGER
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
    assert 50 <= sent <= 57


def test_paused_connection_sends_nothing_until_resumed() -> None:
    """Pause stops, resume lets go on."""
    b = bench(a=100)
    b.s.paused("a")
    assert b.take() is None
    assert b.s.waits_for("a", 0.0)[0] is Rule.PAUSED
    b.s.resumed("a")
    assert b.take() is not None


def test_queue_that_has_nothing_after_all_does_not_spin() -> None:
    """A lease that comes back empty takes the connection out of turn."""
    b = bench(a=5)
    take = b.s.next(0.0)
    assert take is not None
    b.s.nothing_leased(take)
    assert b.s.next(0.0) is None
    b.s.work_came("a")
    assert b.s.next(0.0) is not None


def test_removed_connection_is_forgotten() -> None:
    """Batches of a connection that left the config still free their credit."""
    b = bench(credits=1, a=100)
    take = b.take()
    assert take is not None
    b.s.removed("a")
    b.finish(take)
    assert b.s.credits[1] == 1
    assert b.take() is None


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
        assert all(0 <= n <= 3 + len(running) for n in b.s.credits.values())
    for take in running:
        b.finish(take, now)
    now += 1000.0
    served = set()
    b.s.worker_came(1, 1000)
    while (taken := b.take(now)) is not None:
        served.add(taken.connection)
        b.finish(taken, now)
    assert all(b.fresh[name] == 0 for name in names), served
