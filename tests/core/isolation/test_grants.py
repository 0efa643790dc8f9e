"""How many batches a worker may have, and which worker has but one."""

from __future__ import annotations

import pytest

from supervisor.core.isolation.grants import (
    BUSY_LOOKS,
    PAUSE_S,
    SERIAL_S,
    SerialTurn,
    SharedWorker,
    batches_at_once,
    left_to_unproven,
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
        ([], set()),
    ],
)
def test_workers_are_left_to_what_is_unproven(shared: list[SharedWorker], left: set[int]) -> None:
    """As long as another one answers that has none of it."""
    assert left_to_unproven(shared, TRUST.__getitem__) == left


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
