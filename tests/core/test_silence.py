"""A silent event loop is told from one that had no CPU, and from a look that came late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.silence import Silence

MOST_S = 0.5


def test_silence_adds_up_while_the_loop_does_not_come_round() -> None:
    """Each look adds the time since the last one; a beat ends the silence."""
    silence = Silence()
    assert silence.looked(7, 0.0, 10.0, MOST_S) == 0.0
    assert silence.looked(7, 0.0, 10.25, MOST_S) == 0.25
    assert silence.looked(7, 0.0, 10.5, MOST_S) == 0.5
    assert silence.looked(8, 0.0, 10.75, MOST_S) == 0.0
    assert silence.looked(8, 0.0, 11.0, MOST_S) == 0.25


def test_want_of_a_cpu_is_no_silence() -> None:
    """What the thread has waited to run in is not charged."""
    silence = Silence()
    silence.looked(7, 3.0, 10.0, MOST_S)
    assert silence.looked(7, 3.25, 10.25, MOST_S) == 0.0
    assert silence.looked(7, 3.25, 10.5, MOST_S) == 0.25


def test_late_look_charges_no_more_than_one_in_time() -> None:
    """A supervisor that was away itself holds only the usual time against a worker."""
    silence = Silence()
    silence.looked(7, 0.0, 10.0, MOST_S)
    assert silence.looked(7, 0.0, 99.0, MOST_S) == MOST_S


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 5), st.floats(0, 5)), max_size=30))
def test_silence_is_never_negative_nor_longer_than_the_time(
    looks: list[tuple[int, float, float]],
) -> None:
    """Whatever is seen, the silence is between nothing and all the time that went by."""
    silence = Silence()
    now = waited = 0.0
    for beats, passed, starved in looks:
        now, waited = now + passed, waited + starved
        assert 0.0 <= silence.looked(beats, waited, now, MOST_S) <= now
