"""A pool's connections and workers as its shell keeps them: who has what.

Owns the records alone; what is done with them is `pool.py`'s,
`dispatcher.py`'s and `isolation.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor.core.attention import Attention
from supervisor.core.scheduling.scheduler import BlockReason, Terms
from supervisor.delivery.settlement import InflightBatch
from supervisor.diagnostics.exits import ExitRecord
from supervisor.diagnostics.snapshots import Snapshot
from supervisor.egress.broker import EgressSession
from supervisor.egress.policy import EgressPolicy
from supervisor.workers.process import Worker


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
class PoolWorker:
    """A worker, as this pool sees it. `only` is the connection that it serves apart."""

    worker: Worker
    egress_session: EgressSession
    slot: int | None = None
    only: str | None = None
    batches: dict[int, InflightBatch] = field(default_factory=dict)
    configured: dict[str, PoolConnection] = field(default_factory=dict)
    credits: int = 0
    finished: int = 0
    idle_since: float | None = None
    loop_lag_s: float = 0.0
    running_batches: int = 0
    is_leaving: bool = False
    #: it gets one batch at a time
    is_narrow: bool = False
    #: it gets nothing, since it has batches of a connection that is to run apart
    is_taken: bool = False
    attention: Attention = field(default_factory=Attention)
    #: a snapshot that was begun by itself, and its name once there is one
    evidence: asyncio.Task[Snapshot | None] | None = None
    #: batches past their deadline when it was killed for that
    overdue: tuple[int, ...] = ()

    @property
    def granted(self) -> int:
        """Batches that it may have at once, while it comes round to them."""
        return 1 if self.is_narrow else self.credits

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
