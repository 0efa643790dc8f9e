"""What the service must be able to do for an operator: the seam behind the admin API.

Owns `Control`, which `supervisor.app.operator.Operator` implements. Must not know HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from supervisor.admin.debug import DiagnosticsSource
from supervisor.admin.plan import Planner
from supervisor.diagnostics.exits import ExitStore
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.queue import DeliveryRecord, Queue
from supervisor.telemetry.at_work import PoolAtWork
from supervisor.telemetry.metrics import Metrics
from supervisor.telemetry.status import PoolStatus, QueueStatus, Status


class Control(Protocol):
    """What the service does for an operator; `supervisor.app.operator.Operator` implements it."""

    @property
    def queue(self) -> Queue:
        """The durable queue, for look-ups, dead letters and books."""

    @property
    def evidence(self) -> DiagnosticsSource:
        """Heaps, stacks and what was kept of them."""

    @property
    def metrics(self) -> Metrics:
        """What `GET /metrics` renders."""

    @property
    def exits(self) -> ExitStore:
        """Every worker's exit."""

    @property
    def planner(self) -> Planner:
        """The config file: what it would change, and following it."""

    @property
    def insight(self) -> Insight | None:
        """What is kept for people to look at; None where nothing is: the console is off."""

    @property
    def masking(self) -> Masking:
        """What of an event who may see."""

    def not_ready(self) -> str | None:
        """Why the service takes no events now; None where it does."""

    def pools(self) -> Sequence[PoolStatus]:
        """The pools and their workers as they are now."""

    def pool(self, name: str) -> PoolAtWork:
        """One pool, and who is in which worker. Raises NotFound."""

    def queue_status(self, connection: str) -> QueueStatus:
        """One connection's queue as it is now. Raises NotFound."""

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
