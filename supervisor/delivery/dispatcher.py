"""Turns into batches: what one pool leases, and hands to its workers.

The shell around `core/scheduling/scheduler.py`: leases deliveries from the queue whenever something
may be sent, and hands them over. Must not decide which workers there are, or what an outcome means.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable

import structlog

from sandbox.protocol import Batch
from supervisor.core.isolation.facts import BatchSent, IsolationFact
from supervisor.core.isolation.grants import batches_at_once
from supervisor.core.isolation.machine import Isolation
from supervisor.core.isolation.responsiveness import Responsiveness
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.scheduling.scheduler import BatchResult, Ready, Scheduler, Take
from supervisor.delivery.activity import Activity
from supervisor.delivery.records import InflightBatch, PoolConnection, PoolWorker
from supervisor.delivery.settlement import Settlement
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog import Watchdog
from supervisor.queue import Lease, Queue, QueueUnavailable
from supervisor.runtime.clock import Clock

_log = structlog.get_logger(__name__)

#: Seconds that a batch may run past its soft timeout before its worker is killed.
GRACE_S = 5.0
#: Seconds past soft timeout and grace for which deliveries stay leased.
LEASE_SLACK_S = 30.0


def ready_in(queue: Queue, connection: str) -> Ready:
    """What a connection has in the queue, as its scheduler asks for it."""
    depth = queue.depth(connection)
    return Ready(depth.fresh, depth.next_retry_at, depth.size_bytes)


class Dispatcher:
    """That of one pool; `tell` takes facts for the isolation machine.

    `batch_timeout_s` is the soft limit in seconds of batches that are sent from now on; `activity`
    goes on while anything is leased.
    """

    def __init__(
        self,
        state: PoolRecords,
        *,
        batch_timeout_s: float,
        queue: Queue,
        scheduler: Scheduler,
        settlement: Settlement,
        isolation: Isolation,
        responsiveness: Responsiveness,
        watchdog: Watchdog,
        activity: Activity,
        clock: Clock,
        tell: Callable[[IsolationFact], None],
    ) -> None:
        self.batch_timeout_s = batch_timeout_s
        self.is_stopped = False
        self._state = state
        self._queue = queue
        self._scheduler = scheduler
        self._settlement = settlement
        self._isolation = isolation
        self._responsiveness = responsiveness
        self._watchdog = watchdog
        self._activity = activity
        self._clock = clock
        self._tell = tell
        self._batch_ids = itertools.count(1)
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_due = False

    def stop(self) -> None:
        """Lease nothing any more; once more is no error."""
        self.is_stopped = True
        if self._alarm is not None:
            self._alarm.cancel()

    # --- turns ---

    def work_came(self, connection: str) -> None:
        """The queue has something for a connection of this pool."""
        self._scheduler.work_came(connection)
        self.pump_soon()

    def pump_soon(self) -> None:
        """Pump once in the next turn of the loop, however often this is called before it."""
        if not self._pump_due:
            self._pump_due = True
            self._activity.began()
            asyncio.get_running_loop().call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._pump_due = False
        try:
            self.pump()
        finally:
            self._activity.ended()

    def pump(self) -> None:
        """Send what may be sent now, and come back when something else may be."""
        if self.is_stopped:
            return
        now = self._clock()
        while (take := self._scheduler.next(now)) is not None:
            self._activity.began()
            task = asyncio.get_running_loop().create_task(self._send(take))
            self._tasks.add(task)
            task.add_done_callback(self._sent)
        self._set_alarm(now)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._activity.ended()

    def _set_alarm(self, now: float) -> None:
        at = self._scheduler.next_alarm()
        if at == self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at, self._alarm = at, None
        if at is not None:
            self._alarm = asyncio.get_running_loop().call_later(max(0.0, at - now), self._rang)

    def _rang(self) -> None:
        self._alarm_at = self._alarm = None
        self.pump()

    def grant(self, pool_worker: PoolWorker) -> None:
        """Have the scheduler know how many batches a worker may have now."""
        number = pool_worker.number
        is_unresponsive = self._responsiveness.is_unresponsive(number)
        if is_unresponsive or self._state.is_left_alone(pool_worker):
            held = Counter(batch.connection for batch in pool_worker.batches.values())
            mark = pool_worker.believed_mark() if is_unresponsive else None
            self._scheduler.worker_away(number, held, None if mark is None else mark.connection)
        else:
            self._scheduler.worker_granted(number, self.granted(pool_worker))
        self.pump_soon()

    def granted(self, pool_worker: PoolWorker) -> int:
        """Batches that a worker may have at once, while its event loop comes round to them."""
        number = pool_worker.number
        return batches_at_once(
            pool_worker.credits,
            is_dedicated=self._isolation.dedicated_to(number) is not None,
            is_serial=self._state.serial == number,
        )

    # --- batches ---

    async def _send(self, take: Take) -> None:
        most = self._isolation.most_events(take.connection)
        try:
            lease = await self._queue.lease(
                take.connection,
                max_events=take.max_events if most is None else min(take.max_events, most),
                max_bytes=take.max_bytes,
                term_s=self.batch_timeout_s + GRACE_S + LEASE_SLACK_S,
                retries=take.retries,
            )
        except QueueUnavailable as error:
            _log.error("lease_failed", connection=take.connection, error=str(error))
            lease = None
        if lease is None:
            self._scheduler.nothing_leased(take, self._clock())
            self.pump_soon()
            return
        pool_worker = self._state.worker(take.worker)
        connection = self._state.connections.get(take.connection)
        if (
            pool_worker is None
            or connection is None
            or pool_worker.worker.state is not ProcessState.READY
            or not self._isolation.may_run(take.connection, take.worker)
        ):
            # It died, or the connection went or was suspected, while the lease was being read.
            self._settlement.unsent(lease)
            self._scheduler.sent(take, 0)
            self._scheduler.finished(
                take.connection, take.worker, BatchResult(), now=self._clock(), jitter=0.0
            )
            self.pump_soon()
            return
        self._scheduler.sent(take, len(lease.deliveries))
        batch = self._batch(pool_worker, connection, lease, retries=take.retries)
        self._hand_over(pool_worker, connection, batch)
        if self._isolation.dedicated_to(take.worker) is not None:
            self._tell(BatchSent(take.worker, batch.id))

    def _batch(
        self, pool_worker: PoolWorker, connection: PoolConnection, lease: Lease, *, retries: bool
    ) -> InflightBatch:
        now = self._clock()
        return InflightBatch(
            next(self._batch_ids),
            connection.name,
            connection.destination,
            pool_worker.number,
            lease,
            started=now,
            deadline=now + self.batch_timeout_s + GRACE_S,
            reported=bytearray(len(lease.deliveries)),
            retries=retries,
        )

    def send_part(
        self,
        pool_worker: PoolWorker,
        connection: PoolConnection,
        batch: InflightBatch,
        indices: tuple[int, ...],
    ) -> InflightBatch:
        """Hand some of a batch to a worker, out of turn, as a batch of their own."""
        now = self._clock()
        deadline = now + self.batch_timeout_s + GRACE_S
        part = batch.part(next(self._batch_ids), pool_worker.number, indices, now, deadline)
        self._scheduler.borrowed(connection.name, pool_worker.number)
        self._hand_over(pool_worker, connection, part)
        return part

    def _hand_over(
        self, pool_worker: PoolWorker, connection: PoolConnection, batch: InflightBatch
    ) -> None:
        worker, name = pool_worker.worker, connection.name
        known = pool_worker.configured.get(name)
        if known is not connection:
            if known is None or known.settings != connection.settings:
                worker.configure(name, connection.destination, dict(connection.settings))
            pool_worker.configured[name] = connection
        deliveries = batch.lease.deliveries
        batch.label = worker.label
        self._state.handed_over(pool_worker, batch)
        self._responsiveness.batch_given(name, len(deliveries), batch.started)
        self._watchdog.batch_handed_over()
        bodies = [delivery.body for delivery in deliveries]
        worker.send_batch(Batch(batch.id, name, self.batch_timeout_s, bodies))

    def finished(self, batch: InflightBatch, now: float) -> None:
        """A batch is over, reported in full or with its worker: its place is free."""
        self._scheduler.finished(
            batch.connection,
            batch.worker,
            BatchResult(
                delivered=batch.delivered,
                failed=batch.failed,
                retried=batch.retried - batch.refused,
                congested=batch.congested,
                spoiled=batch.spoiled,
                retries=batch.retries,
                started=batch.started,
                why=batch.why,
            ),
            now=now,
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
        )
