"""What the watchdog makes of what it sees: of memory that grows, of limits, of what is late."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

from supervisor.core.isolation.grants import SERIAL_S
from supervisor.core.isolation.leaks import Together
from supervisor.delivery.watchdog.effects import MakeSerial
from supervisor.delivery.watchdog.leaks import LEAKS_S, LeakMonitor


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
