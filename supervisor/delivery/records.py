"""What a pool knows of one connection, one batch, one worker and one slot.

Owns the records and what may be read off each alone. `state.py` keeps them together and right.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sandbox.protocol import SAMPLES_PER_S, STRAY_LINES_PER_S, WORKER_LINES_PER_S, Sampled
from supervisor.core.lifecycle.wire_budget import LineAllowance
from supervisor.core.scheduling.scheduler import BlockReason, Terms
from supervisor.diagnostics.exits import ExitRecord
from supervisor.diagnostics.snapshots import Snapshot
from supervisor.egress.broker import EgressSession
from supervisor.egress.policy import EgressPolicy
from supervisor.queue import Lease
from supervisor.workers.handle import Mark, WorkerHandle

#: Looks at a worker that are remembered.
MINUTE_LOOKS = 60


@dataclass(frozen=True, slots=True)
class PoolConnection:
    """A connection as its pool runs it. Any: the destination's schema decides on settings."""

    name: str
    destination: str
    settings: Mapping[str, Any]
    terms: Terms
    closed: BlockReason | None
    egress_policy: EgressPolicy


@dataclass(slots=True)
class InflightBatch:
    """A batch that a worker has. Times are seconds of the service's clock.

    `reported` holds 1 for each delivery that has its outcome. `places` are the indices of its
    deliveries in what was leased where the batch is but a part of it: a probe. `refused` are those
    of the `retried` that say nothing of how well the destination is: its credentials are.
    """

    id: int
    connection: str
    destination: str
    worker: int
    lease: Lease
    started: float
    deadline: float
    reported: bytearray
    retries: bool = False
    delivered: int = 0
    failed: int = 0
    retried: int = 0
    congested: int = 0
    spoiled: int = 0
    refused: int = 0
    why: str = ""
    places: tuple[int, ...] | None = None
    #: what its worker has told of attempts that failed, by index; and what that worker is called
    samples: dict[int, Sampled] = field(default_factory=dict)
    label: str = ""
    #: seconds of its worker's life that did not count before it was handed over
    lost_before_s: float = 0.0

    @property
    def unreported(self) -> int:
        """Deliveries without an outcome so far."""
        return self.reported.count(0)

    def place(self, index: int) -> int:
        """Where a delivery of this batch stands in what was leased."""
        return index if self.places is None else self.places[index]

    def part(
        self, id: int, worker: int, indices: tuple[int, ...], started: float, deadline: float
    ) -> InflightBatch:
        """Some of its deliveries once more, as a batch of their own."""
        lease = self.lease
        return InflightBatch(
            id,
            self.connection,
            self.destination,
            worker,
            msgspec.structs.replace(lease, deliveries=[lease.deliveries[i] for i in indices]),
            started,
            deadline,
            bytearray(len(indices)),
            places=tuple(map(self.place, indices)),
        )


@dataclass(slots=True)
class LastMinute:
    """What was seen of a worker of late, a look a second: `(monotonic seconds, figure)`."""

    open_now: Mapping[str, int] = field(default_factory=dict)
    """Sockets that it has open, by connection."""
    open: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MINUTE_LOOKS))
    rss: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MINUTE_LOOKS))

    def add(self, now: float, open_now: Mapping[str, int], rss_bytes: int) -> None:
        """One look."""
        self.open_now = open_now
        self.open.append((now, sum(open_now.values())))
        self.rss.append((now, rss_bytes))


def ago(curve: Iterable[tuple[float, int]], now: float) -> tuple[tuple[float, int], ...]:
    """Points of a curve by how many seconds ago they were."""
    return tuple((round(now - at, 1), figure) for at, figure in curve)


@dataclass(slots=True)
class PoolWorker:
    """A worker, as this pool sees it."""

    worker: WorkerHandle
    egress_session: EgressSession
    slot: int | None = None
    batches: dict[int, InflightBatch] = field(default_factory=dict)
    configured: dict[str, PoolConnection] = field(default_factory=dict)
    credits: int = 0
    finished: int = 0
    idle_since: float | None = None
    #: seconds of its life that did not count: it had no CPU, or nobody looked; and when it was idle
    lost_s: float = 0.0
    idle_lost_s: float = 0.0
    loop_lag_s: float = 0.0
    running_batches: int = 0
    is_leaving: bool = False
    #: twice what it allows itself: its seconds begin at other times than ours
    lines: LineAllowance = field(default_factory=lambda: LineAllowance(2 * WORKER_LINES_PER_S))
    seen: LastMinute = field(default_factory=LastMinute)
    stray_lines: LineAllowance = field(default_factory=lambda: LineAllowance(2 * STRAY_LINES_PER_S))
    samples: LineAllowance = field(default_factory=lambda: LineAllowance(2 * SAMPLES_PER_S))
    #: a snapshot that was begun by itself, and its name once there is one
    evidence: asyncio.Task[Snapshot | None] | None = None
    #: batches past their deadline when it was killed for that
    overdue: tuple[int, ...] = ()
    #: of what it was killed for: connections without a batch that may have done it, and a step of
    #: whom is tried first
    ended: frozenset[str] = frozenset()
    hint: Mark | None = None

    @property
    def number(self) -> int:
        """What the pool's layout and the scheduler know it by."""
        return self.worker.number

    def may_name(self, connection: str) -> bool:
        """Whether it was ever given that connection; "" is none in particular."""
        return not connection or connection in self.configured

    def believed_mark(self) -> Mark | None:
        """What its page says that it is at, where that is a batch that it has; else None.

        Which of those it is is its own word still, which each of them can forge.
        """
        mark = self.worker.marked()
        if mark is None:
            return None
        for batch in self.batches.values():
            if batch.connection == mark.connection and batch.id & 0xFFFFFFFF == mark.batch:
                return mark
        return None

    def rests(self, now: float) -> None:
        """It has nothing to do from now on."""
        self.idle_since, self.idle_lost_s = now, self.lost_s

    def is_late(self, batch: InflightBatch, now: float) -> bool:
        """Whether a batch of it is past its deadline, by time that counts."""
        return batch.deadline + self.lost_s - batch.lost_before_s < now

    def idle_s(self, now: float) -> float:
        """Seconds that count, for which it has had nothing to do."""
        if self.idle_since is None:
            return 0.0
        return now - self.idle_since - (self.lost_s - self.idle_lost_s)

    @property
    def is_giving_evidence(self) -> bool:
        """Whether its snapshot is being taken, for which it has to stay."""
        return self.evidence is not None and not self.evidence.done()

    @property
    def snapshot(self) -> str | None:
        """The name of the snapshot that was taken of it by itself."""
        if self.evidence is None or not self.evidence.done() or self.evidence.cancelled():
            return None
        kept = self.evidence.result()
        return None if kept is None else kept.name


@dataclass(slots=True)
class SlotRecord:
    """What is counted of a worker id across its processes."""

    batches: int = 0
    events: int = 0
    processes: int = 0
    last_exit: ExitRecord | None = None
