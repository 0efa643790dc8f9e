"""Where a connection runs: among the others, nowhere for now, or in a worker of its own.

Owns the one record of that fact, the table that makes it from what is thought of the connection
and from the worker that it has, and the way back. Everybody else is told of it, and keeps no
other record. Must not know why a connection is trusted or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto


class TrustState(StrEnum):
    """What is thought of a connection, in the words of `/status`."""

    TRUSTED = "trusted"
    PROBATION = "on probation"
    """Batches of it are suspected of a death: nothing of it is sent but probes."""
    UNPROVEN = "unproven"
    """It runs in a worker of its own until enough of its batches went well."""


class WaitReason(Enum):
    """What a connection waits for that has no worker to run in."""

    PROBATION = auto()
    """Its suspected batches to be decided, each sent again with nothing else in its worker."""
    DEDICATED_WORKER = auto()
    """A worker of its own."""


@dataclass(frozen=True, slots=True)
class Shared:
    """It runs in the workers that all connections share."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing of it is leased."""

    reason: WaitReason


@dataclass(frozen=True, slots=True)
class Dedicated:
    """It has `worker` for itself; `is_probed`: only for probes, and nothing else is leased."""

    worker: int
    is_probed: bool = False


Placement = Shared | Waiting | Dedicated

SHARED = Shared()

_TRUST_OF_WAITING = {
    WaitReason.PROBATION: TrustState.PROBATION,
    WaitReason.DEDICATED_WORKER: TrustState.UNPROVEN,
}


def placement_of(trust: TrustState, worker: int | None) -> Placement:
    """Where a connection runs that has this worker for itself, or none."""
    match trust:
        case TrustState.TRUSTED:
            return SHARED
        case TrustState.PROBATION if worker is None:
            return Waiting(WaitReason.PROBATION)
        case TrustState.UNPROVEN if worker is None:
            return Waiting(WaitReason.DEDICATED_WORKER)
        case TrustState.PROBATION | TrustState.UNPROVEN:
            assert worker is not None
            return Dedicated(worker, is_probed=trust is TrustState.PROBATION)


def trust_of(placement: Placement) -> TrustState:
    """What is thought of a connection that runs there."""
    match placement:
        case Shared():
            return TrustState.TRUSTED
        case Waiting(reason=reason):
            return _TRUST_OF_WAITING[reason]
        case Dedicated(is_probed=is_probed):
            return TrustState.PROBATION if is_probed else TrustState.UNPROVEN


def worker_of(placement: Placement) -> int | None:
    """The worker that a connection has for itself."""
    return placement.worker if isinstance(placement, Dedicated) else None
