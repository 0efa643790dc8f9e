"""What the isolation machine has done, as values. Imperative.

Effects are carried out in the order in which they are returned, all of them before the next fact
is told. Batches are those of the facts, by id; the part that carries the effects out keeps the
leases.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from supervisor.core.effects import ExitReason
from supervisor.core.placement import Placement


@dataclass(frozen=True, slots=True)
class PlaceConnection:
    """Run a connection there from now on.

    Whatever it had proven to the scheduler is void, but where it is placed in a worker of its own
    in full. May repeat what was said before.
    """

    connection: str
    placement: Placement


@dataclass(frozen=True, slots=True)
class RequestWorker:
    """Get a worker for this connection alone, and tell of it by `WorkerDedicated`."""

    connection: str


@dataclass(frozen=True, slots=True)
class ReturnWorker:
    """The worker that was requested is not needed any more, come or not."""

    connection: str


@dataclass(frozen=True, slots=True)
class HoldLease:
    """Keep a batch of a dead worker: it is suspected, and none of it goes back to the queue."""

    batch: int


@dataclass(frozen=True, slots=True)
class ExtendLease:
    """Have a batch that is held leased for so many seconds from now; a failure is `LeaseLost`."""

    batch: int
    for_s: float


@dataclass(frozen=True, slots=True)
class ForgetLease:
    """Every delivery of a batch that was held is decided, or given back."""

    batch: int


@dataclass(frozen=True, slots=True)
class Resend:
    """Send some of a batch that is held to a worker, as a batch of its own: a probe.

    Answered by `ProbeSent` or `ProbeRefused`, always.
    """

    batch: int
    connection: str
    worker: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Requeue:
    """Give deliveries back to the queue as if they were never sent."""

    batch: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PostponeAlone:
    """Send deliveries again later, each alone: it is not found out whose fault a death was."""

    batch: int
    indices: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class QuarantineDelivery:
    """Write a delivery off: it kills the worker that runs it, as that exit record shows."""

    batch: int
    connection: str
    index: int
    reason: ExitReason
    detail: str
    exit_id: str | None

    @property
    def why(self) -> str:
        """What the dead letter says."""
        return f"it kills its worker: {described(self.reason, self.detail)}"


@dataclass(frozen=True, slots=True)
class BatchFate:
    """What became of a dead worker's batch: each delivery without an outcome is in one count.

    `sent_again` are pending as if they were never sent, `tried_alone` and `tried_together` go to a
    worker of their connection's own, `postponed` go alone later, `quarantined` are written off.
    `is_probe`: it was a part of a suspected batch, sent to find out who kills.
    """

    batch: int
    is_probe: bool = False
    sent_again: int = 0
    tried_alone: int = 0
    tried_together: int = 0
    postponed: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class RecordFates:
    """Write into that exit record what became of each batch that the worker had."""

    exit_id: str
    fates: tuple[BatchFate, ...]


@dataclass(frozen=True, slots=True)
class Trip:
    """Open the circuit breaker of a connection; told of by `BreakerOpened` where that opens it."""

    connection: str
    reason: str


class BlameKind(Enum):
    """What a connection is charged with."""

    DEATH = auto()
    """A worker died of it."""
    USED_UP = auto()
    """It left a worker without memory or files."""
    HOGGED = auto()
    """It kept the event loops of workers from the others."""


@dataclass(frozen=True, slots=True)
class CountBlame:
    """Count once more, for the metrics."""

    connection: str
    kind: BlameKind


@dataclass(frozen=True, slots=True)
class ReportProbation:
    """Log that a connection is accused of a death, with so many `accused`.

    `deliveries` are those of it that are suspected in all.
    """

    connection: str
    reason: ExitReason
    detail: str
    deliveries: int
    accused: int


@dataclass(frozen=True, slots=True)
class ReportDecided:
    """Log that a suspected batch is decided; `deaths` are those of probes."""

    connection: str
    deaths: int


@dataclass(frozen=True, slots=True)
class ReportTrust:
    """Log that a connection runs among the others again."""

    connection: str


@dataclass(frozen=True, slots=True)
class ReportNoisyNeighbour:
    """Log that a connection runs apart, since it keeps event loops from others."""

    connection: str
    how: str


IsolationEffect = (
    PlaceConnection
    | RequestWorker
    | ReturnWorker
    | HoldLease
    | ExtendLease
    | ForgetLease
    | Resend
    | Requeue
    | PostponeAlone
    | QuarantineDelivery
    | RecordFates
    | Trip
    | CountBlame
    | ReportProbation
    | ReportDecided
    | ReportTrust
    | ReportNoisyNeighbour
)


def described(reason: ExitReason, detail: str) -> str:
    """The end of a worker, in a text."""
    return f"{reason} ({detail})" if detail else str(reason)
