"""What the service says of itself: the types of `GET /status`, and the seam behind the admin API.

Owns the shape of the snapshot (field for field as in the contract; more may be
added, nothing renamed) and `Control`, what the service must be able to do for
an operator. Must not know HTTP, and gathers nothing itself.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from supervisor.queue import Books, DedupeStats, DeliveryRecord, Queue, QueueStats

if TYPE_CHECKING:
    from supervisor.admin.debug import Evidence
    from supervisor.admin.metrics import Metrics
    from supervisor.exits import ExitStore


class ServiceState(enum.StrEnum):
    """Where the whole service stands."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


class PoolState(enum.StrEnum):
    """`degraded`: fewer workers serve than the config asks for; `failed`: none does."""

    RUNNING = "running"
    DEGRADED = "degraded"
    FAILED = "failed"


class WorkerState(enum.StrEnum):
    """Where one worker stands; `stopped` is a slot that waits for its next process."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    STOPPED = "stopped"


class QueueState(enum.StrEnum):
    """Whether a connection may send; `state_reason` says why where it may not."""

    OPEN = "open"
    THROTTLED = "throttled"
    BACKING_OFF = "backing_off"
    TRIPPED = "tripped"
    PAUSED = "paused"
    DISABLED = "disabled"


class LastExit(msgspec.Struct, frozen=True):
    """How a worker ended last. `at` is RFC 3339; `snapshot` and `stacks` name its evidence.

    `exit` is the id under which `/debug/exits` has all of it.
    """

    reason: str
    detail: str
    at: str
    connection: str | None = None
    snapshot: str | None = None
    stacks: str | None = None
    exit: str | None = None


class WorkerStatus(msgspec.Struct, frozen=True):
    """One slot of a pool. `batches`, `events` and `restarts` count since the service started."""

    id: str
    pid: int | None
    state: WorkerState
    rss_bytes: int
    inflight_batches: int
    batches: int
    events: int
    restarts: int
    uptime_s: float
    last_exit: LastExit | None = None


class SpareStatus(msgspec.Struct, frozen=True):
    """One warm worker that waits for a slot."""

    pid: int | None
    state: WorkerState
    rss_bytes: int
    uptime_s: float


class ApartStatus(msgspec.Struct, frozen=True):
    """A worker that runs one connection alone, since that hung or killed another one."""

    connection: str
    pid: int | None
    state: WorkerState
    rss_bytes: int
    uptime_s: float


class LeakingGroup(msgspec.Struct, frozen=True):
    """Connections that always get the same events, of which one or some leak.

    Which of them is not known yet; `bytes_per_event` is of the events of all of them.
    """

    connections: Sequence[str]
    bytes_per_event: float


class PoolStatus(msgspec.Struct, frozen=True):
    """One pool; `state_reason` is empty while it runs as the config asks.

    `loosened` says what its workers may do beyond the strict profile; `leaks_together` who is
    in question where somebody leaks, and nobody can be named yet.
    """

    name: str
    state: PoolState
    workers: Sequence[WorkerStatus]
    spares: Sequence[SpareStatus] = ()
    state_reason: str = ""
    apart: Sequence[ApartStatus] = ()
    loosened: Sequence[str] = ()
    leaks_together: Sequence[LeakingGroup] = ()


class BlameStatus(msgspec.Struct, frozen=True, gc=False):
    """What a connection has cost since the service started.

    `standing` is `trusted`, `on probation` (deliveries of it were in a worker that
    died, and `on_trial` are tried again apart) or `unproven` (it runs in a worker of its own).
    `extra_executions` are deliveries that were sent again for that. `workers_used_up` are those
    that it left with no memory or files, and that were replaced in time. `hogged` is how often it
    was found to keep the event loops of its workers from other connections, so that it runs
    apart, and `hogs` what it did the last time. At a `score` of 4 it
    trips; `trips` are openings of its breaker for that, and not for what its destination answers.
    """

    standing: str = "trusted"
    on_trial: int = 0
    score: float = 0.0
    worker_deaths: int = 0
    extra_executions: int = 0
    quarantined: int = 0
    trips: int = 0
    workers_used_up: int = 0
    hogged: int = 0
    hogs: str = ""


class QueueStatus(msgspec.Struct, frozen=True, gc=False):
    """One connection's queue. `depth` counts all that is pending, `inflight` what is leased of it.

    `oldest_s` is the age of the oldest pending delivery in seconds, None where
    there is none; `next_attempt_in_s` is None where nothing waits for a time.
    `waiting_for` is the rule that holds its next delivery, "" where all of it is
    with workers; `concurrency` is how many batches may run at once now, and
    `batch_events` how many events may be in one: fewer than configured where batches were spoiled.
    `egress_refused` counts the connections that the config did not let it make.
    """

    connection: str
    source: str
    destination: str
    pool: str
    depth: int
    inflight: int
    oldest_s: float | None
    state: QueueState
    state_reason: str
    next_attempt_in_s: float | None
    waiting_for: str = ""
    concurrency: int = 0
    batch_events: int = 0
    egress_refused: int = 0
    last_egress_refusal: str | None = None
    blame: BlameStatus = BlameStatus()
    trips: int = 0
    """How often its circuit breaker has opened since the service started."""
    held_users: int = 0
    """Users of an ordered connection that wait for the retry of one of their events."""
    held_deliveries: int = 0
    """What of theirs was put aside meanwhile."""
    held_s: float | None = None
    """For how long the user that is held back longest is."""
    leak_bytes_per_event: float | None = None
    """What each of its events leaves behind in a worker's memory, None where it does not leak."""
    leaks_together_bytes_per_event: float | None = None
    """The same of its group in the pool's `leaks_together`, None where it is in none."""
    proven_per_s: float = 0.0
    """Events that its destination took in the best of the last ten seconds."""
    retries_per_s: float = 0.0
    """How many retries may go in a second now."""


