"""How many batches a worker may have, and which worker has but one."""

from __future__ import annotations

import pytest

from supervisor.core.isolation.grants import (
    BUSY_LOOKS,
    OVERTIME,
    OVERTIME_S,
    PAUSE_S,
    SERIAL_S,
    WAITING_LOOKS,
    BatchTimes,
    SerialTurn,
    SharedWorker,
    batches_at_once,
    left_alone,
)
from supervisor.core.placement import TrustState


@pytest.mark.parametrize(
    ("is_dedicated", "is_serial", "batches"),
    [(False, False, 16), (True, False, 1), (False, True, 1), (True, True, 1)],
)
def test_dedicated_and_serial_workers_have_one_batch(
    is_dedicated: bool, is_serial: bool, batches: int
) -> None:
    """Others as many as they take."""
    assert batches_at_once(16, is_dedicated=is_dedicated, is_serial=is_serial) == batches


TRUST = {"a": TrustState.UNPROVEN, "b": TrustState.TRUSTED, "c": TrustState.PROBATION}


@pytest.mark.parametrize(
    ("shared", "left"),
    [
        ([SharedWorker(1, False, ["a", "b"]), SharedWorker(2, False, ["b"])], {1}),
        ([SharedWorker(1, False, ["a"]), SharedWorker(2, True, ["b"])], set()),
        ([SharedWorker(1, False, ["a"]), SharedWorker(2, False, ["a"])], set()),
        ([SharedWorker(1, True, ["a"]), SharedWorker(2, False, [])], {1}),
        ([SharedWorker(1, False, ["c"]), SharedWorker(2, False, ["b"])], set()),
        (
            [
                SharedWorker(1, False, ["a"]),
                SharedWorker(2, True, ["a"]),
                SharedWorker(3, False, []),
            ],
            {1, 2},
        ),
        ([SharedWorker(1, False, ["b"], is_late=True), SharedWorker(2, False, ["b"])], {1}),
        ([SharedWorker(1, False, ["b"], is_late=True), SharedWorker(2, True, [])], set()),
        ([], set()),
    ],
)
def test_workers_are_left_to_what_is_unproven_or_late(
    shared: list[SharedWorker], left: set[int]
) -> None:
    """As long as another one answers that has none of it."""
    assert left_alone(shared, TRUST.__getitem__) == left


def test_batch_is_late_that_takes_many_times_what_is_usual() -> None:
    """Nobody knows what is usual before one has ended; what has become slow is usual soon."""
    times = BatchTimes()
    assert not times.is_late("a", 1e9)
    times.ended("a", 0.5)
    assert not times.is_late("a", OVERTIME * 0.5)
    assert times.is_late("a", OVERTIME * 0.5 + 0.1)
    times.ended("b", 0.001)
    assert not times.is_late("b", OVERTIME_S)
    assert times.is_late("b", OVERTIME_S + 0.1)
    for _ in range(20):
        times.ended("b", 30.0)
    assert not times.is_late("b", 60.0)
    times.forget("b")
    assert not times.is_late("b", 1e9)


def decided(turn: SerialTurn, now: float, memory: dict[int, int], *, asked: bool = True) -> object:
    """Which worker is serial then."""
    turn.decide(memory, now, is_in_question=asked)
    return turn.worker


def test_largest_worker_is_serial_for_its_time() -> None:
    """And one is again after a while."""
    turn, memory = SerialTurn(), {1: 10, 2: 20, 3: 5}
    assert decided(turn, 100.0, memory, asked=False) is None
    assert decided(turn, 100.0, {}) is None
    assert decided(turn, 100.0, memory) == 2
    memory[1] = 30
    for _ in range(10):
        assert not turn.looked(is_busy=True)
        assert not turn.looked(is_busy=False)
    assert decided(turn, 99.0 + SERIAL_S, memory) == 2
    assert decided(turn, 100.0 + SERIAL_S, memory) is None
    assert decided(turn, 99.0 + SERIAL_S + PAUSE_S, memory) is None
    assert decided(turn, 100.0 + SERIAL_S + PAUSE_S, memory) == 1


def test_serial_worker_that_has_no_rest_is_given_up() -> None:
    """What others wait for must not wait for that; the next one is looked at anew."""
    turn = SerialTurn()
    assert decided(turn, 100.0, {1: 10}) == 1
    assert [turn.looked(is_busy=True) for _ in range(BUSY_LOOKS)] == [False, True]
    assert decided(turn, 101.0, {1: 10}) is None
    assert decided(turn, 102.0, {1: 10}) is None
    assert decided(turn, 101.0 + PAUSE_S, {1: 10}) == 1
    assert decided(turn, 102.0 + PAUSE_S, {1: 10}) == 1


def test_serial_worker_that_others_wait_for_is_given_up() -> None:
    """Not for a wait that ends, nor where nobody is serial; the next one is looked at anew."""
    turn = SerialTurn()
    assert not any(turn.waited(99.0, is_waiting=True) for _ in range(2 * WAITING_LOOKS))
    for begins in (100.0, 101.0 + PAUSE_S):
        assert decided(turn, begins, {1: 10}) == 1
        for _ in range(3):
            looks = [False, *[True] * (WAITING_LOOKS - 1)]
            assert not any(turn.waited(begins, is_waiting=is_waiting) for is_waiting in looks)
        assert turn.waited(begins + 1.0, is_waiting=True)
        assert turn.worker is None
        assert decided(turn, begins + 0.5 + PAUSE_S, {1: 10}) is None


def test_serial_worker_that_was_replaced_has_a_successor() -> None:
    """At once: it has shown nothing."""
    turn = SerialTurn()
    assert decided(turn, 100.0, {1: 10}) == 1
    assert decided(turn, 101.0, {2: 10}) == 2


def test_nobody_is_serial_once_it_is_known_which_leaks() -> None:
    """Nor for nothing."""
    turn = SerialTurn()
    assert decided(turn, 100.0, {1: 10}) == 1
    assert decided(turn, 101.0, {1: 10}, asked=False) is None
