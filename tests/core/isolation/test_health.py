"""When a connection trips by itself, and when it does not."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.health import AFTER_TRIP, TRIP_AT, FaultKind, HealthScore, fault_of

# reason → charged as
FAULTS = {
    ExitReason.CRASH: FaultKind.DEATH,
    ExitReason.SIGNAL: FaultKind.DEATH,
    ExitReason.LIMIT: FaultKind.DEATH,
    ExitReason.PROTOCOL: FaultKind.DEATH,
    ExitReason.EGRESS: FaultKind.DEATH,
    ExitReason.TIMEOUT: FaultKind.HANG,
    ExitReason.OOM: FaultKind.MEMORY,
    ExitReason.LEAK: FaultKind.MEMORY,
    ExitReason.RECYCLE: None,
    ExitReason.DRAIN: None,
}


@pytest.mark.parametrize("reason", ExitReason)
def test_every_end_of_a_worker_is_charged_or_not(reason: ExitReason) -> None:
    """By its reason; what the supervisor does of itself is nobody's fault."""
    assert fault_of(reason) is FAULTS[reason]


def test_one_poisonous_event_does_not_trip() -> None:
    """In company once and alone twice: three deaths, and the connection goes on."""
    health = HealthScore()
    assert [health.charged(FaultKind.DEATH, "signal (SIGSEGV)", 0.0) for _ in range(3)] == [
        None
    ] * 3


def test_deaths_with_nothing_good_between_trip() -> None:
    """The fourth death in a row says what happened."""
    health = HealthScore()
    told = [health.charged(FaultKind.DEATH, "signal (SIGSEGV)", 0.0) for _ in range(4)]
    assert told[:3] == [None] * 3
    assert told[3] is not None
    assert "4 workers killed" in told[3]
    assert "SIGSEGV" in told[3]


def test_deaths_hangs_and_memory_are_charged_together() -> None:
    """Different faults make one score, and the reason names each."""
    health = HealthScore()
    for fault in (FaultKind.DEATH, FaultKind.HANG, FaultKind.MEMORY):
        assert health.charged(fault, "x", 0.0) is None
    told = health.charged(FaultKind.HANG, "blocked for 1 s", 0.0)
    assert told is not None
    assert "1 workers killed, 2 workers hung, 1 workers out of memory" in told


@pytest.mark.parametrize("fault", [FaultKind.SLOW, FaultKind.ERROR])
def test_slowness_and_errors_never_trip_alone(fault: FaultKind) -> None:
    """A partner that is down or slow is for back-off."""
    health = HealthScore()
    assert all(health.charged(fault, "status 500", 0.0) is None for _ in range(1000))


def test_slowness_and_errors_make_two_deaths_enough() -> None:
    """They are charged together with what is worse."""
    health = HealthScore()
    for _ in range(100):
        health.charged(FaultKind.ERROR, "status 500", 0.0)
    assert health.charged(FaultKind.DEATH, "x", 0.0) is None
    assert health.charged(FaultKind.DEATH, "x", 0.0) is not None


def test_good_batches_heal() -> None:
    """One death for each batch that goes well never adds up to a trip by score."""
    health = HealthScore()
    for minute in range(100):
        assert health.charged(FaultKind.DEATH, "x", minute * 60.0) is None
        health.went_well()
    assert health.score <= 1.0


def test_too_many_deaths_in_a_while_trip_whatever_is_delivered() -> None:
    """Each is a fork that the neighbours pay for."""
    health = HealthScore()
    for n in itertools.count(1):
        if (told := health.charged(FaultKind.DEATH, "x", n * 0.1)) is not None:
            break
        for _ in range(10):
            health.went_well()
    assert 6 < n < 10
    assert told is not None
    assert "in a short while" in told


def test_probe_that_dies_twice_trips_again() -> None:
    """After a trip, the second death of the next event is enough."""
    health = HealthScore()
    for _ in range(4):
        health.charged(FaultKind.DEATH, "x", 0.0)
    assert health.score == AFTER_TRIP
    assert health.charged(FaultKind.DEATH, "x", 60.0) is None
    assert health.charged(FaultKind.DEATH, "x", 60.0) is not None


@given(
    st.lists(
        st.tuples(st.sampled_from([*FaultKind, None]), st.floats(0.0, 100.0)),
        max_size=200,
    )
)
def test_score_is_bounded_and_trips_where_it_says(
    history: list[tuple[FaultKind | None, float]],
) -> None:
    """Through any history grave faults stay below the mark, and only they trip."""
    health, now = HealthScore(), 0.0
    for fault, passed in history:
        now += passed
        if fault is None:
            health.went_well()
            continue
        told = health.charged(fault, "x", now)
        assert 0.0 <= health.grave < TRIP_AT
        if told is not None:
            assert fault in (FaultKind.DEATH, FaultKind.HANG, FaultKind.MEMORY)
