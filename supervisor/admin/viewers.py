"""What a viewer is shown of the rows that also show an operator more.

Owns what is left out of them: a reason becomes its cause, ids and texts that a sender or a partner
wrote become shapes, so that a page is the same for both. Pure.
"""

from __future__ import annotations

import msgspec

from supervisor.admin.dead_letters import JsonObject
from supervisor.admin.parameters import BadRequest
from supervisor.core.causes import cause_of
from supervisor.core.public_causes import public_cause
from supervisor.insight.masking import shape
from supervisor.queue import DeadLetterCause, DeadLetterCauses, DeadLetterFilter, Outcome
from supervisor.telemetry.status import (
    LastExit,
    LeakingGroup,
    PoolStatus,
    QueueStatus,
    Status,
    UnansweredStatus,
    WorkerStatus,
)

#: What stands where a viewer sees nothing, not even a shape.
HIDDEN = "(hidden)"

_replace = msgspec.structs.replace


def cause(reason: str) -> str:
    """The cause of a reason; nothing where there is none."""
    return public_cause(cause_of(reason)) if reason else ""


def letters_filter(where: DeadLetterFilter) -> DeadLetterFilter:
    """What a viewer asks for, by causes as a viewer sees them.

    Raises BadRequest for a filter that would tell, guess by guess, what a reason says.
    """
    if where.error is not None:
        raise BadRequest("error: viewers see causes, not reasons, and cannot search in them")
    if where.cause is None:
        return where
    return _replace(where, cause=None, public_cause=where.cause)


def letter_causes(told: DeadLetterCauses, limit: int) -> DeadLetterCauses:
    """At most `limit` of them, in public words, the most first: several may be one there."""
    shown: dict[tuple[str, Outcome, str], DeadLetterCause] = {}
    for one in told.causes:
        key = one.connection, one.outcome, cause(one.cause)
        others = shown.get(key)
        shown[key] = _replace(
            one,
            cause=key[2],
            count=one.count + (others.count if others else 0),
            first_at=min(one.first_at, others.first_at if others else one.first_at),
            last_at=max(one.last_at, others.last_at if others else one.last_at),
        )
    largest = sorted(shown.values(), key=lambda one: one.count, reverse=True)[:limit]
    return _replace(told, causes=largest, more=told.total - sum(one.count for one in largest))


def status(told: Status) -> Status:
    """All but its queues."""
    return _replace(
        told,
        pools=[pool(one) for one in told.pools],
        unanswered=[_unanswered(one) for one in told.unanswered],
    )


def queue(told: QueueStatus) -> QueueStatus:
    """A queue without the words of its partner."""
    refusal = told.last_egress_refusal
    if not (told.state_reason or refusal or told.waiting_for or told.blame.hogs):
        return told
    return _replace(
        told,
        state_reason=cause(told.state_reason),
        waiting_for=cause(told.waiting_for),
        last_egress_refusal=None if refusal is None else cause(refusal),
        blame=_replace(told.blame, hogs=cause(told.blame.hogs)),
    )


def pool(told: PoolStatus) -> PoolStatus:
    """A pool whose workers' last exits tell causes alone."""
    return _replace(
        told,
        state_reason=cause(told.state_reason),
        workers=[_worker(worker) for worker in told.workers],
        leaks_together=[_leaking(group) for group in told.leaks_together],
    )


def pool_at_work(told: JsonObject) -> JsonObject:
    """A pool with who is in which worker."""
    return {
        **told,
        "state_reason": cause(told["state_reason"]),
        "leaks_together": [
            {**group, "held_by": _cause_or_none(group["held_by"])}
            for group in told["leaks_together"]
        ],
        "blame": [{**one, "hogs": cause(one["hogs"])} for one in told["blame"]],
        **{
            where: [_at_work(worker) for worker in told[where]]
            for where in ("workers", "spares", "apart")
        },
    }


def event(told: JsonObject) -> JsonObject:
    """Where an event's deliveries are, without what their last attempts were answered."""
    shown = {
        **told,
        "deliveries": [
            {
                **delivery,
                "last_error": _cause_or_none(delivery["last_error"]),
                "waiting_for": _cause_or_none(delivery["waiting_for"]),
            }
            for delivery in told["deliveries"]
        ],
    }
    if "others" in told:
        shown["others"] = [event(other) for other in told["others"]]
    return shown


def letter(told: JsonObject) -> JsonObject:
    """A dead letter of a listing."""
    return {**told, "message_id": shape(told["message_id"]), "reason": cause(told["reason"])}


def exit(told: JsonObject) -> JsonObject:  # the word of the field
    """An exit of a listing."""
    return {
        **told,
        "detail": cause(told["detail"]),
        "event": None if told["event"] is None else shape(told["event"]),
        "events": [shape(message_id) for message_id in told["events"]],
    }


def _cause_or_none(reason: str | None) -> str | None:
    return None if reason is None else cause(reason)


def _worker(told: WorkerStatus) -> WorkerStatus:
    last: LastExit | None = told.last_exit
    if last is None:
        return told
    return _replace(told, last_exit=_replace(last, detail=cause(last.detail)))


def _at_work(told: JsonObject) -> JsonObject:
    last = told["last_exit"]
    if last is None:
        return told
    return {**told, "last_exit": {**last, "detail": cause(last["detail"])}}


def _leaking(told: LeakingGroup) -> LeakingGroup:
    return told if told.held_by is None else _replace(told, held_by=cause(told.held_by))


def _unanswered(told: UnansweredStatus) -> UnansweredStatus:
    return _replace(told, why=cause(told.why))
