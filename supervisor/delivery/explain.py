"""Why something is not delivered yet, in words: of a connection, and of one delivery.

Owns the texts, and which state of `/status` a rule of the scheduler is. Pure:
what the scheduler says and the time are arguments.
"""

from __future__ import annotations

from supervisor.core.scheduling.scheduler import Blocked, BlockReason, ScheduleStatus
from supervisor.queue import DeliveryRecord, Depth
from supervisor.runtime.rfc3339 import rfc3339
from supervisor.telemetry.status import QueueState

_STATES = {
    BlockReason.NOTHING: QueueState.OPEN,
    BlockReason.CREDIT: QueueState.OPEN,
    BlockReason.HOME: QueueState.OPEN,
    BlockReason.SHARE: QueueState.OPEN,
    BlockReason.UNPROVEN: QueueState.OPEN,
    BlockReason.KEPT: QueueState.OPEN,
    BlockReason.LINGER: QueueState.OPEN,
    BlockReason.CONCURRENCY: QueueState.OPEN,
    BlockReason.ADAPTIVE: QueueState.OPEN,
    BlockReason.RETRY: QueueState.OPEN,
    BlockReason.RATE: QueueState.THROTTLED,
    BlockReason.GOVERNOR: QueueState.THROTTLED,
    BlockReason.BACKOFF: QueueState.BACKING_OFF,
    BlockReason.CREDENTIALS: QueueState.BACKING_OFF,
    BlockReason.TRIPPED: QueueState.TRIPPED,
    BlockReason.PROBES: QueueState.TRIPPED,
    BlockReason.PAUSED: QueueState.PAUSED,
    BlockReason.DISABLED: QueueState.DISABLED,
    BlockReason.UNKNOWN: QueueState.TRIPPED,
    BlockReason.PROBATION: QueueState.BACKING_OFF,
    BlockReason.APART: QueueState.BACKING_OFF,
}


def queue_state(status: ScheduleStatus, depth: Depth) -> tuple[QueueState, str]:
    """A connection's state, and the reason for it ("" where it is open)."""
    blocked = status.blocked
    state = _STATES[blocked.rule]
    if status.credentials and state not in (QueueState.PAUSED, QueueState.DISABLED):
        return QueueState.BACKING_OFF, f"credentials: {status.credentials}"
    if not status.is_breaker_closed and (
        state is QueueState.OPEN or blocked.rule in (BlockReason.PROBATION, BlockReason.APART)
    ):
        state = QueueState.TRIPPED
    if state is QueueState.OPEN:
        if blocked.rule is BlockReason.RETRY and depth.retrying and not depth.fresh:
            # All that it has failed and waits for its time: not a healthy queue either.
            return QueueState.BACKING_OFF, "waiting for the next attempts of what failed"
        return state, ""
    if state is QueueState.TRIPPED and status.tripped_since is not None:
        return state, f"tripped since {rfc3339(status.tripped_since)}: {status.tripped_for}"
    return state, f"waiting for {text_of(blocked)}"


def text_of(blocked: Blocked) -> str:
    """A rule in words that follow "waiting for"."""
    text = f"{blocked.rule}: {blocked.why}" if blocked.why else str(blocked.rule)
    return text if blocked.until is None else f"{text}, until {rfc3339(blocked.until)}"


def waiting_for(
    status: ScheduleStatus, record: DeliveryRecord, now: float, *, no_workers: str
) -> str:
    """What a pending delivery waits for; `no_workers` names a pool that has none, else ""."""
    if record.is_leased:
        return "its outcome: a worker has it"
    if record.held_since is not None:
        for_s = max(0.0, now - record.held_since)
        return f"an earlier event of this user, which holds it back for {for_s:.1f} s so far"
    blocked = status.blocked
    if record.next_attempt_at is not None and record.next_attempt_at > now:
        text = f"back-off until {rfc3339(record.next_attempt_at)}"
        # Where the connection is shut for longer than that, its own time does not help it.
        if blocked.until is None or blocked.until <= record.next_attempt_at:
            return text
    if _STATES[blocked.rule] is QueueState.OPEN and no_workers:
        return f"a worker: {no_workers}"
    if (
        blocked.rule in (BlockReason.TRIPPED, BlockReason.PROBES)
        and status.tripped_since is not None
    ):
        probe = (
            "a probe is under way"
            if blocked.until is None
            else f"next probe at {rfc3339(blocked.until)}"
        )
        since = rfc3339(status.tripped_since)
        text = f"its circuit breaker, tripped since {since} ({status.tripped_for}); {probe}"
    else:
        text = text_of(blocked)
    return f"{text}; {record.ahead} before it" if record.ahead else text
