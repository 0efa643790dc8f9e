"""PoolLayout, scheduler, suspects and health together, through random histories.

A small model of everything around them: a queue of numbers, workers that die
when they run poison, a clock of our own. The invariants are those of the
service: nothing is lost or finished twice, no slot is without a plan, innocents
are spared, no event is sent more often than its attempts and its workers' deaths
say, and whatever happened, in the end each event has its verdict.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.core.effects import Assign, ExitReason, Fork, Isolate, Retire, Wake
from supervisor.core.lifecycle.pool_layout import CELLS_MOST, Effect, PoolLayout
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.scheduling.breaker import BreakerPolicy
from supervisor.core.scheduling.scheduler import BatchResult as Told
from supervisor.core.scheduling.scheduler import Ready, Scheduler, Terms
from supervisor.delivery.isolation import Suspects
from supervisor.delivery.records import PoolConnection, PoolWorker
from supervisor.delivery.settlement import InflightBatch
from supervisor.queue import Delivery, Lease
from supervisor.workers.process import Exit, Mark

CREDITS = 2
#: A breaker that opens soon, so that short histories have probes in them.
TERMS = Terms(
    batch_events=5,
    batch_bytes=1000,
    max_concurrency=2,
    breaker=BreakerPolicy(failures_allowed=2, events_least=4),
)
#: Seconds until another attempt.
AGAIN_S = 1.0


@dataclass
class World:
    """The shell, in little. Events are numbers, and `poison` are those that kill."""

    names: tuple[str, ...]
    poison: frozenset[int]
    hints: str
    slots: int
    spares: int
    now: float = 1000.0
    fresh: dict[str, list[int]] = field(default_factory=dict)
    alone: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    later: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    #: as the queue counts them, and sends that were lost with their worker
    attempts: Counter[int] = field(default_factory=Counter)
    lost: Counter[int] = field(default_factory=Counter)
    delivered: Counter[int] = field(default_factory=Counter)
    quarantined: Counter[int] = field(default_factory=Counter)
    sent: Counter[int] = field(default_factory=Counter)
    released: Counter[int] = field(default_factory=Counter)
    shot: Counter[int] = field(default_factory=Counter)
    accepted: set[int] = field(default_factory=set)
    starting: set[int] = field(default_factory=set)
    pool_workers: dict[int, PoolWorker] = field(default_factory=dict)
    running: dict[int, InflightBatch] = field(default_factory=dict)
    wake_at: float | None = None
    deaths: int = 0

    def __post_init__(self) -> None:
        self.ids = itertools.count(1)
        self.events = itertools.count(1)
        self.scheduler = Scheduler(self.look)
        self.pool = PoolLayout(itertools.count(1), self.slots, self.spares)
        self.pool_connections: dict[str, PoolConnection] = {}
        for name in self.names:
            # Any: what a lane may reach is nothing here.
            self.pool_connections[name] = PoolConnection(
                name, name, {}, TERMS, None, cast(Any, None)
            )
            self.fresh[name], self.alone[name], self.later[name] = [], [], []
            self.scheduler.opened(name, TERMS)
        # Any: metrics and queue are not looked at, and this world is judge and host.
        nobody = cast(
            Any,
            SimpleNamespace(
                connection_death=lambda name: None,
                connection_used_up=lambda name: None,
                connection_hogged=lambda name: None,
                suspect_executions=lambda name, n: None,
            ),
        )
        self.suspects = Suspects(
            self,
            self.pool_connections,
            queue=nobody,
            scheduler=self.scheduler,
            settlement=cast(Any, Settlement(self)),
            metrics=nobody,
            clock=lambda: self.now,
        )
        self.carry_out(self.pool.started(self.now))

    # --- queue ---

    def look(self, name: str) -> Ready:
        waiting = [*self.alone[name], *self.later[name]]
        return Ready(len(self.fresh[name]), min((at for at, _ in waiting), default=None))

    def lease(self, name: str, most: int, *, retries: bool) -> list[int]:
        if not retries:
            taken, self.fresh[name] = self.fresh[name][:most], self.fresh[name][most:]
            return taken
        for waiting, size in ((self.later[name], most), (self.alone[name], 1)):
            due = [(at, event) for at, event in sorted(waiting) if at <= self.now][:size]
            for entry in due:
                waiting.remove(entry)
            if due:
                return [event for _, event in due]
        return []

    # --- workers ---

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Fork(child=child):
                    self.starting.add(child)
                case Assign(child=child):
                    self.scheduler.worker_came(child, CREDITS)
                    self.pool_workers[child].slot = effect.slot
                case Isolate(child=child, connection=connection):
                    self.pool_workers[child].only = connection
                    self.suspects.came(self.pool_workers[child])
                case Retire(child=child):
                    self.retire(child)
                case Wake(at=at):
                    assert at > self.now
                    self.wake_at = at

    def retire(self, child: int) -> None:
        self.starting.discard(child)
        pool_worker = self.pool_workers.get(child)
        if pool_worker is not None:
            self.scheduler.worker_left(child)
            pool_worker.is_leaving = True
            if not pool_worker.batches:
                self.pool_workers.pop(child, None)

    def ready(self, child: int) -> None:
        self.starting.discard(child)
        worker = cast(
            Any, SimpleNamespace(number=child, state=ProcessState.READY)
        )  # Any: a stand-in
        self.pool_workers[child] = PoolWorker(worker, cast(Any, None))  # Any: nobody connects here
        self.carry_out(self.pool.child_ready(child, self.now))

    def die(self, child: int, mark: Mark | None, reason: ExitReason, detail: str) -> None:
        self.deaths += 1
        pool_worker = self.pool_workers.pop(child)
        self.scheduler.worker_left(child)
        self.carry_out(
            self.pool.child_gone(
                child, was_ready=True, has_worked=pool_worker.finished > 0, now=self.now
            )
        )
        batches = list(pool_worker.batches.values())
        for batch in batches:
            self.lost.update(
                n
                for n, reported in zip(events_of(batch), batch.reported, strict=True)
                if not reported
            )
        end = Exit(reason, detail, True, 0.0, None, mark)
        self.suspects.died(pool_worker, end, "evidence", is_ours=False)
        for batch in batches:
            self.finish(batch)

    def finish(self, batch: InflightBatch) -> None:
        del self.running[batch.id]
        reported = Told(
            delivered=batch.delivered,
            retried=batch.retried,
            retries=batch.retries,
            started=batch.started,
        )
        self.scheduler.finished(batch.connection, batch.worker, reported, now=self.now, jitter=0.5)

    # --- suspects.Host ---

    def isolate(self, connection: str) -> None:
        self.carry_out(self.pool.isolated(connection, self.now))

    def rejoin(self, connection: str) -> None:
        self.carry_out(self.pool.rejoined(connection, self.now))

    def try_again(
        self,
        pool_worker: PoolWorker,
        pool_connection: PoolConnection,
        batch: InflightBatch,
        indices: tuple[int, ...],
    ) -> InflightBatch:
        assert not pool_worker.batches, "a trial is alone in its worker"
        assert pool_worker.only == batch.connection
        part = batch.part(
            next(self.ids), pool_worker.worker.number, indices, self.now, self.now + 60
        )
        self.hand_over(pool_worker, part)
        return part

    def hand_over(self, pool_worker: PoolWorker, batch: InflightBatch) -> None:
        assert pool_worker.only in (None, batch.connection)
        self.running[batch.id] = pool_worker.batches[batch.id] = batch
        self.sent.update(events_of(batch))

    # --- what happens ---

    def accept(self, name: str, n: int) -> None:
        numbers = list(itertools.islice(self.events, n))
        self.accepted |= set(numbers)
        self.fresh[name] += numbers
        self.scheduler.work_came(name)

    def pump(self) -> None:
        for _ in range(1000):
            take = self.scheduler.next(self.now)
            if take is None:
                return
            most = self.suspects.most_events(take.connection)
            most = take.max_events if most is None else min(take.max_events, most)
            events = self.lease(take.connection, most, retries=take.retries)
            pool_worker = self.pool_workers.get(take.worker)
            assert pool_worker is not None
            assert self.suspects.may_run(take.connection, pool_worker)
            if not events:
                self.scheduler.nothing_leased(take, self.now)
                continue
            self.scheduler.sent(take, len(events))
            batch = InflightBatch(
                next(self.ids), take.connection, take.connection, take.worker,
                lease_of(take.connection, events), self.now, self.now + 60, bytearray(len(events)),
                take.retries,
            )  # fmt: skip
            self.hand_over(pool_worker, batch)
        raise AssertionError("it spins")

    def work(self, child: int) -> None:
        """One batch of a worker runs to its end, or to the worker's."""
        pool_worker = self.pool_workers[child]
        batch = next(iter(pool_worker.batches.values()))
        numbers = events_of(batch)
        bad = next((index for index, n in enumerate(numbers) if n in self.poison), None)
        if bad is not None:
            self.die(child, self.mark(batch, bad), ExitReason.SIGNAL, "SIGSEGV")
            return
        batch.delivered = len(numbers)
        self.delivered.update(numbers)
        self.answered(pool_worker, batch)

    def refuse(self, child: int, *, alone: bool) -> None:
        """One batch of a worker has to be tried again; `alone`: each of its events by itself."""
        pool_worker = self.pool_workers[child]
        batch = next(iter(pool_worker.batches.values()))
        waiting = (self.alone if alone else self.later)[batch.connection]
        waiting += [(self.now + AGAIN_S, event) for event in events_of(batch)]
        batch.retried = len(batch.reported)
        self.answered(pool_worker, batch)

    def answered(self, pool_worker: PoolWorker, batch: InflightBatch) -> None:
        """Every event of a batch has its outcome."""
        batch.reported = bytearray(b"\1" * len(batch.reported))
        self.attempts.update(events_of(batch))
        del pool_worker.batches[batch.id]
        pool_worker.finished += 1
        pool_worker.idle_since = self.now
        self.finish(batch)
        self.suspects.batch_done(pool_worker, batch, 0.1, 30.0)
        if pool_worker.is_leaving and not pool_worker.batches:
            self.pool_workers.pop(pool_worker.worker.number, None)

    def recycle(self, child: int) -> None:
        """A worker is to be replaced, once it has finished what it has."""
        self.carry_out(self.pool.recycled(child, self.now))

    def mark(self, batch: InflightBatch, index: int) -> Mark | None:
        match self.hints:
            case "true":
                return Mark(batch.connection, batch.id, index, True)
            case "forged":
                others = [other for other in self.running.values() if other is not batch]
                lie = next((other for other in others if other.worker == batch.worker), batch)
                return Mark(lie.connection, lie.id, 0, True)
            case _:
                return None

    def tick(self, seconds: float) -> None:
        self.now += seconds
        if self.wake_at is not None and self.wake_at <= self.now:
            self.wake_at = None
            self.carry_out(self.pool.woke(self.now))
        self.suspects.tick()

    # --- what holds ---

    def check(self) -> None:
        pending = Counter(itertools.chain(*self.fresh.values()))
        for waiting in (*self.alone.values(), *self.later.values()):
            pending.update(event for _, event in waiting)
        in_workers = Counter(itertools.chain(*map(events_of, self.running.values())))
        assert max(in_workers.values(), default=0) <= 1
        ended = self.delivered + self.quarantined
        assert max((pending + ended).values(), default=0) <= 1, "in two places"
        on_trial = sum(self.suspects.undecided(name) for name in self.names)
        placed = pending.keys() | ended.keys() | in_workers.keys()
        assert len(self.accepted - placed) <= on_trial, "lost"
        # Who is shot from outside each time that it runs cannot be told from who shoots itself.
        unlucky = {event for event, times in self.shot.items() if times >= 2}
        assert self.quarantined.keys() <= self.poison | unlucky
        held = [c for c in (*self.pool.slots.values(), *self.pool.cells.values()) if c is not None]
        assert len(held) == len(set(held))
        assert set(held) | set(self.pool.spares) <= self.pool_workers.keys()
        wanted = [*self.pool.slots.values(), *list(self.pool.cells.values())[:CELLS_MOST]]
        assert None not in wanted or self.pool.starting or self.wake_at is not None
        for event, times in self.sent.items():
            charged = self.attempts[event] + in_workers[event]
            # What is lost may be charged as an attempt, and nothing else is for nothing.
            assert times - self.lost[event] <= charged <= times, "sends do not add up"
        for event in self.accepted - self.poison:
            rounds = self.attempts[event] + (event not in ended)
            times = 3 * rounds + self.released[event] + self.shot[event]
            assert self.sent[event] <= times, "sent too often"

    def settle(self) -> None:
        """Let everything go its way until nothing is pending."""
        for _ in range(4000):
            for child in list(self.starting):
                self.ready(child)
            self.pump()
            busy = [
                child for child, pool_worker in self.pool_workers.items() if pool_worker.batches
            ]
            if busy:
                self.work(busy[0])
            else:
                if not self.is_pending():
                    return
                self.tick(7.0)
            self.check()
        raise AssertionError("it does not end")

    def is_pending(self) -> bool:
        return (
            any(self.fresh.values())
            or any(self.alone.values())
            or any(self.later.values())
            or any(self.suspects.undecided(name) for name in self.names)
        )


