"""What the service says of itself: the types of `GET /status`.

Owns the shape of the snapshot, field for field as operators' tools read it: more may be
added, nothing renamed. Must not know HTTP, and gathers nothing itself.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import msgspec

from supervisor.queue import Books, DedupeStats, QueueStats


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
    open_connections: int = 0
    """Sockets to destinations that it has open, by the kernel's word."""


class SpareStatus(msgspec.Struct, frozen=True):
    """One warm worker that waits for a slot."""

    pid: int | None
    state: WorkerState
    rss_bytes: int
    uptime_s: float


class ApartWhy(msgspec.Struct, frozen=True, gc=False):
    """Why a connection does not run among the others, since when, and until what.

    `code` is of a closed set (`core/isolation/apart.py`), and `text` says it in a sentence: no word
    of either is a destination's. `exit` names the end of the worker that is meant, where it was
    one. `on_trial` deliveries are each tried alone; where there are none, it comes back after
    `batches_left` more batches that go well, worth `events_left` events or `seconds_left` seconds.
    """

    code: str
    text: str
    since: str
    exit: str | None = None
    on_trial: int = 0
    batches_left: int = 0
    events_left: int = 0
    seconds_left: float = 0.0


class ApartStatus(msgspec.Struct, frozen=True):
    """A worker that runs one connection alone, and `why`: None where that is over already."""

    connection: str
    pid: int | None
    state: WorkerState
    rss_bytes: int
    uptime_s: float
    why: ApartWhy | None = None


class LeakingGroup(msgspec.Struct, frozen=True):
    """Connections of which one or some leak; `bytes_per_event` is of the events of all of them.

    Which of them is not known yet; or, where `held_by` says what holds what grew (a library, a
    module that several destinations use), it is nobody's in particular.
    """

    connections: Sequence[str]
    bytes_per_event: float
    held_by: str | None = None


class PoolStatus(msgspec.Struct, frozen=True):
    """One pool; `state_reason` is empty while it runs as the config asks.

    `loosened` says what its workers may do beyond the strict profile; `leaks_together`
    which connections are in question where one leaks, and none can be named yet.
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
    `apart` says why it is not `trusted`.
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
    apart: ApartWhy | None = None


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
    credentials_refused: bool = False
    """Whether it is held since its credentials are refused; `state_reason` says in whose words."""
    proven_per_s: float = 0.0
    """Events that its destination took in the best of the last ten seconds."""
    retries_per_s: float = 0.0
    """How many retries may go in a second now."""


class StoreStatus(msgspec.Struct, frozen=True):
    """The queue's disk. Sizes in bytes; `intake` is "open", or why the queue takes nothing.

    `files_missing` says what was removed or replaced under the running service, else "".
    `log_bytes` is the size of SQLite's log; `log_held` says who keeps it from being emptied, or is
    "".
    """

    intake: str
    live_bytes: int
    max_bytes: int
    dead_letter_bytes: int
    dead_letters_dropped: int
    evicted: int
    commits: int
    commit_seconds: float
    files_missing: str = ""
    log_bytes: int = 0
    log_held: str = ""

    @classmethod
    def of(cls, stats: QueueStats) -> StoreStatus:
        """The part of the queue's own figures that is not about deduplication."""
        return cls(**{name: getattr(stats, name) for name in cls.__struct_fields__})


class ClockStatus(msgspec.Struct, frozen=True):
    """The service's clock, which goes by no step of the wall clock, see `runtime/clock.py`.

    `ahead_s` of the wall clock, below zero where it is behind. `reanchored_s`: by so much the last
    run was ahead of it, below zero where it was behind, and its times were moved.
    """

    ahead_s: float
    reanchored_s: float


class ZygoteStatus(msgspec.Struct, frozen=True):
    """The fork server; its pid is None while there is none."""

    pid: int | None


class LimitsStatus(msgspec.Struct, frozen=True):
    """What workers are held to on this machine, beside the config's limits.

    `scratch` says where their files go and how much there may be of them. `unheld` is what cannot
    be limited here, one clause each: empty where all is.
    """

    scratch: str
    unheld: Sequence[str]


class UnansweredStatus(msgspec.Struct, frozen=True):
    """A process of ours that let its time pass and was replaced; `at` is RFC 3339."""

    who: str
    why: str
    at: str


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
    limits: LimitsStatus
    dedupe: DedupeStats
    store: StoreStatus
    zygote: ZygoteStatus
    pid: int
    """The supervisor's own."""
    unanswered: Sequence[UnansweredStatus] = ()
    """The last processes that did not answer in time, oldest first."""
    clock: ClockStatus = ClockStatus(0.0, 0.0)
    state_dir: str = ""
    """Where the service keeps what outlives it, on its own machine."""
