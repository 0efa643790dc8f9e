"""Workers that are none, held by their type to what a pool may ask of a worker.

Owns `StillWorker`: nothing happens to it but what a test says, and what is done to it is a failure
unless a test's own class takes it.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sandbox.protocol import Batch, Limits, Message, ToWorkerChannel
from supervisor.core.counted_time import CpuTimes
from supervisor.core.effects import ExitReason
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.delivery.records import InflightBatch, PoolWorker
from supervisor.queue import Delivery, Lease
from supervisor.workers.channel import Descriptor
from supervisor.workers.descendants import Descendants
from supervisor.workers.handle import Mark, WorkerHandle
from supervisor.workers.resources.headroom import Headroom

#: Memory of 100 and 60 MiB, 256 files, a block timeout of a second.
LIMITS = Limits(100 << 20, 60 << 20, 256, 1.0)


class StillChannel:
    """Where nobody connects."""

    def send(self, message: ToWorkerChannel, descriptor: Descriptor | None = None) -> None:
        """Nobody listens."""


@dataclass(eq=False)
class StillWorker:
    """A `WorkerHandle`. `at` is what it is marked at; `said` what it was told to record."""

    number: int
    label: str = ""
    limits: Limits = LIMITS
    pid: int | None = 1
    state: ProcessState = ProcessState.STARTING
    asked_at: float = field(default_factory=time.monotonic)
    ready_at: float | None = None
    uptime_s: float = 0.0
    rss_bytes: int = 0
    private_bytes: int = 0
    unasked_processes: int = 0
    below: Descendants = field(default_factory=lambda: Descendants(lambda: None))
    open_files: int | None = None
    excess: str = ""
    is_full: bool = False
    headroom: Headroom = Headroom.SOME
    may_raise: bool = False
    cpu_times: CpuTimes = field(default_factory=dict)
    beats: int = 0
    answers: int = 0
    at: Mark | None = None
    forked: Mark | None = None
    worked: Counter[str] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)
    channel: StillChannel = field(default_factory=StillChannel)
    blamed: tuple[str, str | None] = ("", None)

    def forked_in(self) -> Mark | None:
        return self.forked

    def marked(self) -> Mark | None:
        """As the test says."""
        return self.at

    async def take_stacks(self) -> str:
        """It runs nothing that could be seen."""
        return ""

    def tables(self) -> int | None:
        """It makes no copies."""
        return None

    def raise_soft_limit(self) -> bool:
        """As the test says."""
        return self.may_raise

    def blame(self, detail: str, connection: str | None) -> None:
        """It is kept."""
        self.blamed = detail, connection

    def configure(self, connection: str, destination: str, settings: dict[str, Any]) -> None:
        """It knows its destinations. Any: the destination's schema decides."""

    def send(self, message: Message) -> None:
        """It listens to nothing."""

    def ask(self) -> int:
        """As the test says."""
        return self.answers

    def send_batch(self, batch: Batch) -> None:
        """It works on nothing."""

    def give_way(self) -> None:
        """It has no process that could."""

    def come_forward(self) -> None:
        """Nor one that had to."""

    def retire(self, reason: ExitReason) -> None:
        """It finishes, then it would exit."""
        self.state = ProcessState.DRAINING

    def kill(self, reason: ExitReason, detail: str) -> None:
        """Nobody gave a reason for that."""
        raise AssertionError(f"killed: {reason} ({detail})")

    def kill_late(self, detail: str) -> None:
        """Nobody is late here."""
        raise AssertionError(f"killed: {detail}")


def member(worker: WorkerHandle, *, slot: int | None = None) -> PoolWorker:
    """A worker as its pool keeps it. Any: nobody connects here."""
    nobody: Any = None
    return PoolWorker(worker, nobody, slot=slot, credits=16)


def a_batch(id: int, connection: str = "a", size: int = 3, **fields: Any) -> InflightBatch:
    """A batch of worker 1. Any: fields of `InflightBatch` that the test cares for."""
    deliveries = [Delivery(f"{connection}{n}".encode(), 1, 0.0, b"") for n in range(size)]
    values: dict[str, Any] = {"started": 0.0, "deadline": 30.0, "reported": bytearray(size)}
    lease = Lease(id, connection, 100.0, deliveries)
    return InflightBatch(id, connection, "hooks", 1, lease, **(values | fields))
