"""A worker that has work and does not come round to it is away, until it does."""

from __future__ import annotations

from supervisor.core.attention import AWAY_S, Attention


def test_worker_that_beats_is_not_away() -> None:
    """However long its batches take."""
    attention = Attention()
    assert not any(attention.looked(beats, beats * 0.8 * AWAY_S) for beats in range(100))
    assert not attention.is_away


def test_worker_that_does_not_beat_is_away_until_it_does() -> None:
    """Each change is told once."""
    attention = Attention()
    assert not attention.looked(7, 10.0)
    assert not attention.looked(7, 10.0 + 0.9 * AWAY_S)
    assert attention.looked(7, 10.0 + 2 * AWAY_S)
    assert not attention.looked(7, 10.0 + 3 * AWAY_S)
    assert attention.is_away
    assert attention.looked(8, 10.0 + 4 * AWAY_S)
    assert not attention.is_away


def test_rest_does_not_count() -> None:
    """A worker without batches need not beat; its silence begins with the next batch."""
    attention = Attention()
    attention.looked(7, 10.0)
    attention.looked(7, 11.0)
    assert attention.rested()
    assert not attention.rested()
    assert not attention.looked(7, 20.0)
    assert not attention.is_away


def away_in(attention: Attention, beats: int, since: float) -> float:
    """It has not beaten for long; when that was seen."""
    attention.looked(beats, since)
    now = since + 1.1 * AWAY_S
    assert attention.looked(beats, now)
    return now


def test_step_in_which_it_is_found_twice_keeps_it() -> None:
    """It is told once a time that it is away, and again the next time."""
    attention = Attention()
    for beats, since in ((1, 10.0), (2, 20.0)):
        now = away_in(attention, beats, since)
        assert not attention.is_kept("a", 5.0, now)
        assert attention.is_kept("a", 5.001, now + 0.02)
        assert not attention.is_kept("a", 5.001, now + 0.04)
        attention.looked(99, now + 0.06)


def test_step_that_changes_or_waits_for_a_cpu_keeps_nothing() -> None:
    """Nor what was seen while it was away another time."""
    attention = Attention()
    now = away_in(attention, 1, 10.0)
    assert not attention.is_kept("a", 5.0, now)
    assert not attention.is_kept("b", 5.0, now + 0.02)
    assert not attention.is_kept("b", 5.019, now + 0.04)
    attention.looked(2, now + 0.05)
    now = away_in(attention, 3, now + 1.0)
    assert not attention.is_kept("b", 5.019, now)
