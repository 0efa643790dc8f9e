"""One event past the queue, by hand: only where the connection itself could send now."""

from __future__ import annotations

import pytest

from supervisor.core.placement import Waiting, WaitReason
from supervisor.core.scheduling.connection import (
    Blocked,
    BlockReason,
    ConnectionSchedule,
    Offer,
    Ready,
    Terms,
)

TERMS = Terms(batch_events=10, batch_bytes=1000, max_concurrency=2)


def schedule(rate: float | None = None) -> ConnectionSchedule:
    """Of a connection that is well."""
    return ConnectionSchedule("a", Terms(10, 1000, 2, rate))


def test_it_counts_for_the_rate() -> None:
    """What goes by hand is missing for the queue, and the other way round."""
    one = schedule(rate=2.0)
    assert one.send_by_hand(0.0) is None
    assert one.send_by_hand(0.0) is None
    assert one.send_by_hand(0.0) == Blocked(BlockReason.RATE, 0.5)
    assert isinstance(one.offer(Ready(5, None), 0.0), Blocked)
    assert one.send_by_hand(0.5) is None
    offer = one.offer(Ready(5, None), 2.0)
    assert isinstance(offer, Offer)
    one.began(offer, 2.0)
    assert isinstance(one.send_by_hand(2.0), Blocked)


@pytest.mark.parametrize(
    "rule",
    [
        BlockReason.PAUSED,
        BlockReason.DISABLED,
        BlockReason.TRIPPED,
        BlockReason.BACKOFF,
        BlockReason.PROBATION,
    ],
)
def test_what_holds_the_queue_holds_it(rule: BlockReason) -> None:
    """Pause, breaker, what the destination asked for, and suspicion: nothing is spent."""
    one = schedule()
    match rule:
        case BlockReason.PAUSED:
            one.is_paused = True
        case BlockReason.DISABLED:
            one.closed = BlockReason.DISABLED
        case BlockReason.TRIPPED:
            one.breaker.trip("it is down", 0.0, 1.0)
        case BlockReason.BACKOFF:
            one.wait_until = 60.0
        case _:
            one.place(Waiting(WaitReason.PROBATION))
    held = one.send_by_hand(1.0)
    assert held is not None
    assert held.rule is rule


def test_while_a_breaker_asks_no_other_event_does() -> None:
    """Whether the destination is well again is for the probe to find out."""
    one = schedule()
    one.breaker.trip("it is down", 0.0, 1.0)
    later = (one.breaker.probe_at or 0.0) + 1
    held = one.send_by_hand(later)
    assert held is not None
    assert held.rule is BlockReason.TRIPPED
