"""Why a connection does not run among the others, in words, and what it waits for.

Owns the sentences. They are made of a closed set and of names that are ours, so that a viewer may
read them. Pure: the time is an argument.
"""

from __future__ import annotations

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.apart import ApartCause, ApartCode
from supervisor.core.isolation.records import IsolationStatus
from supervisor.core.isolation.trust import ProofSoFar
from supervisor.runtime.rfc3339 import rfc3339
from supervisor.telemetry.status import ApartWhy


def apart_why(status: IsolationStatus | None, now: float) -> ApartWhy | None:
    """What is told of it at `now`, in seconds of the service's clock; None where it is trusted."""
    if status is None or status.apart is None:
        return None
    cause, proof = status.apart.cause, status.proof
    is_proof = proof is not None and not status.undecided
    return ApartWhy(
        code=cause.code.value,
        text=text_of(cause),
        since=rfc3339(status.apart.since),
        exit=cause.exit_id,
        on_trial=status.undecided,
        batches_left=max(0, proof.needed - proof.good) if proof and is_proof else 0,
        events_left=max(0, proof.needed_events - proof.good_events) if proof and is_proof else 0,
        seconds_left=seconds_left(proof, now) if proof and is_proof else 0.0,
    )


def seconds_left(proof: ProofSoFar, now: float) -> float:
    """Until few events are enough, and until anything counts, whichever is later."""
    return round(max(0.0, proof.long_at - now, proof.quiet_from - now), 1)


def text_of(cause: ApartCause) -> str:
    """What it was, in a sentence."""
    worker = cause.worker or "a worker"
    end = "" if cause.reason is None else f" of {cause.reason}"
    match cause.code:
        case ApartCode.WORKER_DIED:
            return f"{worker} died{end} with events of it, and one of those may have been why"
        case ApartCode.LAST_IN_IT:
            return f"{worker} died{end} when all was told, and it was the last that worked there"
        case ApartCode.FOUND:
            return f"{worker} was ended{end}, which any that worked there may have caused"
        case ApartCode.MAY_HAVE_USED_UP:
            return f"a worker ran out of {_used(cause.reason)}, and this may have been why"
        case ApartCode.WAS_THERE_AGAIN:
            return "it was there each time, while those tried before it turned out innocent"
        case ApartCode.USED_UP:
            return f"it left a worker without {_used(cause.reason)}"
        case ApartCode.LEAKS:
            return "memory grows with its events"
        case ApartCode.KEEPS_LOOPS:
            return "it blocks the event loops of workers, which others wait for"
        case ApartCode.MAY_KEEP_LOOPS:
            return "a worker's event loop was blocked, by it or by another that was there"


def _used(reason: ExitReason | None) -> str:
    is_memory = reason in (ExitReason.OOM, ExitReason.LEAK)
    return "memory" if is_memory else "files, processes or another limit"
