"""What the watchdog makes of what it sees: of memory that grows, of limits, of what is late."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

from sandbox.protocol import Holdings
from supervisor.core.isolation.grants import SERIAL_S
from supervisor.core.isolation.leaks import Together
from supervisor.delivery.watchdog.effects import CountHoldings, MakeSerial, WatchdogEffect
from supervisor.delivery.watchdog.leaks import LEAK_LEAST_BYTES, LEAKS_S, LeakMonitor


def a_worker(number: int, private_bytes: int) -> Any:  # Any: as much of a worker as is looked at
    return SimpleNamespace(number=number, private_bytes=private_bytes, running=Counter[str]())


def a_judge_in_doubt() -> LeakMonitor:
    """One that knows of two connections that one of them leaks."""
    judge = LeakMonitor("p")
    judge.soft_limit = 1 << 20
    judge.together = (Together(("a", "b"), 1000.0),)
    # Nothing is sampled here: what is in doubt stays so.
    cast(Any, judge).judge = lambda: None  # Any: a method is replaced
    return judge


def test_largest_worker_is_serial_while_nobody_knows_which_connection_leaks() -> None:
    """One at a time, for a while, and then the others have their full share of it again."""
    judge = a_judge_in_doubt()
    workers = [a_worker(1, 10), a_worker(2, 20)]
    assert judge.look(workers, 100.0) == [MakeSerial(2)]
    assert judge.look(workers, 100.0 + LEAKS_S) == []
    assert judge.look(workers, 100.0 + SERIAL_S) == [MakeSerial(None)]


def test_serial_worker_that_has_no_rest_is_given_up() -> None:
    """There is more to do than one batch at a time allows, and others wait."""
    judge = a_judge_in_doubt()
    worker = a_worker(1, 10)
    assert judge.look([worker], 100.0) == [MakeSerial(1)]
    worker.running["a"] = 1
    assert judge.look([worker], 100.1) == []
    assert judge.look([worker], 100.2) == [MakeSerial(None)]


def test_no_worker_is_serial_where_nothing_is_in_doubt() -> None:
    """It would cost throughput, and show nothing."""
    judge = a_judge_in_doubt()
    judge.together = ()
    assert judge.look([a_worker(1, 10)], 100.0) == []


MIB = 1 << 20


class Growing:
    """A worker that has grown by a mebibyte an event, of two connections, and its monitor."""

    def __init__(self) -> None:
        self.judge = LeakMonitor("p")
        self.judge.destination_of = {"a": "x", "b": "y"}
        self.worker = a_worker(1, 0)
        self.worker.worked = Counter[str]()
        self.now = 100.0

    def grow(self, events: int) -> list[WatchdogEffect]:
        """It works on so many of each, and is looked at after each."""
        effects: list[WatchdogEffect] = []
        for _ in range(events):
            self.worker.worked.update(a=1, b=1)
            self.worker.private_bytes += MIB
            self.judge.sampled(self.worker, self.worker.private_bytes)
            self.now += LEAKS_S
            effects += self.judge.look([self.worker], self.now)
        return effects

    def held_by_a(self) -> Holdings:
        """What a copy counts: all of it is held by one of them."""
        return Holdings({"a": self.worker.private_bytes}, [], {})


def test_worker_that_grows_is_counted_and_the_holder_named() -> None:
    """Each time that it has grown by a third of what is judged; one count at a time."""
    growing = Growing()
    events = LEAK_LEAST_BYTES // MIB
    assert growing.grow(events // 3) == []
    for _ in range(4):
        assert growing.grow(events // 2) == [CountHoldings(1)]
        assert growing.grow(1) == [], "the last is not there yet"
        growing.judge.counted(1, growing.held_by_a())
    growing.judge.judge()
    assert list(growing.judge.leaks) == ["a"]
    assert growing.judge.together == ()
    assert growing.grow(events) == [], "it is known whose it is"


def test_count_that_is_put_off_is_asked_for_again() -> None:
    """Its pool gave other evidence; a count of a worker that is gone is not waited for."""
    growing = Growing()
    assert CountHoldings(1) in growing.grow(5)
    growing.judge.put_off(1)
    assert growing.grow(1) == [CountHoldings(1)]
    growing.judge.gone(1)
    growing.judge.counted(1, growing.held_by_a())
    assert CountHoldings(1) in growing.grow(5)


def test_shared_worker_is_counted_before_one_of_a_single_connection() -> None:
    """A count of the latter, which may take minutes behind all others, is given up for it."""
    judge = LeakMonitor("p")
    judge.destination_of = {"a": "x", "b": "y"}
    apart, shared = a_worker(1, 0), a_worker(2, 0)
    apart.worked, shared.worked = Counter[str](), Counter[str]()

    def grow(worker: Any, now: float, **events: int) -> list[WatchdogEffect]:  # Any: see a_worker
        worker.worked.update(events)
        worker.private_bytes += LEAK_LEAST_BYTES
        for each in (apart, shared):
            judge.sampled(each, each.private_bytes)
        return judge.look([apart, shared], now)

    assert grow(apart, 100.0, a=1) == [], "the first look is what it grows from"
    assert grow(apart, 102.0, a=1) == [CountHoldings(1)]
    assert grow(apart, 104.0, a=1) == [], "it is counted still"
    assert grow(shared, 106.0, a=1, b=1) == [CountHoldings(2)]
    assert grow(apart, 108.0, a=1) == [], "nothing is given up for that one"
    judge.counted(1, Holdings({"a": 1}, [], {}))
    assert grow(apart, 110.0, a=1) == [], "what was given up is no answer to what was asked"
    judge.counted(2, Holdings({"a": 1}, [], {}))
    assert grow(apart, 112.0, a=1) == [CountHoldings(1)]
