"""What the isolation machine is told, as values. Past tense.

Batches, workers and connections are known by id, number and name. The index of a delivery is
always one within the batch that is named: a probe is a batch of its own, with indices of its
own. Must not say what is to be done: see `effects.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.core.effects import ExitReason


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """The config has this connection, as before or anew.

    `is_closed`: it sends nothing, since it is disabled or its destination could not be loaded,
    so that nobody need be protected for its sake.
    """

    connection: str
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionRemoved:
    """It left the config, or this pool."""

    connection: str


@dataclass(frozen=True, slots=True)
class WorkerDedicated:
    """The pool has given a connection the worker that was requested for it."""

    worker: int
    connection: str


@dataclass(frozen=True, slots=True)
class BatchSent:
    """A worker has another batch. Matters for dedicated workers alone; not told of probes."""

    worker: int
    batch: int


@dataclass(frozen=True, slots=True)
class BatchFinished:
    """Every delivery of a batch has its outcome, and its worker is free again.

    `delivered` and `retried` are counts of deliveries. The batch took `seconds` of the `limit_s`
    that it may take.
    """

    worker: int
    batch: int
    connection: str
    delivered: int
    retried: int
    seconds: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class ProbeSent:
    """`Resend` was carried out: `batch` is the probe. The next fact of that connection's."""

    connection: str
    batch: int


@dataclass(frozen=True, slots=True)
class ProbeRefused:
    """`Resend` was not carried out: the worker takes no batch, or has one."""

    connection: str


@dataclass(frozen=True, slots=True)
class LostBatch:
    """A batch of `size` deliveries that a dead worker had.

    `unreported` are those without an outcome, in order, and `keys` tell each of them apart from
    others across batches. It is leased until `leased_until`, in seconds of the clock that facts
    are stamped with.
    """

    batch: int
    connection: str
    size: int
    unreported: tuple[int, ...]
    keys: tuple[int, ...]
    leased_until: float


@dataclass(frozen=True, slots=True)
class RunningMark:
    """What a worker was at when it died, by its own marker page, which a destination can forge."""

    connection: str
    batch: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker is gone for good.

    `mark` is None where it was at nothing. `overdue` are batches past their deadline when it was
    ended for that; `ended` the connections that may have done what a look found, and had no batch
    there any more; `configured` those that it ever had a batch of. `is_ours`: no connection's
    fault, whatever it looks like; `is_leaving`: it had been told to finish and exit;
    `has_finished`: a batch, at any time. `exit_id` names the exit record, `label` the worker.
    """

    worker: int
    reason: ExitReason
    detail: str
    batches: tuple[LostBatch, ...] = ()
    mark: RunningMark | None = None
    overdue: frozenset[int] = frozenset()
    configured: frozenset[str] = frozenset()
    is_ours: bool = False
    is_leaving: bool = False
    has_finished: bool = False
    exit_id: str | None = None
    ended: frozenset[str] = frozenset()
    label: str = ""


@dataclass(frozen=True, slots=True)
class ResourcesExhausted:
    """A connection has left a worker with no memory or files, which need not die of it.

    `connection` was measured by us, or named by the worker, whose word is no proof. In that case
    `company` are all others that may have done it, and `present` those of them that are to be tried
    with it, where its name is as good as any.
    """

    connection: str
    reason: ExitReason
    detail: str
    present: frozenset[str] = frozenset()
    company: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LoopHogged:
    """A connection keeps the event loops of workers from the others; `how` follows "it".

    `others` may have done it in its stead, where only the word of a worker that they had batches
    in says that it was this one; none where nobody else can have.
    """

    connection: str
    how: str
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class BreakerOpened:
    """`Trip` has opened the circuit breaker of a connection, which was not open yet."""

    connection: str


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The lease of a suspected batch could not be extended: its deliveries are pending again."""

    batch: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed. `would_send` are those of `Isolation.dormant` that have work."""

    would_send: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Draining:
    """The service finishes what runs, and begins nothing."""


IsolationFact = (
    BatchFinished
    | BatchSent
    | ProbeSent
    | ProbeRefused
    | WorkerDedicated
    | WorkerDied
    | ResourcesExhausted
    | LoopHogged
    | BreakerOpened
    | LeaseLost
    | Ticked
    | ConnectionOpened
    | ConnectionRemoved
    | Draining
)
