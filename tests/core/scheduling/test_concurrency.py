"""How many batches at once: up while answers are good, halved where they are not."""

from __future__ import annotations

from supervisor.core.scheduling.concurrency import START, Concurrency


def run(
    c: Concurrency, batches: int, took_s: float, *, now: float = 0.0, congested: int = 0
) -> None:
    """So many batches of a hundred, as many at once as may be."""
    for _ in range(batches):
        now += took_s
        c.finished(
            events=100,
            congested=congested,
            good=not congested,
            inflight=int(c.limit),
            most=8,
            started=now - took_s,
            now=now,
        )


def test_begins_low_and_goes_up_by_one_a_round() -> None:
    """Two at once to begin with, and `max_concurrency` after some thirty good batches."""
    c = Concurrency()
    assert c.limit == START
    run(c, 2, 0.1)
    assert 2.85 < c.limit < 3.1
    run(c, 40, 0.1)
    assert 8 <= c.limit < 9


def test_is_not_raised_where_it_is_not_used() -> None:
    """A connection with one batch at a time proves nothing about two."""
    c = Concurrency()
    for n in range(100):
        c.finished(
            events=1, congested=0, good=True, inflight=1, most=8, started=n, now=n + 0.1
        )  # fmt: skip
    assert c.limit == START


def test_is_halved_once_for_batches_that_ran_side_by_side() -> None:
    """Eight batches that met one and the same limit halve it once."""
    c = Concurrency(limit=8.0)
    for _ in range(8):
        c.finished(
            events=100, congested=50, good=True, inflight=8, most=8, started=1.0, now=2.0
        )  # fmt: skip
    assert c.limit == 4.0
    run(c, 5, 1.0, now=2.0, congested=100)
    assert c.limit == 1.0


def test_few_that_are_throttled_only_hold_it() -> None:
    """One event of a hundred that timed out is no reason to halve, and none to go up."""
    c = Concurrency(limit=4.0)
    run(c, 50, 0.1, congested=1)
    assert c.limit == 4.0


def test_is_not_raised_where_more_at_once_only_makes_each_slower() -> None:
    """A worker that has two batches waiting already gains nothing by a third."""
    c = Concurrency()
    for n in range(500):
        c.finished(
            events=100,
            congested=0,
            good=True,
            inflight=int(c.limit),
            most=64,
            started=float(n),
            now=n + 0.01 * int(c.limit),
        )
    assert 3 <= c.limit <= 4.5