@dataclass
class Settlement:
    """Takes the verdicts of `Suspects` into the model's queue."""

    world: World

    def released(self, batch: InflightBatch, indices: Iterable[int] | None = None) -> None:
        chosen = range(len(batch.reported)) if indices is None else indices
        numbers = [events_of(batch)[index] for index in chosen if not batch.reported[index]]
        self.world.released.update(numbers)
        tried = [n for n in numbers if self.world.attempts[n]]
        self.world.later[batch.connection] += [(self.world.now, n) for n in tried]
        self.world.fresh[batch.connection][:0] = [n for n in numbers if n not in tried]
        self.world.scheduler.work_came(batch.connection)

    def postponed(self, batch: InflightBatch, indices: Iterable[int], reason: str) -> None:
        at = self.world.now + AGAIN_S
        numbers = [events_of(batch)[index] for index in indices]
        self.world.attempts.update(numbers)
        self.world.alone[batch.connection] += [(at, n) for n in numbers]
        self.world.scheduler.work_came(batch.connection)

    def quarantined(
        self, batch: InflightBatch, index: int, reason: str, exit_id: str | None
    ) -> None:
        assert exit_id == "evidence"
        event = events_of(batch)[index]
        self.world.attempts[event] += 1
        self.world.quarantined[event] += 1


