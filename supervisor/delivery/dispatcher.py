"""What one pool sends, and what comes back: from a turn to a batch to its verdicts.

The shell around `core/scheduling/scheduler.py`: leases deliveries from the queue whenever something
may be sent, hands them to workers, and has what is said of them judged. Must not decide
which workers there are: it finds them in the pool's own `pool_workers`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Mapping

import structlog

from sandbox.protocol import Batch, Outcomes, ProtocolError
from supervisor.core.hogs import Hogs
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.poison import Standing
from supervisor.core.scheduling.scheduler import BatchResult, Ready, Scheduler, Take
from supervisor.delivery.isolation import Suspects
from supervisor.delivery.records import PoolConnection, PoolWorker, SlotRecord
from supervisor.delivery.settlement import InflightBatch, Settlement
from supervisor.delivery.watchdog import Watchdog
from supervisor.queue import Queue, QueueUnavailable
from supervisor.runtime.clock import Clock
from supervisor.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

#: Seconds that a batch may run past its soft timeout before its worker is killed.
GRACE_S = 5.0
#: Seconds past soft timeout and grace for which deliveries stay leased.
LEASE_SLACK_S = 30.0
#: Seconds between two looks at which workers come round.
LOOK_S = 0.02
#: Seconds after which a look is late: what it finds may be the fault of a machine that stalled.
LATE_S = 2 * LOOK_S


def ready_in(queue: Queue, connection: str) -> Ready:
    """What a connection has in the queue, as its scheduler asks for it."""
    depth = queue.depth(connection)
    return Ready(depth.fresh, depth.next_retry_at, depth.size_bytes)


class Dispatcher:
    """That of one pool; `pool_workers`, `pool_connections` and `slots` are the pool's own records,
    as they change.

    `batch_timeout_s` is the soft limit in seconds of batches that are sent from now on.
    """

    def __init__(
        self,
        pool_workers: Mapping[int, PoolWorker],
        pool_connections: Mapping[str, PoolConnection],
        slots: Mapping[int, SlotRecord],
        *,
        batch_timeout_s: float,
        queue: Queue,
        scheduler: Scheduler,
        settlement: Settlement,
        suspects: Suspects,
        watchdog: Watchdog,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.batch_timeout_s = batch_timeout_s
        self.is_stopped = False
        self._pool_workers = pool_workers
        self._pool_connections = pool_connections
        self._slots = slots
        self._queue = queue
        self._scheduler = scheduler
        self._settlement = settlement
        self._suspects = suspects
        self._watchdog = watchdog
        self._metrics = metrics
        self._clock = clock
        self._running: dict[int, InflightBatch] = {}
        self._batch_ids = itertools.count(1)
        self._leasing = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_due = False
        self._look: asyncio.TimerHandle | None = None
        self._looked_at = float("-inf")
        self._hogs = Hogs()
        self._idle: asyncio.Event | None = None

    @property
    def inflight(self) -> int:
        """Deliveries that are with workers, unreported."""
        return sum(batch.unreported for batch in self._running.values())

    def stop(self) -> None:
        """Lease nothing any more; once more is no error."""
        self.is_stopped = True
        if self._alarm is not None:
            self._alarm.cancel()

    async def drained(self) -> None:
        """Return when no batch runs and every verdict is with the queue."""
        while self._running or self._leasing or not self._settlement.is_settled:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def tell_if_idle(self) -> None:
        """Something has ended: `drained` looks again."""
        if self._idle is not None:
            self._idle.set()

    # --- sending ---

    def work_came(self, connection: str) -> None:
        """The queue has something for a connection of this pool."""
        self._scheduler.work_came(connection)
        self.pump_soon()

    def removed(self, connection: str) -> None:
        """A connection left the pool."""
        self._hogs.forget(connection)

    def pump_soon(self) -> None:
        """Pump once in the next turn of the loop, however often this is called before it."""
        if not self._pump_due:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pump(self) -> None:
        """Send what may be sent now, and come back when something else may be."""
        self._pump_due = False
        if self.is_stopped:
            return
        now = self._clock()
        while (take := self._scheduler.next(now)) is not None:
            self._leasing += 1
            task = asyncio.get_running_loop().create_task(self._send(take))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._set_alarm(now)

    def _look_at_workers(self) -> None:
        """Who does not come round gets nothing more until it does; who keeps it is found out."""
        self._look = None
        now = self._clock()
        is_late, self._looked_at = now - self._looked_at > LATE_S, now
        for pool_worker in list(self._pool_workers.values()):
            if pool_worker.worker.state is not ProcessState.READY:
                continue  # it gets nothing anyway
            attention = pool_worker.attention
            if not pool_worker.batches:
                if attention.rested():
                    self.grant(pool_worker)
                continue
            self._watchdog.look_closely(pool_worker.worker)
            if pool_worker.worker.state is not ProcessState.READY:
                continue  # that was its end
            mark = pool_worker.worker.marked()
            at = mark.connection if mark is not None and mark.is_running else None
            if not is_late:
                self._hogs.looked(at, pool_worker.only, now)
            if attention.looked(pool_worker.worker.marker_page.beats, now):
                self.grant(pool_worker)
            if (
                at is not None
                and attention.is_away
                and attention.is_kept(at, pool_worker.worker.waited_s, now)
                and not is_late
                and (why := self._hogs.blocked(at, now, is_apart=pool_worker.only == at))
            ):
                self._suspects.hogged(at, why)
        for connection, why in self._hogs.found(now).items():
            self._suspects.hogged(connection, why)
        self._leave_to_hogs()
        self._look_soon()

    def _leave_to_hogs(self) -> None:
        """Who is set apart may have batches among the others still: these go elsewhere meanwhile.

        As long as there is an elsewhere.
        """
        shared = [
            pool_worker
            for pool_worker in self._pool_workers.values()
            if pool_worker.only is None
            and pool_worker.slot is not None
            and pool_worker.worker.state is ProcessState.READY
        ]
        theirs = {
            pool_worker.worker.number
            for pool_worker in shared
            if self._has_batches_of_unproven(pool_worker)
        }
        is_elsewhere = any(
            not pool_worker.attention.is_away and pool_worker.worker.number not in theirs
            for pool_worker in shared
        )
        for pool_worker in shared:
            is_taken = is_elsewhere and pool_worker.worker.number in theirs
            if is_taken is not pool_worker.is_taken:
                pool_worker.is_taken = is_taken
                self.grant(pool_worker)

    def _has_batches_of_unproven(self, pool_worker: PoolWorker) -> bool:
        return any(
            self._suspects.standing(batch.connection) is Standing.UNPROVEN
            for batch in pool_worker.batches.values()
        )

    def _look_soon(self) -> None:
        if self._look is None and self._running:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_at_workers)

    def grant(self, pool_worker: PoolWorker) -> None:
        """Have a worker given as many batches as it may have now."""
        number = pool_worker.worker.number
        if pool_worker.attention.is_away or pool_worker.is_taken:
            held = Counter(batch.connection for batch in pool_worker.batches.values())
            mark = pool_worker.worker.marked() if pool_worker.attention.is_away else None
            self._scheduler.worker_away(number, held, None if mark is None else mark.connection)
        else:
            self._scheduler.worker_granted(number, pool_worker.granted)
        self.pump_soon()

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

    async def _send(self, take: Take) -> None:
        most = self._suspects.most_events(take.connection)
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
        finally:
            self._leasing -= 1
        pool_worker = self._pool_workers.get(take.worker)
        pool_connection = self._pool_connections.get(take.connection)
        if lease is None:
            self._scheduler.nothing_leased(take, self._clock())
            self.pump_soon()
        elif (
            pool_worker is None
            or pool_connection is None
            or pool_worker.worker.state is not ProcessState.READY
            or not self._suspects.may_run(take.connection, pool_worker)
        ):
            # It died, or the connection went or was accused, while the lease was being read.
            self._settlement.unsent(lease)
            self._scheduler.sent(take, 0)
            self._scheduler.finished(
                take.connection, take.worker, BatchResult(), now=self._clock(), jitter=0.0
            )
            self.pump_soon()
        else:
            self._scheduler.sent(take, len(lease.deliveries))
            now = self._clock()
            batch = InflightBatch(
                next(self._batch_ids),
                pool_connection.name,
                pool_connection.destination,
                pool_worker.worker.number,
                lease,
                started=now,
                deadline=now + self.batch_timeout_s + GRACE_S,
                reported=bytearray(len(lease.deliveries)),
                retries=take.retries,
            )
            self._hand_over(pool_worker, pool_connection, batch)
        self.tell_if_idle()

    def send_part(
        self,
        pool_worker: PoolWorker,
        pool_connection: PoolConnection,
        batch: InflightBatch,
        indices: tuple[int, ...],
    ) -> InflightBatch:
        """Hand some of a batch to a worker, out of turn, as a batch of their own."""
        now = self._clock()
        deadline = now + self.batch_timeout_s + GRACE_S
        part = batch.part(next(self._batch_ids), pool_worker.worker.number, indices, now, deadline)
        self._hand_over(pool_worker, pool_connection, part)
        return part

    def _hand_over(
        self, pool_worker: PoolWorker, pool_connection: PoolConnection, batch: InflightBatch
    ) -> None:
        if pool_worker.configured.get(pool_connection.name) is not pool_connection:
            before = pool_worker.configured.get(pool_connection.name)
            if before is None or before.settings != pool_connection.settings:
                pool_worker.worker.configure(
                    pool_connection.name,
                    pool_connection.destination,
                    dict(pool_connection.settings),
                )
            pool_worker.configured[pool_connection.name] = pool_connection
        self._running[batch.id] = pool_worker.batches[batch.id] = batch
        self._look_soon()
        deliveries = batch.lease.deliveries
        if pool_worker.slot is not None:
            record = self._slots[pool_worker.slot]
            record.batches += 1
            record.events += len(deliveries)
        pool_worker.worker.running[batch.connection] += len(deliveries)
        self._hogs.given(batch.connection, len(deliveries))
        pool_worker.worker.send_batch(
            Batch(
                batch.id,
                pool_connection.name,
                self.batch_timeout_s,
                [delivery.body for delivery in deliveries],
            )
        )

    # --- what comes back ---

    def outcomes(self, pool_worker: PoolWorker, message: Outcomes) -> None:
        """Some of a batch has ended. Raises ProtocolError for one that the worker does not have."""
        batch = pool_worker.batches.get(message.batch)
        if batch is None:
            raise ProtocolError(f"outcomes of batch {message.batch}, which it does not have")
        self._settlement.outcomes(batch, message)

    def batch_done(self, pool_worker: PoolWorker, batch_id: int) -> None:
        """A batch has ended. Raises ProtocolError where it is not the worker's, or not all told."""
        batch = pool_worker.batches.get(batch_id)
        if batch is None:
            raise ProtocolError(f"end of batch {batch_id}, which it does not have")
        if batch.unreported:
            raise ProtocolError(f"batch {batch_id} ended with {batch.unreported} outcomes untold")
        now = self._clock()
        del pool_worker.batches[batch.id]
        del self._running[batch.id]
        pool_worker.finished += 1
        pool_worker.worker.worked[batch.connection] += len(batch.reported)
        pool_worker.worker.running[batch.connection] -= len(batch.reported)
        self._watchdog.batch_ended(pool_worker.worker)
        if not pool_worker.batches:
            pool_worker.idle_since = now
        seconds = now - batch.started
        self._metrics.batch_seconds(batch.connection, seconds)
        self._finished(batch)
        self._suspects.batch_done(pool_worker, batch, seconds, self.batch_timeout_s)
        # A worker that is free again shall not wait for the next turn of the loop.
        self.pump()

    def lost(self, batches: Iterable[InflightBatch]) -> None:
        """Their worker is buried, and what becomes of their deliveries is decided elsewhere."""
        for batch in batches:
            del self._running[batch.id]
            self._finished(batch)

    def _finished(self, batch: InflightBatch) -> None:
        now = self._clock()
        self._scheduler.finished(
            batch.connection,
            batch.worker,
            BatchResult(
                delivered=batch.delivered,
                failed=batch.failed,
                retried=batch.retried,
                congested=batch.congested,
                spoiled=batch.spoiled,
                retries=batch.retries,
                started=batch.started,
                why=batch.why,
            ),
            now=now,
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
        )
        self.tell_if_idle()
