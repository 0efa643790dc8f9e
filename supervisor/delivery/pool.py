"""One pool at work: its workers, its scheduler, and the batches in between.

The shell around `core/lifecycle/pool_layout.py`: has workers forked, placed, replaced and
retired, and hears what they say. What they are sent is `dispatcher.py`'s, which of them are late
`deadlines.py`'s. A returned batch and a dead worker go through the same function: every
delivery of a batch gets a verdict, exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import structlog

from sandbox.protocol import (
    MAX_DETAIL,
    BatchDone,
    Begun,
    FromWorker,
    FromWorkerChannel,
    Gathered,
    Limits,
    Log,
    Outcomes,
    OutOfMemory,
    ProtocolError,
    Stats,
    Stray,
)
from supervisor.core.effects import Assign, ExitReason, Isolate, Retire, Wake
from supervisor.core.effects import Spawn as SpawnEffect
from supervisor.core.lifecycle.pool_layout import Effect, Pool
from supervisor.core.scheduling.retry import RetryPolicy
from supervisor.core.scheduling.scheduler import Scheduler
from supervisor.delivery.deadlines import Deadlines
from supervisor.delivery.dispatcher import Sender, ready_in
from supervisor.delivery.exit_record import exit_record
from supervisor.delivery.isolation import Suspects
from supervisor.delivery.records import Lane, Post, SlotRecord
from supervisor.delivery.settlement import Judge, Run
from supervisor.delivery.watchdog import Guard
from supervisor.diagnostics.collector import Gatherer
from supervisor.diagnostics.exits import ExitStore
from supervisor.diagnostics.snapshots import Snapshot
from supervisor.egress.broker import Broker, Desk
from supervisor.egress.policy import Reach
from supervisor.queue import Queue
from supervisor.runtime.clock import Clock
from supervisor.state.backoff import Holds
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.fleet import Workforce
from supervisor.workers.log_lines import log_line, log_printed, log_stray
from supervisor.workers.output import Printed
from supervisor.workers.process import Exit, Worker
from supervisor.workers.spawn import PoolPlan

_log = structlog.get_logger(__name__)

#: A worker that dies within so many seconds of a zygote died of the same cause: of nobody's batch.
TOGETHER_S = 1.0


#: Begins a snapshot of (pool, worker), kept under (reason, connection to blame).
TakeSnapshot = Callable[[str, Worker, str, str | None], asyncio.Task[Snapshot | None]]


class PoolShell:
    """Runs one pool. Implements `process.Listener` and `isolation.Host`."""

    def __init__(
        self,
        plan: PoolPlan,
        *,
        queue: Queue,
        force: Workforce,
        metrics: Metrics,
        exits: ExitStore,
        clock: Clock,
        retry: RetryPolicy,
        broker: Broker,
        holds: Holds,
        take_snapshot: TakeSnapshot,
    ) -> None:
        self.plan = plan
        self.lanes: dict[str, Lane] = {}
        self.slots: dict[int, SlotRecord] = {}
        self.layers: dict[str, str] = {}
        self._force = force
        self._metrics = metrics
        self._exits = exits
        self._clock = clock
        self._broker = broker
        self.gatherer = Gatherer()
        self._holds = holds
        self._take_snapshot = take_snapshot
        self.scheduler = Scheduler(partial(ready_in, queue))
        self._core = Pool(force.numbers, plan.workers, plan.spares)
        self._posts: dict[int, Post] = {}
        self._judge = Judge(
            queue=queue,
            metrics=metrics,
            clock=clock,
            retry=retry,
            asked_to_wait=self._asked_to_wait,
            on_settled=lambda: self.sender.tell_if_idle(),
        )
        self.suspects = Suspects(
            self,
            self.lanes,
            queue=queue,
            scheduler=self.scheduler,
            judge=self._judge,
            metrics=metrics,
            clock=clock,
        )
        self._wake: asyncio.TimerHandle | None = None
        self._deadlines = Deadlines(
            self._posts,
            suspects=self.suspects,
            gatherer=self.gatherer,
            clock=clock,
            recycle=lambda child, now: self._carry_out(self._core.recycled(child, now)),
        )
        self.guard = Guard(self)
        self.sender = Sender(
            self._posts,
            self.lanes,
            self.slots,
            batch_timeout_s=plan.batch_timeout_s,
            queue=queue,
            scheduler=self.scheduler,
            judge=self._judge,
            suspects=self.suspects,
            guard=self.guard,
            metrics=metrics,
            clock=clock,
        )
        self._failure = ""

    # --- life ---

    def start(self) -> None:
        """Fork the workers."""
        self._carry_out(self._core.started(self._clock()))
        self._deadlines.start()
        self.guard.start()

    def apply(self, plan: PoolPlan, retry: RetryPolicy, *, renew: bool) -> bool:
        """Follow the config; `renew` replaces the workers. Whether they are replaced."""
        # Destinations are imported, and limits taken on, once in a worker's life.
        renew |= (plan.destinations, plan.limits) != (self.plan.destinations, self.plan.limits)
        self.plan, self._judge.retry = plan, retry
        self.sender.batch_timeout_s = plan.batch_timeout_s
        now = self._clock()
        self._carry_out(self._core.resized(plan.workers, plan.spares, now))
        if renew:
            self.guard.renewed()
            self._carry_out(self._core.renewed(now))
        return renew

    def set_lanes(self, lanes: Iterable[Lane]) -> None:
        """Follow the config's connections of this pool."""
        wanted = {lane.name: lane for lane in lanes}
        for name in self.lanes.keys() - wanted.keys():
            self.scheduler.removed(name)
            self.suspects.removed(name)
            self.sender.removed(name)
        self.lanes.clear()
        self.lanes |= wanted
        for lane in wanted.values():
            self.scheduler.opened(lane.name, lane.terms, lane.closed)
            # What a destination asked for before a restart still holds.
            self.scheduler.asked_to_wait(lane.name, self._holds.until(lane.name))
        self.sender.pump_soon()

    def _asked_to_wait(self, connection: str, until: float) -> None:
        self.scheduler.asked_to_wait(connection, until)
        self._holds.asked(connection, until)

    def recycle(self, slot: int) -> bool:
        """Drain and replace the worker of a slot; False where it has none."""
        child = self._core.slots.get(slot)
        if child is None:
            return False
        self._carry_out(self._core.recycled(child, self._clock()))
        return True

    def take_evidence(self, worker: Worker, reason: str, connection: str | None) -> None:
        """Have a snapshot of its heap taken, once; it stays for that long."""
        post = self._posts[worker.number]
        if post.evidence is None and not self.sender.is_stopped:
            post.evidence = self._take_snapshot(self.plan.name, worker, reason, connection)

    def replace(self, worker: Worker, reason: ExitReason, *, at_once: bool) -> bool:
        """Put another worker in the place of one that serves, which then finishes and exits.

        Not `at_once`: only where a spare is ready, and nobody else of the pool is leaving.
        """
        others = [post for post in self._posts.values() if post.worker is not worker]
        if not at_once and (
            any(post.is_leaving for post in others) or (self.plan.spares and not self._core.spares)
        ):
            return False
        effects = self._core.recycled(worker.number, self._clock(), reason)
        self._carry_out(effects)
        return bool(effects)

    def used_up(self, connection: str, reason: ExitReason, detail: str) -> None:
        """This connection has left a worker with nothing of what all need."""
        self.suspects.used_up(connection, reason, detail)

    def narrow(self, worker: Worker, *, is_narrow: bool) -> None:
        """Give a worker one batch at a time, or as many as it takes."""
        post = self._posts.get(worker.number)
        if post is not None:
            post.is_narrow = is_narrow
            self.sender.grant(post)

    def stop_sending(self) -> None:
        """Lease nothing any more."""
        self.sender.stop()
        self.suspects.draining()

    def shut(self) -> None:
        """Tell every worker to finish and exit."""
        self.sender.stop()
        self._carry_out(self._core.shut())
        if self._wake is not None:
            self._wake.cancel()
        self._close_if_over()

    def _close_if_over(self) -> None:
        """Stop looking at deadlines once the pool is shut and its workers are gone."""
        if self._core.closed and not self._posts:
            self._deadlines.stop()
            self.guard.stop()

    # --- what is to be seen ---

    @property
    def name(self) -> str:
        """What the config calls it."""
        return self.plan.name

    @property
    def limits(self) -> Limits:
        """What new workers are forked under."""
        return self.plan.limits

    def living(self) -> list[Worker]:
        """All that were asked for and are not gone."""
        return [post.worker for post in self._posts.values()]

    @property
    def is_failing(self) -> bool:
        """No worker serves, and starts fail."""
        return self._core.is_failing

    @property
    def posts_serving(self) -> int:
        """Slots that have a worker."""
        return len(self._core.children())

    @property
    def slots_wanted(self) -> range:
        """Numbers of the slots that the config asks for."""
        return range(1, self._core.slots_wanted + 1)

    @property
    def failure(self) -> str:
        """Why the last start failed, "" where none did."""
        return self._failure

    def spare_posts(self) -> list[Post]:
        """Workers that are ready and wait, oldest first."""
        return [self._posts[child] for child in self._core.spares]

    def posts_apart(self) -> list[Post]:
        """Workers that serve one connection alone."""
        return [self._posts[child] for child in self._core.cells.values() if child in self._posts]

    @property
    def pause_s(self) -> float:
        """Seconds until dead workers are replaced again, 0 where they are at once."""
        return self._core.pause_s(self._clock())

    def posts(self) -> dict[int, Post | None]:
        """Who serves in which slot."""
        return {
            slot: None if child is None else self._posts.get(child)
            for slot, child in sorted(self._core.slots.items())
        }

    # --- decisions carried out ---

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SpawnEffect(child=child):
                    self._spawn(child)
                case Assign(child=child, slot=slot):
                    self._assign(child, slot)
                case Isolate(child=child, connection=connection):
                    self._set_apart(child, connection)
                case Retire(child=child, reason=reason):
                    self._retire(child, reason)
                case Wake(at=at):
                    self._plan_wake(at)

    def _spawn(self, child: int) -> None:
        order = self.plan.order(child, f"{self.plan.name}#{child}", declare=False)
        worker = self._force.spawn(order, self)
        desk = Desk(
            self._broker,
            reach_of=lambda connection: self._reach_of(child, connection),
            send=worker.channel.send,
            condemn=lambda why: worker.kill(ExitReason.EGRESS, why),
        )
        self._posts[child] = Post(worker, desk)

    def _reach_of(self, child: int, connection: str) -> Reach | None:
        """What a worker may reach for a connection: as the config says now, or said at its end."""
        given = self._posts[child].configured.get(connection)
        return None if given is None else self.lanes.get(connection, given).reach

    def _assign(self, child: int, slot: int) -> None:
        post = self._posts[child]
        post.slot = slot
        post.worker.come_forward()
        post.worker.label = f"{self.plan.name}-{slot}"
        record = self.slots.setdefault(slot, SlotRecord())
        record.processes += 1
        self.scheduler.worker_came(child, post.credits)
        _log.info(
            "worker_serves", pool=self.plan.name, worker=post.worker.label, pid=post.worker.pid
        )
        self.sender.pump()

    def _set_apart(self, child: int, connection: str) -> None:
        post = self._posts[child]
        post.only = connection
        post.worker.give_way()
        post.worker.label = f"{self.plan.name}:{connection}"
        _log.info(
            "worker_serves_apart",
            pool=self.plan.name,
            worker=post.worker.label,
            pid=post.worker.pid,
            connection=connection,
        )
        self.suspects.came(post)
        self.sender.pump_soon()

    def _retire(self, child: int, reason: ExitReason) -> None:
        post = self._posts.get(child)
        if post is None:
            return
        self.scheduler.worker_left(child)
        post.is_leaving = True
        if post.evidence is not None and post.is_giving_evidence:
            # Its copy would end with it. It gets no work any more, and its place is taken.
            post.evidence.add_done_callback(lambda _: self._let_go(post, reason))
        else:
            self._let_go(post, reason)

    def _let_go(self, post: Post, reason: ExitReason) -> None:
        if not post.batches:
            post.idle_since = self._clock()
        post.worker.retire(reason)

    def _plan_wake(self, at: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        delay = max(0.0, at - self._clock())
        self._wake = asyncio.get_running_loop().call_later(delay, self._woke)

    def _woke(self) -> None:
        self._carry_out(self._core.woke(self._clock()))

    # --- suspects.Host ---

    def isolate(self, connection: str) -> None:
        """Get a worker for this connection alone."""
        self._carry_out(self._core.isolated(connection, self._clock()))

    def rejoin(self, connection: str) -> None:
        """That worker is not needed any more, or was not yet there."""
        self._carry_out(self._core.rejoined(connection, self._clock()))
        self.sender.pump_soon()

    def try_again(self, post: Post, lane: Lane, run: Run, indices: tuple[int, ...]) -> Run:
        """Hand some of a batch to a worker, out of turn, as a batch of their own."""
        return self.sender.send_part(post, lane, run, indices)

    # --- workers.Listener ---

    def ready(self, worker: Worker, credits: int, layers: dict[str, str]) -> None:
        """A worker has started: a slot for it, or it waits as a spare."""
        if not 0 < credits <= 1024:
            worker.kill(ExitReason.PROTOCOL, f"it grants {credits} credits")
            return
        self._posts[worker.number].credits = credits
        self.layers = layers
        self._metrics.worker_start_seconds(self.plan.name, time.monotonic() - worker.asked_at)
        self._carry_out(self._core.child_ready(worker.number, self._clock()))

    def said(self, worker: Worker, message: FromWorker) -> None:
        """Outcomes, mostly. Raises ProtocolError where it is out of turn."""
        post = self._posts[worker.number]
        match message:
            case Outcomes():
                self.sender.outcomes(post, message)
            case BatchDone():
                self.sender.batch_done(post, message.batch)
            case OutOfMemory():
                if len(message.text) > MAX_DETAIL or message.connection not in post.configured:
                    raise ProtocolError("out of memory in a connection that it does not have")
                self.guard.ran_out(worker, message)
            case Stray():
                if len(message.text) > MAX_DETAIL or message.connection not in (
                    "",
                    *post.configured,
                ):
                    raise ProtocolError("a stray exception of a connection that it does not have")
                log_stray(self.name, worker, message, self._metrics)
            case Stats():
                if message.connection not in ("", *post.configured):
                    raise ProtocolError("open files of a connection that it does not have")
                post.loop_lag_s, post.running_batches = message.loop_lag_s, message.tasks
                self.guard.told_open_files(worker, message.open_files, message.connection)
                self._metrics.loop_lag(worker.label, message.loop_lag_s)
            case Log():
                if len(message.text) > MAX_DETAIL or len(message.connection) > MAX_DETAIL:
                    raise ProtocolError("a log line longer than any honest one")
                log_line(self.name, worker, message, post.configured, self._metrics)
            case Begun() | Gathered():
                self.gatherer.said(worker, message)
            case _:
                raise ProtocolError(f"{type(message).__name__} from a worker that serves")

    def asked(self, worker: Worker, message: FromWorkerChannel) -> None:
        """It wants to be connected. Raises ProtocolError where it is out of turn."""
        self._posts[worker.number].desk.said(message)

    def printed(self, worker: Worker, printed: Printed) -> None:
        """It wrote past Python: in the log under whose step ran, as far as one can tell."""
        mark = worker.marked()
        connection = None if mark is None else mark.connection
        self._metrics.output_bytes(connection or "", printed.size_bytes)
        log_printed(worker, printed, connection)

    def vacated(self, worker: Worker) -> None:
        """A worker is dead or as good as: its slot to a spare, which can work at once."""
        self._posts[worker.number].desk.close()
        self.scheduler.worker_left(worker.number)
        self._carry_out(
            self._core.child_gone(
                worker.number,
                was_ready=worker.ready_at is not None,
                has_worked=self._posts[worker.number].finished > 0,
                now=self._clock(),
            )
        )

    def gone(self, worker: Worker, end: Exit) -> None:
        """It is buried: what it had is released, or under suspicion."""
        post = self._posts.pop(worker.number)
        self.gatherer.gone(worker)
        batches = list(post.batches.values())
        record = self._exits.add(exit_record(self.plan.name, post, end), end.stacks)
        _log.log(
            20 if end.reason in (ExitReason.DRAIN, ExitReason.RECYCLE) else 30,
            "worker_exited",
            pool=self.plan.name,
            worker=worker.label,
            pid=worker.pid,
            reason=end.reason,
            detail=end.detail,
            connection=record.connection,
            connections=record.connections,
            unreported=record.unreported,
            exit=record.id,
        )
        self._metrics.worker_exit(self.plan.name, end.reason)
        is_ours = self.sender.is_stopped or self._force.zygote.died_within(TOGETHER_S)
        if post.slot is not None:
            self.slots[post.slot].last_exit = record
        if not end.was_ready:
            self._failure = f"a worker did not start: {end.reason} ({end.detail})"
        elif not is_ours:
            self._failure = f"a worker died: {end.reason} ({end.detail})"
        end = replace(end, connection=record.connection)
        self.suspects.died(post, end, record.id, is_ours=is_ours)
        self.sender.lost(batches)
        self.sender.pump()
        self._close_if_over()