def lease_of(name: str, events: list[int]) -> Lease:
    found = [Delivery(str(event).encode(), 1, 0.0, b"") for event in events]
    return Lease(1, name, 1e12, found)


def events_of(batch: InflightBatch) -> list[int]:
    return [int(delivery.body) for delivery in batch.lease.deliveries]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_happens_everything_ends_as_it_should(data: st.DataObject) -> None:
    """Through any history nothing is lost or finished twice, and the innocent are delivered."""
    world = World(
        ("a", "b", "c"),
        data.draw(st.frozensets(st.integers(1, 40), max_size=6)),
        data.draw(st.sampled_from(["true", "none", "forged"])),
        slots=data.draw(st.integers(1, 3)),
        spares=data.draw(st.integers(0, 2)),
    )
    for _ in range(data.draw(st.integers(0, 60))):
        actions = ["accept", "pump", "tick"]
        busy = [child for child, pool_worker in world.pool_workers.items() if pool_worker.batches]
        if world.starting:
            actions += ["ready", "ready", "fail"]
        serving = world.pool.children()
        actions += ["pause", "resume", "probe"]
        if serving:
            actions += ["recycle"]
        if busy:
            actions += ["work", "work", "work", "refuse", "refuse", "shoot"]
        match data.draw(st.sampled_from(actions)):
            case "accept":
                world.accept(data.draw(st.sampled_from(world.names)), data.draw(st.integers(1, 8)))
            case "pump":
                world.pump()
            case "tick":
                world.tick(data.draw(st.sampled_from([0.1, 2.0, 30.0])))
            case "ready":
                world.ready(data.draw(st.sampled_from(sorted(world.starting))))
            case "fail":
                child = data.draw(st.sampled_from(sorted(world.starting)))
                world.starting.discard(child)
                world.carry_out(world.pool.child_gone(child, was_ready=False, now=world.now))
            case "pause":
                world.scheduler.paused(data.draw(st.sampled_from(world.names)))
            case "resume":
                world.scheduler.resumed(data.draw(st.sampled_from(world.names)))
            case "probe":
                world.scheduler.probed(data.draw(st.sampled_from(world.names)), world.now)
            case "recycle":
                world.recycle(data.draw(st.sampled_from(sorted(serving))))
            case "work":
                world.work(data.draw(st.sampled_from(busy)))
            case "refuse":
                world.refuse(data.draw(st.sampled_from(busy)), alone=data.draw(st.booleans()))
            case _:  # somebody outside kills it
                child = data.draw(st.sampled_from(busy))
                for batch in world.pool_workers[child].batches.values():
                    world.shot.update(events_of(batch))
                world.die(child, None, ExitReason.SIGNAL, "SIGKILL")
        world.check()
    for name in world.names:
        world.scheduler.resumed(name)
    world.settle()
    assert set(world.delivered) | set(world.quarantined) == world.accepted
    assert world.accepted & world.poison <= set(world.quarantined)