class StoreStatus(msgspec.Struct, frozen=True):
    """The queue's disk. Sizes in bytes; `intake` is "open", or why the queue takes nothing."""

    intake: str
    live_bytes: int
    max_bytes: int
    dead_letter_bytes: int
    dead_letters_dropped: int
    evicted: int
    commits: int
    commit_seconds: float

    @classmethod
    def of(cls, stats: QueueStats) -> StoreStatus:
        """The part of the queue's own figures that is not about deduplication."""
        return cls(**{name: getattr(stats, name) for name in cls.__struct_fields__})


class ZygoteStatus(msgspec.Struct, frozen=True):
    """The fork server; its pid is None while there is none."""

    pid: int | None


class Status(msgspec.Struct, frozen=True):
    """The whole service. `sandbox` says of each layer "on", or why not.

    All but the queues is of one moment. They are looked at before it, one after the
    other: with thousands of them, a few tenths of a second go by.
    """

    version: str
    state: ServiceState
    uptime_s: float
    pools: Sequence[PoolStatus]
    queues: Sequence[QueueStatus]
    books: Books
    sandbox: Mapping[str, str]
    dedupe: DedupeStats
    store: StoreStatus
    zygote: ZygoteStatus
    pid: int
    """The supervisor's own."""


class NotFound(Exception):
    """There is no connection or worker of that name; the text says so and names what there is."""


class Refused(Exception):
    """It exists, but cannot be done to it now; the text says why, and what to do."""


class EvidenceFailed(Exception):
    """It could not be had from a worker; the text says why, and what else there is."""


class Control(Protocol):
    """What the service does for an operator; `supervisor.service` implements it."""

    @property
    def queue(self) -> Queue:
        """The durable queue, for look-ups, dead letters and books."""

    @property
    def evidence(self) -> Evidence:
        """Heaps, stacks and what was kept of them."""

    @property
    def metrics(self) -> Metrics:
        """What `GET /metrics` renders."""

    @property
    def exits(self) -> ExitStore:
        """Every worker's exit."""

    def not_ready(self) -> str | None:
        """Why the service takes no events now; None where it does."""

    def pools(self) -> Sequence[PoolStatus]:
        """The pools and their workers as they are now."""

    async def status(self) -> Status:
        """The service as it is now, from memory."""

    def waiting_for(self, connection: str, record: DeliveryRecord) -> str:
        """The rule that a pending delivery waits for, in words that follow "waiting for"."""

    async def recycle(self, worker_id: str) -> None:
        """Have a worker finish its batches and be replaced. Raises NotFound or Refused."""

    async def pause(self, connection: str) -> None:
        """Lease no more for a connection until `resume`; what runs goes on. Raises NotFound."""

    async def resume(self, connection: str) -> None:
        """Undo `pause`, or a trip. Raises NotFound, or Refused where it is disabled."""

    async def probe(self, connection: str) -> None:
        """Let one batch through now, whatever back-off says. Raises NotFound or Refused."""


def rfc3339(at: float) -> str:
    """Epoch seconds as RFC 3339 in UTC, to the millisecond; out-of-range times are clamped.

    Stored times come from clients' and machines' clocks, and no odd one may make
    a listing fail.
    """
    clamped = min(max(at, 0.0), 253_402_300_799.0)  # year 9999
    text = datetime.fromtimestamp(clamped, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def parse_rfc3339(text: str) -> float:
    """RFC 3339 as epoch seconds. Raises ValueError for anything else, a missing zone included."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; end it with Z or +HH:MM")
    return moment.timestamp()
