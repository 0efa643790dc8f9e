"""What the watchdog wants done, as values. Imperative; workers are known by number."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.facts import IsolationFact, ResourcesExhausted
from supervisor.workers.handle import Mark


@dataclass(frozen=True, slots=True)
class EndWorker:
    """Kill a worker that broke a limit.

    Its page says whose doing it was, by what ran at its end; but where it `is_anybodys` nobody is
    named, and where it is known to be a `connection`'s, that one is. `ended` may have done it and
    have no batch there any more; `hint`, a step of one of all those, says who is tried first.
    """

    worker: int
    reason: ExitReason
    detail: str
    is_anybodys: bool = False
    connection: str | None = None
    ended: frozenset[str] = frozenset()
    hint: Mark | None = None


@dataclass(frozen=True, slots=True)
class EndIdleWorker:
    """Kill a worker that was told to exit, has nothing left to do, and does not exit."""

    worker: int
    detail: str


@dataclass(frozen=True, slots=True)
class ReplaceWorker:
    """Put another worker in its place, then let it finish what it has and exit.

    `connection` is whose name the exit record bears, `charged` what isolation is told where it is
    replaced: who has used it up. Not `is_urgent`: only where a spare is ready and no other
    worker of the pool is leaving. `ends_instead`: it is killed where it cannot be replaced.
    """

    worker: int
    reason: ExitReason
    detail: str
    connection: str | None
    charged: ResourcesExhausted | None = None
    is_urgent: bool = False
    ends_instead: bool = False


@dataclass(frozen=True, slots=True)
class RecycleWorker:
    """Replace a worker for no fault of anybody's, and let its other batches end."""

    worker: int


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Have a snapshot of its heap taken, once; the worker stays for that long."""

    worker: int
    reason: str
    connection: str | None


@dataclass(frozen=True, slots=True)
class CountHoldings:
    """Have a copy of it count who holds its memory; the leak monitor hears what came of it."""

    worker: int


@dataclass(frozen=True, slots=True)
class GrantBatches:
    """Tell the scheduler anew how many batches a worker may have at once."""

    worker: int


@dataclass(frozen=True, slots=True)
class MakeSerial:
    """Let this worker, and no other, have one batch at a time; None: none is any more."""

    worker: int | None


@dataclass(frozen=True, slots=True)
class Tell:
    """The isolation machine is to hear of it."""

    fact: IsolationFact


@dataclass(frozen=True, slots=True)
class TickIsolation:
    """Time has passed for the isolation machine."""


WatchdogEffect = (
    EndWorker
    | EndIdleWorker
    | ReplaceWorker
    | RecycleWorker
    | TakeSnapshot
    | CountHoldings
    | GrantBatches
    | MakeSerial
    | Tell
    | TickIsolation
)
