"""What one pool sends, and what comes back: from a turn to a batch to its verdicts.

The shell around `core/scheduling/scheduler.py`: leases deliveries from the queue whenever something
may be sent, hands them to workers, and has what is said of them judged. Must not decide
which workers there are: it finds them in the pool's own `posts`.
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
from supervisor.core.lifecycle.worker_state import State
from supervisor.core.poison import Standing
from supervisor.core.scheduling.scheduler import Batch as Told
from supervisor.core.scheduling.scheduler import Ready, Scheduler, Take
from supervisor.delivery.isolation import Suspects
from supervisor.delivery.records import Lane, Post, SlotRecord
from supervisor.delivery.settlement import Judge, Run
from supervisor.delivery.watchdog import Guard
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


class Sender:
    """That of one pool; `posts`, `lanes` and `slots` are the pool's own records, as they change.

    `batch_timeout_s` is the soft limit in seconds of batches that are sent from now on.
    """

    def __init__(
        self,
        posts: Mapping[int, Post],
        lanes: Mapping[str, Lane],
        slots: Mapping[int, SlotRecord],
        *,
        batch_timeout_s: float,
        queue: Queue,
        scheduler: Scheduler,
        judge: Judge,
        suspects: Suspects,
        guard: Guard,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.batch_timeout_s = batch_timeout_s
        self.is_stopped = False
        self._posts = posts
        self._lanes = lanes
        self._slots = slots
        self._queue = queue
        self._scheduler = scheduler
        self._judge = judge
        self._suspects = suspects
        self._guard = guard
        self._metrics = metrics
        self._clock = clock
        self._running: dict[int, Run] = {}
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
        return sum(run.unreported for run in self._running.values())

    def stop(self) -> None:
        """Lease nothing any more; once more is no error."""
        self.is_stopped = True
        if self._alarm is not None:
            self._alarm.cancel()

    async def drained(self) -> None:
        """Return when no batch runs and every verdict is with the queue."""
        while self._running or self._leasing or not self._judge.is_settled:
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
        for post in list(self._posts.values()):
            if post.worker.state is not State.READY:
                continue  # it gets nothing anyway
            attention = post.attention
            if not post.batches:
                if attention.rested():
                    self.grant(post)
                continue
            self._guard.look_closely(post.worker)
            if post.worker.state is not State.READY:
                continue  # that was its end
            mark = post.worker.marked()
            at = mark.connection if mark is not None and mark.is_running else None
            if not is_late:
                self._hogs.looked(at, post.only, now)
            if attention.looked(post.worker.box.beats, now):
                self.grant(post)
            if (
                at is not None
                and attention.is_away
                and attention.is_kept(at, post.worker.waited_s, now)
                and not is_late
                and (why := self._hogs.blocked(at, now, is_apart=post.only == at))
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
            post
            for post in self._posts.values()
            if post.only is None and post.slot is not None and post.worker.state is State.READY
        ]
        theirs = {post.worker.number for post in shared if self._has_batches_of_unproven(post)}
        is_elsewhere = any(
            not post.attention.is_away and post.worker.number not in theirs for post in shared
        )
        for post in shared:
            is_taken = is_elsewhere and post.worker.number in theirs
            if is_taken is not post.is_taken:
                post.is_taken = is_taken
                self.grant(post)

    def _has_batches_of_unproven(self, post: Post) -> bool:
        return any(
            self._suspects.standing(run.connection) is Standing.UNPROVEN
            for run in post.batches.values()
        )

    def _look_soon(self) -> None:
        if self._look is None and self._running:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_at_workers)

    def grant(self, post: Post) -> None:
        """Have a worker given as many batches as it may have now."""
        number = post.worker.number
        if post.attention.is_away or post.is_taken:
            held = Counter(run.connection for run in post.batches.values())
            mark = post.worker.marked() if post.attention.is_away else None
            self._scheduler.worker_away(number, held, None if mark is None else mark.connection)
        else:
            self._scheduler.worker_granted(number, post.granted)
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
        post = self._posts.get(take.worker)
        lane = self._lanes.get(take.connection)
        if lease is None:
            self._scheduler.nothing_leased(take, self._clock())
            self.pump_soon()
        elif (
            post is None
            or lane is None
            or post.worker.state is not State.READY
            or not self._suspects.may_run(take.connection, post)
        ):
            # It died, or the connection went or was accused, while the lease was being read.
            self._judge.unsent(lease)
            self._scheduler.sent(take, 0)
            self._scheduler.finished(
                take.connection, take.worker, Told(), now=self._clock(), jitter=0.0
            )
            self.pump_soon()
        else:
            self._scheduler.sent(take, len(lease.deliveries))
            now = self._clock()
            run = Run(
                next(self._batch_ids),
                lane.name,
                lane.destination,
                post.worker.number,
                lease,
                started=now,
                deadline=now + self.batch_timeout_s + GRACE_S,
                told=bytearray(len(lease.deliveries)),
                retries=take.retries,
            )
            self._hand_over(post, lane, run)
        self.tell_if_idle()

    def send_part(self, post: Post, lane: Lane, run: Run, indices: tuple[int, ...]) -> Run:
        """Hand some of a batch to a worker, out of turn, as a batch of their own."""
        now = self._clock()
        deadline = now + self.batch_timeout_s + GRACE_S
        part = run.part(next(self._batch_ids), post.worker.number, indices, now, deadline)
        self._hand_over(post, lane, part)
        return part

    def _hand_over(self, post: Post, lane: Lane, run: Run) -> None:
        if post.configured.get(lane.name) is not lane:
            before = post.configured.get(lane.name)
            if before is None or before.settings != lane.settings:
                post.worker.configure(lane.name, lane.destination, dict(lane.settings))
            post.configured[lane.name] = lane
        self._running[run.id] = post.batches[run.id] = run
        self._look_soon()
        deliveries = run.lease.deliveries
        if post.slot is not None:
            record = self._slots[post.slot]
            record.batches += 1
            record.events += len(deliveries)
        post.worker.running[run.connection] += len(deliveries)
        self._hogs.given(run.connection, len(deliveries))
        post.worker.send_batch(
            Batch(
                run.id,
                lane.name,
                self.batch_timeout_s,
                [delivery.body for delivery in deliveries],
            )
        )

    # --- what comes back ---

    def outcomes(self, post: Post, message: Outcomes) -> None:
        """Some of a batch has ended. Raises ProtocolError for one that the worker does not have."""
        run = post.batches.get(message.batch)
        if run is None:
            raise ProtocolError(f"outcomes of batch {message.batch}, which it does not have")
        self._judge.outcomes(run, message)

    def batch_done(self, post: Post, batch: int) -> None:
        """A batch has ended. Raises ProtocolError where it is not the worker's, or not all told."""
        run = post.batches.get(batch)
        if run is None:
            raise ProtocolError(f"end of batch {batch}, which it does not have")
        if run.unreported:
            raise ProtocolError(f"batch {batch} ended with {run.unreported} outcomes untold")
        now = self._clock()
        del post.batches[run.id]
        del self._running[run.id]
        post.finished += 1
        post.worker.worked[run.connection] += len(run.told)
        post.worker.running[run.connection] -= len(run.told)
        self._guard.batch_ended(post.worker)
        if not post.batches:
            post.idle_since = now
        seconds = now - run.started
        self._metrics.batch_seconds(run.connection, seconds)
        self._finished(run)
        self._suspects.batch_done(post, run, seconds, self.batch_timeout_s)
        # A worker that is free again shall not wait for the next turn of the loop.
        self.pump()

    def lost(self, runs: Iterable[Run]) -> None:
        """Their worker is buried, and what becomes of their deliveries is decided elsewhere."""
        for run in runs:
            del self._running[run.id]
            self._finished(run)

    def _finished(self, run: Run) -> None:
        now = self._clock()
        self._scheduler.finished(
            run.connection,
            run.worker,
            Told(
                delivered=run.delivered,
                failed=run.failed,
                retried=run.retried,
                congested=run.congested,
                spoiled=run.spoiled,
                retries=run.retries,
                started=run.started,
                why=run.why,
            ),
            now=now,
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
        )
        self.tell_if_idle()
