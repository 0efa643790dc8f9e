"""Layout, scheduler and isolation of a pool together, through random histories.

A small model of everything around them: a queue of numbers, workers that die when they run poison,
a clock of our own, and the loop that the service runs them in. The invariants are those of the
service: nothing is lost or finished twice, no slot is without a plan, innocents are spared, no
event is sent more often than its attempts and its workers' deaths say, the scheduler counts what
is there, and whatever happened, in the end each event has its verdict.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.core.effects import Assign, ExitReason, Fork, Isolate, Retire, Wake
from supervisor.core.isolation.effects import (
    CountBlame,
    ExtendLease,
    ForgetLease,
    HoldLease,
    IsolationEffect,
    PlaceConnection,
    PostponeAlone,
    QuarantineDelivery,
    RecordFates,
    ReportDecided,
    ReportNoisyNeighbour,
    ReportProbation,
    ReportTrust,
    RequestWorker,
    Requeue,
    Resend,
    ReturnWorker,
    Trip,
)
from supervisor.core.isolation.facts import (
    BatchFinished,
    BatchSent,
    BreakerOpened,
    ConnectionOpened,
    IsolationFact,
    LoopHogged,
    LostBatch,
    ProbeRefused,
    ProbeSent,
    RunningMark,
    Ticked,
    WorkerDedicated,
    WorkerDied,
)
from supervisor.core.isolation.machine import Isolation
from supervisor.core.lifecycle.pool_layout import CELLS_MOST, PoolLayout
from supervisor.core.lifecycle.pool_layout import Effect as LayoutEffect
from supervisor.core.placement import Dedicated, Shared, worker_of
from supervisor.core.scheduling.breaker import BreakerPolicy
from supervisor.core.scheduling.scheduler import BatchResult, Ready, Scheduler, Terms
from supervisor.delivery.agenda import Agenda

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

AnyEffect = LayoutEffect | IsolationEffect


@dataclass(eq=False)
class SentBatch:
    """Events that a worker has; `part_of` is the suspected batch that a probe is of."""

    id: int
    connection: str
    worker: int
    events: list[int]
    started: float
    retries: bool = False
    part_of: SentBatch | None = None
    decided: set[int] = field(default_factory=set)
    delivered: int = 0
    retried: int = 0

    def decide(self, events: list[int]) -> None:
        """These have their outcome, or are given back; once."""
        assert not self.decided & set(events), "decided twice"
        self.decided |= set(events)
        if self.part_of is not None:
            self.part_of.decide(events)

    @property
    def silent(self) -> list[int]:
        """Indices without an outcome."""
        return [index for index, n in enumerate(self.events) if n not in self.decided]


@dataclass(eq=False)
class LiveWorker:
    """One process that takes batches."""

    number: int
    batches: dict[int, SentBatch] = field(default_factory=dict)
    configured: set[str] = field(default_factory=set)
    finished: int = 0
    is_leaving: bool = False


class World:
    """The shell, in little. Events are numbers, and `poison` are those that kill."""

    def __init__(
        self, names: tuple[str, ...], poison: frozenset[int], hints: str, slots: int, spares: int
    ) -> None:
        self.names, self.poison, self.hints = names, poison, hints
        self.now = 1000.0
        self.fresh: dict[str, list[int]] = {name: [] for name in names}
        self.alone: dict[str, list[tuple[float, int]]] = {name: [] for name in names}
        self.later: dict[str, list[tuple[float, int]]] = {name: [] for name in names}
        #: as the queue counts them, and sends that were lost with their worker
        self.attempts: Counter[int] = Counter()
        self.lost: Counter[int] = Counter()
        self.delivered: Counter[int] = Counter()
        self.quarantined: Counter[int] = Counter()
        self.sent: Counter[int] = Counter()
        self.released: Counter[int] = Counter()
        self.shot: Counter[int] = Counter()
        self.accepted: set[int] = set()
        self.starting: set[int] = set()
        self.workers: dict[int, LiveWorker] = {}
        self.running: dict[int, SentBatch] = {}
        self.dead: dict[int, SentBatch] = {}
        self.held: set[int] = set()
        self.wake_at: float | None = None
        self.ids, self.events = itertools.count(1), itertools.count(1)
        self.scheduler = Scheduler(self.look)
        self.layout = PoolLayout(itertools.count(1), slots, spares)
        self.isolation = Isolation()
        self.agenda: Agenda[IsolationFact, AnyEffect] = Agenda()
        self.agenda.attach(lambda fact: self.isolation.handle(fact, self.now), self.carry_out)
        for name in names:
            self.scheduler.opened(name, TERMS)
            self.agenda.tell(ConnectionOpened(name))
        self.agenda.do(self.layout.started(self.now))

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

    # --- effects ---

    def carry_out(self, effect: AnyEffect) -> None:
        match effect:
            case Fork(child=child):
                self.starting.add(child)
            case Assign(child=child):
                self.scheduler.worker_came(child, CREDITS)
            case Isolate(child=child, connection=connection):
                self.agenda.tell(WorkerDedicated(child, connection))
            case Retire(child=child):
                self.retire(child)
            case Wake(at=at):
                assert at > self.now
                self.wake_at = at
            case RequestWorker(connection=connection):
                self.agenda.do(self.layout.isolated(connection, self.now))
            case ReturnWorker(connection=connection):
                self.agenda.do(self.layout.rejoined(connection, self.now))
            case PlaceConnection(connection=connection, placement=placement):
                self.scheduler.place(connection, placement)
            case HoldLease(batch=batch):
                self.held.add(batch)
            case ForgetLease(batch=batch):
                self.held.remove(batch)
                assert not self.dead[batch].silent
            case Resend():
                self.resend(effect)
            case Requeue(batch=batch, indices=indices):
                self.requeue(self.dead[batch], indices)
            case PostponeAlone(batch=batch, indices=indices):
                of = self.dead[batch]
                numbers = [of.events[index] for index in indices]
                of.decide(numbers)
                of.retried += len(numbers)
                self.attempts.update(numbers)
                self.alone[of.connection] += [(self.now + AGAIN_S, n) for n in numbers]
                self.scheduler.work_came(of.connection)
            case QuarantineDelivery(batch=batch, index=index, exit_id=exit_id):
                assert exit_id == "evidence"
                event = self.dead[batch].events[index]
                self.dead[batch].decide([event])
                self.attempts[event] += 1
                self.quarantined[event] += 1
            case Trip(connection=connection, reason=reason):
                if self.scheduler.tripped(connection, reason, self.now, 0.5):
                    self.agenda.tell(BreakerOpened(connection))
            case (
                ExtendLease()
                | RecordFates()
                | CountBlame()
                | ReportProbation()
                | ReportDecided()
                | ReportTrust()
                | ReportNoisyNeighbour()
            ):
                pass

    def requeue(self, batch: SentBatch, indices: tuple[int, ...]) -> None:
        numbers = [batch.events[index] for index in indices]
        batch.decide(numbers)
        self.released.update(numbers)
        tried = [n for n in numbers if self.attempts[n]]
        self.later[batch.connection] += [(self.now, n) for n in tried]
        self.fresh[batch.connection][:0] = [n for n in numbers if n not in tried]
        self.scheduler.work_came(batch.connection)

    def resend(self, effect: Resend) -> None:
        worker = self.workers.get(effect.worker)
        if worker is None or worker.is_leaving or worker.batches:
            self.agenda.tell(ProbeRefused(effect.connection))
            return
        of = self.dead[effect.batch]
        assert self.isolation.dedicated_to(effect.worker) == of.connection
        events = [of.events[index] for index in effect.indices]
        assert not of.decided & set(events)
        probe = SentBatch(
            next(self.ids), of.connection, effect.worker, events, self.now, part_of=of
        )
        self.scheduler.borrowed(of.connection, effect.worker)
        self.hand_over(worker, probe)
        self.agenda.tell(ProbeSent(of.connection, probe.id))

    # --- workers ---

    def retire(self, child: int) -> None:
        self.starting.discard(child)
        worker = self.workers.get(child)
        if worker is not None:
            self.scheduler.worker_left(child)
            worker.is_leaving = True
            self.leave(worker)

    def leave(self, worker: LiveWorker) -> None:
        """One that was told to exits as soon as it has nothing left to do."""
        if worker.is_leaving and not worker.batches:
            del self.workers[worker.number]
            self.agenda.tell(
                WorkerDied(
                    worker.number, ExitReason.RECYCLE, "", is_leaving=True, exit_id="evidence"
                )
            )

    def ready(self, child: int) -> None:
        self.starting.discard(child)
        self.workers[child] = LiveWorker(child)
        self.agenda.do(self.layout.child_ready(child, self.now))

    def die(self, child: int, mark: RunningMark | None, reason: ExitReason, detail: str) -> None:
        worker = self.workers.pop(child)
        self.scheduler.worker_left(child)
        self.agenda.do(
            self.layout.child_gone(
                child, was_ready=True, has_worked=worker.finished > 0, now=self.now
            )
        )
        batches = list(worker.batches.values())
        lost = []
        for batch in batches:
            self.dead[batch.id] = batch
            del self.running[batch.id]
            self.lost.update(batch.events[index] for index in batch.silent)
            keys = tuple(hash((batch.connection, batch.events[index])) for index in batch.silent)
            lost.append(
                LostBatch(
                    batch.id,
                    batch.connection,
                    len(batch.events),
                    tuple(batch.silent),
                    keys,
                    self.now + 60,
                )
            )
        self.agenda.tell(
            WorkerDied(
                child,
                reason,
                detail,
                tuple(lost),
                mark,
                configured=frozenset(worker.configured),
                is_leaving=worker.is_leaving,
                has_finished=worker.finished > 0,
                exit_id="evidence",
            )
        )
        for batch in batches:
            self.finish(batch)

    def finish(self, batch: SentBatch) -> None:
        result = BatchResult(
            delivered=batch.delivered,
            retried=batch.retried,
            retries=batch.retries,
            started=batch.started,
        )
        self.scheduler.finished(batch.connection, batch.worker, result, now=self.now, jitter=0.5)

    def hand_over(self, worker: LiveWorker, batch: SentBatch) -> None:
        assert self.isolation.dedicated_to(worker.number) in (None, batch.connection)
        self.running[batch.id] = worker.batches[batch.id] = batch
        worker.configured.add(batch.connection)
        self.sent.update(batch.events)

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
            most = self.isolation.most_events(take.connection)
            most = take.max_events if most is None else min(take.max_events, most)
            events = self.lease(take.connection, most, retries=take.retries)
            assert self.isolation.may_run(take.connection, take.worker)
            if not events:
                self.scheduler.nothing_leased(take, self.now)
                continue
            self.scheduler.sent(take, len(events))
            batch = SentBatch(
                next(self.ids), take.connection, take.worker, events, self.now, take.retries
            )
            self.hand_over(self.workers[take.worker], batch)
            self.agenda.tell(BatchSent(take.worker, batch.id))
        raise AssertionError("it spins")

    def work(self, child: int) -> None:
        """One batch of a worker runs to its end, or to the worker's."""
        worker = self.workers[child]
        batch = next(iter(worker.batches.values()))
        bad = next((index for index, n in enumerate(batch.events) if n in self.poison), None)
        if bad is not None:
            self.die(child, self.mark(batch, bad), ExitReason.SIGNAL, "SIGSEGV")
            return
        batch.delivered = len(batch.events)
        self.delivered.update(batch.events)
        self.answered(worker, batch)

    def refuse(self, child: int, *, alone: bool) -> None:
        """One batch of a worker has to be tried again; `alone`: each of its events by itself."""
        worker = self.workers[child]
        batch = next(iter(worker.batches.values()))
        waiting = (self.alone if alone else self.later)[batch.connection]
        waiting += [(self.now + AGAIN_S, event) for event in batch.events]
        batch.retried = len(batch.events)
        self.answered(worker, batch)

    def answered(self, worker: LiveWorker, batch: SentBatch) -> None:
        """Every event of a batch has its outcome."""
        batch.decide(batch.events)
        self.attempts.update(batch.events)
        del worker.batches[batch.id], self.running[batch.id]
        worker.finished += 1
        self.finish(batch)
        self.agenda.tell(
            BatchFinished(
                worker.number, batch.id, batch.connection, batch.delivered, batch.retried, 0.1, 30
            )
        )
        if worker.number in self.workers:
            self.leave(worker)

    def mark(self, batch: SentBatch, index: int) -> RunningMark | None:
        match self.hints:
            case "true":
                return RunningMark(batch.connection, batch.id, index)
            case "forged":
                others = [other for other in self.running.values() if other is not batch]
                lie = next((other for other in others if other.worker == batch.worker), batch)
                return RunningMark(lie.connection, lie.id, 0)
            case _:
                return None

    def tick(self, seconds: float) -> None:
        self.now += seconds
        if self.wake_at is not None and self.wake_at <= self.now:
            self.wake_at = None
            self.agenda.do(self.layout.woke(self.now))
        dormant = self.isolation.dormant()
        would = {name for name in dormant if self.scheduler.would_send(name, self.now)}
        self.agenda.tell(Ticked(frozenset(would)))

    # --- what holds ---

    def check(self) -> None:
        pending = Counter(itertools.chain(*self.fresh.values()))
        for waiting in (*self.alone.values(), *self.later.values()):
            pending.update(event for _, event in waiting)
        in_workers = Counter(itertools.chain(*(batch.events for batch in self.running.values())))
        assert max(in_workers.values(), default=0) <= 1
        ended = self.delivered + self.quarantined
        assert max((pending + ended).values(), default=0) <= 1, "in two places"
        held = {
            self.dead[one].events[index] for one in self.held for index in self.dead[one].silent
        }
        assert self.accepted == pending.keys() | ended.keys() | in_workers.keys() | held, "lost"
        assert not (pending + ended).keys() & held
        # Who is shot from outside each time that it runs cannot be told from who shoots itself.
        unlucky = {event for event, times in self.shot.items() if times >= 2}
        assert self.quarantined.keys() <= self.poison | unlucky
        self.check_layout()
        self.check_scheduler()
        for event, times in self.sent.items():
            charged = self.attempts[event] + in_workers[event]
            # What is lost may be charged as an attempt, and nothing else is for nothing.
            assert times - self.lost[event] <= charged <= times, "sends do not add up"
        for event in self.accepted - self.poison:
            rounds = self.attempts[event] + (event not in ended)
            times = 3 * rounds + self.released[event] + self.shot[event]
            assert self.sent[event] <= times, "sent too often"

    def check_layout(self) -> None:
        slots, cells = self.layout.slots, self.layout.cells
        held = [child for child in (*slots.values(), *cells.values()) if child is not None]
        assert len(held) == len(set(held))
        assert set(held) | set(self.layout.spares) <= self.workers.keys()
        wanted = [*slots.values(), *list(cells.values())[:CELLS_MOST]]
        assert None not in wanted or self.starting or self.wake_at is not None
        for name in self.names:
            match self.isolation.placement(name):
                case Dedicated(worker=worker):
                    assert cells[name] == worker
                case Shared():
                    assert name not in cells
                case _:
                    assert cells.get(name) is None

    def check_scheduler(self) -> None:
        schedules = self.scheduler.schedules
        for name in self.names:
            running = sum(batch.connection == name for batch in self.running.values())
            assert schedules[name].inflight == running
            placement = self.isolation.placement(name)
            assert schedules[name].dedicated_worker == worker_of(placement)
            is_let = isinstance(placement, Shared) or placement == Dedicated(
                worker_of(placement) or 0
            )
            assert (schedules[name].blocked_by is None) is is_let
        probing = sum(map(self.scheduler._is_probe, schedules.values()))
        assert self.scheduler._probing == probing, "a ghost is probing"
        busy = sum(one.terms.weight for one in schedules.values() if one.inflight)
        assert self.scheduler._busy_weight == busy

    def settle(self) -> None:
        """Let everything go its way until nothing is pending."""
        for _ in range(4000):
            for child in list(self.starting):
                self.ready(child)
            self.pump()
            busy = [child for child, worker in self.workers.items() if worker.batches]
            if busy:
                self.work(busy[0])
            else:
                if not self.is_pending():
                    return
                self.tick(7.0)
            self.check()
        raise AssertionError("it does not end")

    def is_pending(self) -> bool:
        waiting = (*self.fresh.values(), *self.alone.values(), *self.later.values())
        return any(waiting) or bool(self.held)


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
        actions = ["accept", "pump", "tick", "hog"]
        busy = [child for child, worker in world.workers.items() if worker.batches]
        if world.starting:
            actions += ["ready", "ready", "fail"]
        serving = world.layout.children()
        actions += ["pause", "resume", "probe"]
        if serving:
            actions += ["recycle"]
        if busy:
            actions += ["work", "work", "work", "refuse", "refuse", "shoot"]
        name = data.draw(st.sampled_from(world.names))
        match data.draw(st.sampled_from(actions)):
            case "accept":
                world.accept(name, data.draw(st.integers(1, 8)))
            case "pump":
                world.pump()
            case "tick":
                world.tick(data.draw(st.sampled_from([0.1, 2.0, 30.0])))
            case "hog":
                world.agenda.tell(LoopHogged(name, "blocked one"))
            case "ready":
                world.ready(data.draw(st.sampled_from(sorted(world.starting))))
            case "fail":
                child = data.draw(st.sampled_from(sorted(world.starting)))
                world.starting.discard(child)
                world.agenda.do(world.layout.child_gone(child, was_ready=False, now=world.now))
            case "pause":
                world.scheduler.paused(name)
            case "resume":
                world.scheduler.resumed(name)
            case "probe":
                world.scheduler.probed(name, world.now)
            case "recycle":
                child = data.draw(st.sampled_from(sorted(serving)))
                world.agenda.do(world.layout.recycled(child, world.now))
            case "work":
                world.work(data.draw(st.sampled_from(busy)))
            case "refuse":
                world.refuse(data.draw(st.sampled_from(busy)), alone=data.draw(st.booleans()))
            case _:  # somebody outside kills it
                child = data.draw(st.sampled_from(busy))
                for batch in world.workers[child].batches.values():
                    world.shot.update(batch.events)
                world.die(child, None, ExitReason.SIGNAL, "SIGKILL")
        world.check()
    for name in world.names:
        world.scheduler.resumed(name)
    world.settle()
    assert set(world.delivered) | set(world.quarantined) == world.accepted
    assert world.accepted & world.poison <= set(world.quarantined)
