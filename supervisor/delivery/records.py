"""What a pool knows of one connection, one batch, one worker and one slot.

Owns the records and what may be read off each alone. `state.py` keeps them together and right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from supervisor.core.scheduling.scheduler import BlockReason, Terms
from supervisor.diagnostics.exits import ExitRecord
from supervisor.diagnostics.snapshots import Snapshot
from supervisor.egress.broker import EgressSession
from supervisor.egress.policy import EgressPolicy
from supervisor.queue import Lease
from supervisor.workers.handle import WorkerHandle


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
    deliveries in what was leased where the batch is but a part of it: a probe.
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
    why: str = ""
    places: tuple[int, ...] | None = None

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
    loop_lag_s: float = 0.0
    running_batches: int = 0
    is_leaving: bool = False
    #: a snapshot that was begun by itself, and its name once there is one
    evidence: asyncio.Task[Snapshot | None] | None = None
    #: batches past their deadline when it was killed for that
    overdue: tuple[int, ...] = ()

    @property
    def number(self) -> int:
        """What the pool's layout and the scheduler know it by."""
        return self.worker.number

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
