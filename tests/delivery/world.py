"""A pool's shell on a real queue, with workers that are none: what it sends, and what it is told.

Owns a clock, the workers' behaviour and the account of every delivery: how often it was
sent, answered, and left without an answer by a worker that died. Scheduler, suspects,
verdicts and queue are the service's own. Must not draw: what happens next is for the test
to say.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from sandbox import protocol
from sandbox.protocol import Batch, BatchDone, Limits, Outcomes
from supervisor.core.effects import ExitReason
from supervisor.core.lifecycle.pool_layout import RestartPolicy
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.scheduling.retry import RetryPolicy
from supervisor.core.scheduling.scheduler import Terms
from supervisor.delivery.pool import PoolRunner
from supervisor.delivery.records import PoolConnection, PoolWorker
from supervisor.delivery.settlement import DeliveryWatch
from supervisor.delivery.tokens import TokenBroker
from supervisor.diagnostics.exits import ExitStore
from supervisor.insight.nothing import NOTHING
from supervisor.queue import NewEvent, Route
from supervisor.queue.sqlite.engine import SqliteQueue
from supervisor.state.backoff import BackoffStore
from supervisor.state.credentials import CredentialStore
from supervisor.state.tokens import MemoryTokenStore
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.handle import Exit, Listener
from supervisor.workers.spawn import PoolSpec
from tests.delivery.handles import StillWorker
from tests.queue.given import SPECS, SetClock, event, id_of, sqlite_queue

CREDITS = 2
TERMS = Terms(batch_events=5, batch_bytes=1 << 20, max_concurrency=2)
#: No batch is late and no lease runs out: here nobody waits for real time.
EVER_S = 1e9
_LIMITS = Limits(1 << 30, 1 << 30, 256, EVER_S)

#: A connection and a message id.
Which = tuple[str, str]


@dataclass(eq=False)
class Worker(StillWorker):
    """One that remembers its batches and tells the world of them."""

    world: World = field(kw_only=True)
    batches: dict[int, Batch] = field(default_factory=dict)
    reason: ExitReason | None = None

    def send_batch(self, batch: Batch) -> None:
        """Take a batch."""
        self.batches[batch.id] = batch
        self.world.was_sent(self, batch)

    def retire(self, reason: ExitReason) -> None:
        """Finish, then exit."""
        self.state, self.reason = ProcessState.DRAINING, reason


class World:
    """Events kill their worker where they are `poison`, and fail so often as `fails` says."""

    def __init__(self, directory: Path, poison: Iterable[str], fails: dict[str, int]) -> None:
        self.directory = directory
        self.clock = SetClock()
        self.poison, self.fails = frozenset(poison), fails
        self.restarts = 0
        self.is_down = self.is_stopping = False
        self.reports_early = False
        self.numbers = itertools.count(1)
        self.accepted: set[Which] = set()
        self.sent: Counter[Which] = Counter()
        self.answered: Counter[Which] = Counter()
        #: left without an answer by a worker that died, and how often of those by a death that
        #: charges nobody: by no event's fault, or of a worker that was told to leave
        self.silent: Counter[Which] = Counter()
        self.bad_luck: Counter[Which] = Counter()
        self.done: set[Which] = set()
        self.workers: dict[int, Worker] = {}
        self.metrics = Metrics("test")
        self.watch: DeliveryWatch = NOTHING
        self.exits = ExitStore(directory, str)
        self.zygote = SimpleNamespace(died_within=lambda _: False)
        self._children = itertools.count(1)

    # --- life ---

    async def start(self) -> None:
        """The queue on its files, and a new shell on it."""
        self.queue: SqliteQueue = sqlite_queue(self.directory, self.clock)
        fleet = SimpleNamespace(numbers=self._children, spawn=self._spawn, zygote=self.zygote)
        self.runner = PoolRunner(
            PoolSpec("p", 2, 1, EVER_S, _LIMITS, "strict", None, (), ()),
            queue=self.queue,
            fleet=cast(Any, fleet),  # Any: as much of it as a shell asks for
            metrics=self.metrics,
            watch=self.watch,
            exits=self.exits,
            clock=self.clock,
            retry=RetryPolicy(EVER_S, 1.0, 10.0),
            broker=cast(Any, None),  # Any: nobody connects here
            backoff_store=BackoffStore(self.directory, self.clock),
            credential_store=CredentialStore(self.directory),
            tokens=TokenBroker(MemoryTokenStore(), lambda owner, secrets: None),
            redact=str,
            begin_snapshot=cast(Any, None),  # Any: nobody runs out of memory here
        )
        # Deaths are what this is about: the pool shall not wait after them.
        self.runner.layout.policy = RestartPolicy(0.0, 0.0, sys.maxsize)
        await self.queue.start(SPECS, lambda name: self.runner.work_came(name))
        self.runner.start()
        egress_policy = cast(Any, None)  # Any: see above
        self.runner.set_connections(
            [PoolConnection(name, name, {}, TERMS, None, egress_policy) for name in SPECS]
        )
        await self.calm()

    async def stop(self, *, finish: bool) -> None:
        """Drain: batches that run are finished, or their workers killed when time is up."""
        self.is_stopping = True
        self.runner.stop_sending()
        for worker in self.busy():
            if finish:
                self.work(worker)
        self.runner.shut()
        for worker in list(self.workers.values()):
            self.die(worker, ExitReason.DRAIN, "still running", is_luck=True)
        await self.runner.drained()
        await self.queue.close()
        self.is_stopping = False

    async def calm(self) -> None:
        """Return when nothing is on its way between queue, shell and workers."""
        async with asyncio.timeout(30):
            while True:
                await self.runner.idle()
                over = [
                    worker
                    for worker in self.workers.values()
                    if worker.state is ProcessState.DRAINING and not worker.batches
                ]
                if not over:
                    return
                for worker in over:
                    assert worker.reason is not None
                    self.die(worker, worker.reason, "", is_luck=True)

    # --- workers ---

    def _spawn(self, order: protocol.Spawn, listener: Listener) -> Worker:
        self.listener = listener
        worker = self.workers[order.child] = Worker(order.child, limits=_LIMITS, world=self)
        return worker

    def starting(self) -> list[Worker]:
        """Those that could become ready."""
        return [one for one in self.workers.values() if one.state is ProcessState.STARTING]

    def busy(self) -> list[Worker]:
        """Those that have a batch."""
        return [one for one in self.workers.values() if one.batches]

    def ready(self, worker: Worker) -> None:
        """It takes batches."""
        worker.state, worker.ready_at = ProcessState.READY, time.monotonic()
        self.listener.ready(worker, CREDITS, {})

    def was_sent(self, worker: Worker, batch: Batch) -> None:
        """Every send comes by here."""
        at_work = {
            which
            for other in self.workers.values()
            for other_batch in other.batches.values()
            if other_batch is not batch
            for which in _named(other_batch)
        }
        for which in _named(batch):
            assert which in self.accepted
            assert which not in self.done, "sent after its last answer"
            assert which not in at_work, "with two workers at once"
            self.sent[which] += 1

    def work(self, worker: Worker) -> None:
        """One batch runs to its end, or to the worker's."""
        batch = next(iter(worker.batches.values()))
        named = _named(batch)
        bad = next((n for n, (_, name) in enumerate(named) if name in self.poison), None)
        if bad is not None:
            if self.reports_early:
                self._answer(worker, batch, range(bad))
            # One that was told to leave: nobody is charged, so that it is all to come again.
            is_leaving = worker.state is ProcessState.DRAINING
            self.die(worker, ExitReason.SIGNAL, "SIGSEGV", is_luck=is_leaving)
            return
        self._answer(worker, batch, range(len(named)))
        del worker.batches[batch.id]
        self.listener.said(worker, BatchDone(batch.id))

    def raise_error(self, worker: Worker) -> None:
        """The destination raises: each event of the batch is to be tried alone."""
        batch = next(iter(worker.batches.values()))
        for which in _named(batch):
            self.answered[which] += 1
        outcomes: list[tuple[int, protocol.OutcomeCode, str, float | None]] = [
            (n, protocol.OutcomeCode.RETRY_ALONE, "Oops", None) for n in range(len(batch.events))
        ]
        self.listener.said(worker, Outcomes(batch.id, outcomes))
        del worker.batches[batch.id]
        self.listener.said(worker, BatchDone(batch.id))

    def _answer(self, worker: Worker, batch: Batch, indices: Iterable[int]) -> None:
        outcomes: list[tuple[int, protocol.OutcomeCode, str, float | None]] = []
        for index, which in enumerate(_named(batch)):
            if index not in indices:
                continue
            if self.is_down:
                outcomes.append((index, protocol.OutcomeCode.SERVER, "status 500", None))
            elif self.answered[which] < self.fails.get(which[1], 0):
                outcomes.append((index, protocol.OutcomeCode.THROTTLED, "status 429", 2.0))
            else:
                outcomes.append((index, protocol.OutcomeCode.DELIVERED, "", None))
                self.done.add(which)
            self.answered[which] += 1
        if outcomes:
            self.listener.said(worker, Outcomes(batch.id, outcomes))

    def die(
        self, worker: Worker, reason: ExitReason, detail: str, *, is_luck: bool = False
    ) -> None:
        """It is gone; `is_luck`: for no fault of an event that it had, or none is charged."""
        reported = {
            batch.id: bytes(batch.reported) for batch in self._pool_worker(worker).batches.values()
        }
        for batch in worker.batches.values():
            for index, which in enumerate(_named(batch)):
                if not reported[batch.id][index]:
                    self.silent[which] += 1
                    self.bad_luck[which] += is_luck or self.is_stopping
        worker.state = ProcessState.GONE
        self.listener.vacated(worker)
        del self.workers[worker.number]
        end = Exit(reason, detail, worker.ready_at is not None, self.clock.now, None)
        self.listener.gone(worker, end)

    def _pool_worker(self, worker: Worker) -> PoolWorker:
        found = self.runner.state.worker(worker.number)
        assert found is not None
        return found

    # --- what else happens ---

    async def accept(self, connections: tuple[str, ...], n: int) -> None:
        """Events come, for each of these connections."""
        names = [f"m{number}" for number in itertools.islice(self.numbers, n)]
        route = Route(pending=connections)
        self.accepted |= {(one, name) for one in connections for name in names}
        events: list[NewEvent] = [event(name, route) for name in names]
        assert all(await self.queue.append("web", events, self.clock.now))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.now += seconds
        self.runner.tick()
        self.runner.pump_soon()

    # --- what came of it ---

    async def attempts(self) -> dict[Which, int]:
        """Of every delivery, as the queue tells who asks."""
        found: dict[Which, int] = {}
        for name in {name for _, name in self.accepted}:
            for record in await self.queue.find(name):
                for delivery in record.deliveries:
                    found[delivery.connection, name] = delivery.attempts
        return found

    async def attempts_counted(self) -> float:
        """Of all deliveries, as Prometheus reads it."""
        page = (await self.metrics.scrape()).decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == "bulkhead_attempts_total"
        )


def _named(batch: Batch) -> list[Which]:
    return [(batch.connection, id_of(bytes(body))) for body in batch.events]
