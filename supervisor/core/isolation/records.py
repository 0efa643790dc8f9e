"""What the isolation machine keeps of each connection and each worker that was dedicated.

Owns the records and what is read off them alone; what is done with them is `machine.py`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.apart import Apart, ApartCause
from supervisor.core.isolation.bisection import Bisection
from supervisor.core.isolation.effects import IsolationEffect
from supervisor.core.isolation.facts import LostBatch
from supervisor.core.isolation.health import HealthScore
from supervisor.core.isolation.trust import ProofSoFar
from supervisor.core.placement import (
    SHARED,
    Placement,
    TrustState,
    trust_of,
    worker_of,
)

#: Deaths that are remembered until they are proven; past that the oldest is forgotten. A proven one
#: in company and two alone are what one bad event costs, and the breaker opens at four.
UNPROVEN_MOST = 4


@dataclass(slots=True)
class BlameCounts:
    """What a connection has cost since the service started.

    `used_up` are workers that it left with no memory or files, `hogged` is how often it was found
    to keep the loops of workers from others, `hogs` how. `executions` are events sent
    again, `trips` openings of its breaker for what it cost.
    """

    deaths: int = 0
    used_up: int = 0
    hogged: int = 0
    hogs: str = ""
    executions: int = 0
    quarantined: int = 0
    trips: int = 0


@dataclass(frozen=True, slots=True)
class IsolationStatus:
    """What is held against a connection; `undecided` are its deliveries that are suspected.

    `apart` says why it does not run among the others, and is None where it does; `proof` what it
    has to show, where that is all that it waits for.
    """

    trust: TrustState
    undecided: int
    score: float
    blame: BlameCounts
    apart: Apart | None = None
    proof: ProofSoFar | None = None


@dataclass(slots=True)
class SuspectedBatch:
    """A batch of a dead worker, and the last death in it."""

    id: int
    bisection: Bisection
    reason: ExitReason
    detail: str
    exit_id: str | None
    leased_until: float


@dataclass(slots=True)
class Probe:
    """Some of a suspected batch, sent again; `id` is None until it was said to be sent."""

    of: SuspectedBatch
    indices: tuple[int, ...]
    id: int | None = None

    def is_among(self, batches: Iterable[LostBatch]) -> bool:
        """Whether it was one of these."""
        return any(one.batch == self.id for one in batches)

    def unreported(self, batches: Iterable[LostBatch]) -> tuple[int, ...]:
        """What has no outcome, by its index in the suspected batch."""
        return tuple(
            self.indices[index]
            for one in batches
            if one.batch == self.id
            for index in one.unreported
        )


@dataclass(slots=True)
class IsolatedConnection:
    """A connection that was held to account at some time.

    `is_claiming`: the pool was asked for a worker for it, which it has by now or waits for.
    `placed_at` is when it was given the last one.
    """

    placement: Placement = SHARED
    is_claiming: bool = False
    placed_at: float = 0.0
    suspected: list[SuspectedBatch] = field(default_factory=list)
    probe: Probe | None = None
    unproven_deaths: deque[tuple[ExitReason, str]] = field(
        default_factory=lambda: deque(maxlen=UNPROVEN_MOST)
    )
    """Deaths among others that only their workers' word puts down to it, each with its detail."""
    health: HealthScore = field(default_factory=HealthScore)
    blame: BlameCounts = field(default_factory=BlameCounts)
    apart: Apart | None = None
    """Why it is not trusted; None where it is."""

    def set_off(self, cause: ApartCause, now: float) -> None:
        """It is not trusted from now on, or anew, for that."""
        self.apart = Apart.after(self.apart, cause, now)

    @property
    def trust(self) -> TrustState:
        """What is thought of it."""
        return trust_of(self.placement)

    @property
    def worker(self) -> int | None:
        """The worker that it has for itself."""
        return worker_of(self.placement)

    @property
    def undecided(self) -> int:
        """Its deliveries that are suspected."""
        return sum(one.bisection.undecided for one in self.suspected)

    @property
    def is_dormant(self) -> bool:
        """Whether it would be given a worker of its own if it had something to send."""
        return self.trust is TrustState.UNPROVEN and not self.is_claiming


@dataclass(slots=True)
class DedicatedWorker:
    """A worker that was given to a connection alone, until it dies, and the batches that it has."""

    connection: str
    idle_since: float
    batches: set[int] = field(default_factory=set)

    def finished(self, batch: int, now: float) -> None:
        """A batch has ended."""
        self.batches.discard(batch)
        if not self.batches:
            self.idle_since = now

    def idle_s(self, now: float) -> float:
        """Seconds for which it has had nothing to do."""
        return 0.0 if self.batches else now - self.idle_since


@dataclass(slots=True)
class IsolationState:
    """What the parts of the machine share.

    `open` has the connections of the config, and whether each is closed; `known` those that were
    held to account at some time. `effects` are those of the fact that is being taken.
    """

    open: dict[str, bool] = field(default_factory=dict)
    known: dict[str, IsolatedConnection] = field(default_factory=dict)
    effects: list[IsolationEffect] = field(default_factory=list)
    is_draining: bool = False

    def of(self, connection: str) -> IsolatedConnection:
        """The record of a connection that is held to account from now on."""
        return self.known.setdefault(connection, IsolatedConnection())

    def is_alone(self, connection: str) -> bool:
        """Whether the pool has no other connection that sends, to be protected from it."""
        return all(name == connection or is_closed for name, is_closed in self.open.items())
