"""A pool in little around the isolation machine: a queue of numbers, workers, a clock of its own.

Owns what a shell would do with effects, the loop that never nests, and the account of every event.
There is no scheduler and no pool plan: who sends what to which worker is for the test to draw,
within what the machine allows. An event is a number; those that are `poison` kill their worker.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Protocol

from supervisor.core.effects import ExitReason
from supervisor.core.isolation import facts as told
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
from supervisor.core.isolation.machine import Isolation
from supervisor.core.placement import Dedicated, Placement, Shared, TrustState, Waiting

#: Connections that have a dedicated worker at once: few, so that others wait for a turn.
DEDICATED_MOST = 2
#: Batches that a shared worker takes at once, and events in a batch.
CREDITS, BATCH_EVENTS = 3, 5
#: Seconds until another attempt; for which a breaker is open; that a lease lasts.
AGAIN_S, OPEN_S, LEASE_S = 1.0, 5.0, 90.0
BATCH_LIMIT_S = 30.0


@dataclass
class Batch:
    """Some events that a worker has, or had; `part_of` is the suspected batch that a probe is of.

    `reported` are indices that have their outcome.
    """

    id: int
    connection: str
    events: tuple[int, ...]
    leased_until: float
    part_of: Batch | None = None
    reported: set[int] = field(default_factory=set)

    @property
    def unreported(self) -> tuple[int, ...]:
        return tuple(n for n in range(len(self.events)) if n not in self.reported)


@dataclass
class Worker:
    """One process. `is_ready`: it takes batches."""

    number: int
    dedicated_to: str | None = None
    batches: dict[int, Batch] = field(default_factory=dict)
    configured: set[str] = field(default_factory=set)
    is_ready: bool = True
    is_leaving: bool = False
    finished: int = 0
    overdue: frozenset[int] = frozenset()


class Shadow(Protocol):
    """Another machine that is told the same, and compared."""

    def told(self, fact: told.IsolationFact, effects: list[IsolationEffect]) -> None:
        """The machine has answered a fact with these."""

    def rested(self) -> None:
        """No fact is left to be taken."""


class World:
    """Connections `names` in a pool of `shared` workers; `spares` are ready to be dedicated."""

    def __init__(
        self,
        names: tuple[str, ...] = ("a", "b"),
        poison: frozenset[int] = frozenset(),
        *,
        shared: int = 2,
        spares: int = 9,
        mark: str = "true",
    ) -> None:
        self.now = 1000.0
        self.machine = Isolation()
        self.shadow: Shadow | None = None
        self.poison, self.mark, self.spares = poison, mark, spares
        self.open: dict[str, bool] = {}
        self.workers: dict[int, Worker] = {}
        self.claims: dict[str, int | None] = {}
        self.placements: dict[str, Placement] = {}
        self.held: dict[int, Batch] = {}
        self.open_until: dict[str, float] = {}
        self.pending: dict[str, list[int]] = {}
        self.later: dict[str, list[tuple[float, int]]] = {}
        self.accepted: set[int] = set()
        self.delivered: Counter[int] = Counter()
        self.quarantined: Counter[int] = Counter()
        self.sent: Counter[int] = Counter()
        self.attempts: Counter[int] = Counter()
        self.requeued: Counter[int] = Counter()
        self.bad_luck: Counter[int] = Counter()
        self.effects: list[IsolationEffect] = []
        self.dead: dict[int, Batch] = {}
        self.is_draining = False
        self._facts: deque[told.IsolationFact] = deque()
        self._is_running = False
        self._numbers, self._ids, self._events = (itertools.count(1) for _ in range(3))
        for name in names:
            self.add(name)
        self._shared = shared
        self.fill()

    # --- the loop ---

    def tell(self, fact: told.IsolationFact) -> list[IsolationEffect]:
        """Tell the machine, carry out what it answers, and go on with what follows from that."""
        self._facts.append(fact)
        if self._is_running:
            return []
        self._is_running = True
        began = len(self.effects)
        while self._facts:
            fact = self._facts.popleft()
            effects = self.machine.handle(fact, self.now)
            if isinstance(fact, told.WorkerDied):
                self._check_fates(fact, effects)
            if self.shadow is not None:
                self.shadow.told(fact, effects)
            for effect in effects:
                self.effects.append(effect)
                self._perform(effect)
        self._is_running = False
        if self.shadow is not None:
            self.shadow.rested()
        return self.effects[began:]

    def _perform(self, effect: IsolationEffect) -> None:
        match effect:
            case PlaceConnection(connection=connection, placement=placement):
                self.placements[connection] = placement
                if isinstance(placement, Dedicated):
                    assert self.workers[placement.worker].dedicated_to == connection
            case RequestWorker(connection=connection):
                assert connection not in self.claims, "asked for twice"
                self.claims[connection] = None
                self.fill()
            case ReturnWorker(connection=connection):
                worker = self.claims.pop(connection)
                if worker is not None:
                    self.retire(worker)
                self.fill()
            case HoldLease(batch=batch):
                assert batch not in self.held
                self.held[batch] = self.dead[batch]
            case ForgetLease(batch=batch):
                left = set(self.held[batch].unreported) - self._probed(self.held[batch])
                assert not left, "forgotten undecided"
                del self.held[batch]
            case ExtendLease(batch=batch, for_s=for_s):
                self.held[batch].leased_until = self.now + for_s
            case Resend():
                self._resend(effect)
            case Requeue(batch=batch, indices=indices):
                name = self._batch(batch).connection
                events = self._decided(batch, indices)
                self.requeued.update(events)
                self.pending[name][:0] = events
            case PostponeAlone(batch=batch, indices=indices):
                name = self._batch(batch).connection
                events = self._decided(batch, indices)
                self.attempts.update(events)
                self.later[name] += [(self.now + AGAIN_S, event) for event in events]
            case QuarantineDelivery(batch=batch, index=index, exit_id=exit_id):
                assert exit_id is not None
                events = self._decided(batch, (index,))
                self.quarantined.update(events)
                self.attempts.update(events)
            case Trip(connection=connection):
                if self.would_open(connection):
                    self.open_until[connection] = self.now + OPEN_S
                    self.tell(told.BreakerOpened(connection))
            case (
                RecordFates()
                | CountBlame()
                | ReportProbation()
                | ReportDecided()
                | ReportTrust()
                | ReportNoisyNeighbour()
            ):
                pass

    def _resend(self, effect: Resend) -> None:
        if not self.takes_probe(effect.worker):
            self.tell(told.ProbeRefused(effect.connection))
            return
        worker, of = self.workers[effect.worker], self.held[effect.batch]
        assert worker.dedicated_to == effect.connection == of.connection
        assert set(effect.indices) <= set(of.unreported), "decided already"
        events = tuple(of.events[index] for index in effect.indices)
        batch = Batch(next(self._ids), of.connection, events, of.leased_until, part_of=of)
        self._hand_over(worker, batch)
        self.tell(told.ProbeSent(effect.connection, batch.id))

    def _probed(self, of: Batch) -> set[int]:
        """What a probe of a batch has now, reported or not, by its index there."""
        return {
            of.events.index(event)
            for worker in self.workers.values()
            for batch in worker.batches.values()
            if batch.part_of is of
            for event in batch.events
        }

    def _batch(self, batch: int) -> Batch:
        return self.held.get(batch) or self.dead[batch]

    def _decided(self, batch: int, indices: tuple[int, ...]) -> list[int]:
        """These have their verdict now, and had none before."""
        of = self._batch(batch)
        assert set(indices) <= set(of.unreported), "decided twice"
        of.reported |= set(indices)
        if of.part_of is not None:
            self._report_part(of, indices)
        return [of.events[index] for index in indices]

    def _report_part(self, part: Batch, indices: tuple[int, ...]) -> None:
        of = part.part_of
        assert of is not None
        of.reported |= {of.events.index(part.events[index]) for index in indices}

    # --- questions ---

    def takes_probe(self, worker: int) -> bool:
        """Whether a worker may be sent a probe now."""
        found = self.workers.get(worker)
        return found is not None and found.is_ready and not found.batches

    def would_open(self, connection: str) -> bool:
        """Whether a trip opens the breaker, which is not open yet."""
        return self.now >= self.open_until.get(connection, 0.0)

    def would_send(self, connection: str) -> bool:
        """Whether a connection would have something to send if it were let."""
        due = any(at <= self.now for at, _ in self.later[connection])
        is_open = self.open_until.get(connection, 0.0) > self.now
        return bool(self.pending[connection] or due) and not is_open

    def busy(self) -> list[int]:
        """Workers that have batches."""
        return [number for number, worker in self.workers.items() if worker.batches]

    def undecided(self) -> int:
        """Deliveries that are suspected."""
        found = [self.machine.status(name) for name in self.open]
        return sum(one.undecided for one in found if one is not None)

    # --- workers ---

    def fill(self) -> None:
        """Fork what is missing; a spare goes to a connection that has claimed one."""
        shared = [one for one in self.workers.values() if one.dedicated_to is None]
        for _ in range(self._shared - sum(not one.is_leaving for one in shared)):
            self._spawn(None)
        for connection, worker in list(self.claims.items())[:DEDICATED_MOST]:
            if worker is None and self.spares:
                self.spares -= 1
                self.dedicate(connection)

    def dedicate(self, connection: str) -> None:
        """A worker is there for a connection that has claimed one."""
        worker = self._spawn(connection)
        self.claims[connection] = worker.number
        self.tell(told.WorkerDedicated(worker.number, connection))

    def _spawn(self, connection: str | None) -> Worker:
        number = next(self._numbers)
        worker = self.workers[number] = Worker(number, connection)
        return worker

    def retire(self, number: int) -> None:
        """A worker is to finish what it has, and exit."""
        worker = self.workers[number]
        worker.is_leaving, worker.is_ready = True, False
        if not worker.batches:
            self.die(number, ExitReason.RECYCLE, "")

    def recycle(self, number: int) -> None:
        """The same at once for any worker: another takes its place."""
        connection = self.workers[number].dedicated_to
        if connection is not None and self.claims.get(connection) == number:
            self.claims[connection] = None
        self.retire(number)
        self.fill()

    def die(
        self,
        number: int,
        reason: ExitReason = ExitReason.SIGNAL,
        detail: str = "SIGSEGV",
        mark: told.RunningMark | None = None,
        *,
        is_ours: bool = False,
        is_luck: bool = True,
        ended: frozenset[str] = frozenset(),
    ) -> list[IsolationEffect]:
        """A worker is gone; `is_luck`: for no fault of an event that it had.

        Of one that is leaving nobody is accused. `ended` may have done it, and have no batch there.
        """
        worker = self.workers.pop(number)
        for batch in worker.batches.values():
            self.dead[batch.id] = batch
            if is_luck or worker.is_leaving:
                self.bad_luck.update(batch.events[index] for index in batch.unreported)
        connection = worker.dedicated_to
        if connection is not None and self.claims.get(connection) == number:
            # To the end of the line: those that wait have not even been tried.
            del self.claims[connection]
            self.claims[connection] = None
        fact = told.WorkerDied(
            number,
            reason,
            detail,
            tuple(map(self.lost, worker.batches.values())),
            mark,
            worker.overdue,
            frozenset(worker.configured),
            is_ours=is_ours,
            is_leaving=worker.is_leaving,
            has_finished=worker.finished > 0,
            exit_id=f"exit-{number}",
            ended=ended,
        )
        effects = self.tell(fact)
        self.fill()
        return effects

    def _check_fates(self, fact: told.WorkerDied, effects: list[IsolationEffect]) -> None:
        """What is written of each batch accounts for each of its deliveries, once."""
        found = [one for one in effects if isinstance(one, RecordFates)]
        if not fact.batches or fact.exit_id is None:
            assert not found
            return
        assert found[0].exit_id == fact.exit_id
        for batch, fate in zip(fact.batches, found[0].fates, strict=True):
            counted = fate.sent_again + fate.tried_alone + fate.tried_together
            counted += fate.postponed + fate.quarantined
            assert (fate.batch, counted) == (batch.batch, len(batch.unreported)), fate
            assert not fate.is_probe or self.dead[batch.batch].part_of is not None

    def lost(self, batch: Batch) -> told.LostBatch:
        """A batch as a dead worker leaves it."""
        unreported = batch.unreported
        keys = tuple(key_of(batch.connection, batch.events[index]) for index in unreported)
        return told.LostBatch(
            batch.id,
            batch.connection,
            len(batch.events),
            unreported,
            keys,
            batch.leased_until,
        )

    def _hand_over(self, worker: Worker, batch: Batch) -> None:
        assert worker.dedicated_to in (None, batch.connection)
        worker.batches[batch.id] = batch
        worker.configured.add(batch.connection)
        self.sent.update(batch.events)

    # --- what happens ---

    def add(self, name: str, *, is_closed: bool = False) -> None:
        """The config has a connection."""
        self.open[name] = is_closed
        self.pending.setdefault(name, [])
        self.later.setdefault(name, [])
        self.tell(told.ConnectionOpened(name, is_closed))

    def remove(self, name: str) -> None:
        """The config has it no more; what it has in the queue stays there."""
        del self.open[name]
        self.placements.pop(name, None)
        self.tell(told.ConnectionRemoved(name))

    def accept(self, name: str, n: int) -> list[int]:
        """Events come."""
        events = list(itertools.islice(self._events, n))
        self.accepted |= set(events)
        self.pending[name] += events
        return events

    def places(self, name: str) -> list[int]:
        """Workers that a batch of a connection may go to."""
        if self.is_draining or self.open.get(name, True) or not self.would_send(name):
            return []
        return [
            number
            for number, worker in self.workers.items()
            if worker.is_ready
            and not (worker.dedicated_to and worker.batches)
            and len(worker.batches) < CREDITS
            and self.machine.may_run(name, number)
        ]

    def send(self, name: str, number: int) -> Batch:
        """A batch of a connection goes to a worker, which may have it."""
        most = self.machine.most_events(name)
        size = BATCH_EVENTS if most is None else min(BATCH_EVENTS, most)
        due = [entry for entry in self.later[name] if entry[0] <= self.now]
        if due and not self.pending[name]:
            self.later[name].remove(due[0])
            events: tuple[int, ...] = (due[0][1],)
        else:
            events = tuple(self.pending[name][:size])
            del self.pending[name][:size]
        batch = Batch(next(self._ids), name, events, self.now + LEASE_S)
        self._hand_over(self.workers[number], batch)
        self.tell(told.BatchSent(number, batch.id))
        return batch

    def work(self, number: int, *, seconds: float = 0.1) -> None:
        """One batch of a worker runs to its end, or to the worker's."""
        worker = self.workers[number]
        batch = next(iter(worker.batches.values()))
        bad = next((i for i in batch.unreported if batch.events[i] in self.poison), None)
        if bad is not None:
            self.die(number, mark=self._mark(worker, batch, bad), is_luck=False)
            return
        self._answer(batch, batch.unreported)
        self.finish(worker, batch, delivered=len(batch.events), seconds=seconds)

    def report_some(self, number: int) -> None:
        """A worker tells the outcome of the first event of a batch, where that is harmless."""
        batch = next(iter(self.workers[number].batches.values()))
        if batch.unreported and batch.events[batch.unreported[0]] not in self.poison:
            self._answer(batch, batch.unreported[:1])

    def refuse(self, number: int) -> None:
        """Every event of a batch is to be tried again."""
        worker = self.workers[number]
        batch = next(iter(worker.batches.values()))
        left = batch.unreported
        events = [batch.events[index] for index in left]
        self.attempts.update(events)
        self.later[batch.connection] += [(self.now + AGAIN_S, event) for event in events]
        batch.reported |= set(left)
        if batch.part_of is not None:
            self._report_part(batch, left)
        self.finish(worker, batch, retried=len(left), delivered=len(batch.events) - len(left))

    def finish(
        self,
        worker: Worker,
        batch: Batch,
        *,
        delivered: int = 0,
        retried: int = 0,
        seconds: float = 0.1,
    ) -> None:
        """Every event of a batch has its outcome."""
        del worker.batches[batch.id]
        worker.finished += 1
        self.tell(
            told.BatchFinished(
                worker.number,
                batch.id,
                batch.connection,
                delivered,
                retried,
                seconds,
                BATCH_LIMIT_S,
            )
        )
        if worker.is_leaving and not worker.batches and worker.number in self.workers:
            self.die(worker.number, ExitReason.RECYCLE, "")

    def _answer(self, batch: Batch, indices: tuple[int, ...]) -> None:
        batch.reported |= set(indices)
        if batch.part_of is not None:
            self._report_part(batch, indices)
        events = [batch.events[index] for index in indices]
        self.delivered.update(events)
        self.attempts.update(events)

    def _mark(self, worker: Worker, batch: Batch, index: int) -> told.RunningMark | None:
        if self.mark == "none":
            return None
        lie = next((one for one in worker.batches.values() if one is not batch), None)
        if self.mark == "forged" and lie is not None:
            return told.RunningMark(lie.connection, lie.id, 0)
        return told.RunningMark(batch.connection, batch.id, index)

    def tick(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        asked = self.machine.dormant()
        self.tell(told.Ticked(frozenset(name for name in asked if self.would_send(name))))

    def drain(self) -> None:
        """The service begins nothing any more."""
        self.is_draining = True
        self.tell(told.Draining())

    # --- what holds ---

    def check(self) -> None:
        """Nothing is lost or in two places, and each connection runs where it may."""
        waiting = Counter(itertools.chain(*self.pending.values()))
        for entries in self.later.values():
            waiting.update(event for _, event in entries)
        in_workers = Counter(
            batch.events[index]
            for worker in self.workers.values()
            for batch in worker.batches.values()
            for index in batch.unreported
        )
        held = {batch.events[n] for batch in self.held.values() for n in batch.unreported}
        ended = self.delivered + self.quarantined
        assert max((waiting + ended).values(), default=0) <= 1, "in two places"
        assert max(in_workers.values(), default=0) <= 1, "with two workers"
        assert not (waiting + ended).keys() & held, "decided while it is held"
        assert self.accepted == waiting.keys() | ended.keys() | in_workers.keys() | held
        shot_twice = {event for event, times in self.bad_luck.items() if times >= 2}
        assert self.quarantined.keys() <= self.poison | shot_twice, "an innocent is quarantined"
        for event in self.accepted - self.poison:
            rounds = self.attempts[event] + (event not in ended)
            most = 3 * rounds + self.requeued[event] + self.bad_luck[event]
            assert self.sent[event] <= most, ("sent too often", event, self.sent[event], most)
        for name in self.open:
            self._check_placement(name)
            status = self.machine.status(name)
            is_apart = status is not None and status.apart is not None
            assert is_apart is (self.machine.trust(name) is not TrustState.TRUSTED)

    def _check_placement(self, name: str) -> None:
        placement, trust = self.machine.placement(name), self.machine.trust(name)
        assert self.placements.get(name, placement) == placement, "the shell was not told"
        status = self.machine.status(name)
        undecided = 0 if status is None else status.undecided
        held = [batch for batch in self.held.values() if batch.connection == name]
        probed = set().union(*map(self._probed, held))
        left = {(batch.id, index) for batch in held for index in batch.unreported}
        assert len(left) <= undecided <= len(left) + len(probed)
        match placement:
            case Shared():
                assert trust is TrustState.TRUSTED
                assert name not in self.claims
                assert self.machine.most_events(name) is None
                assert not held
            case Waiting():
                assert self.claims.get(name) is None, "it has a worker, and waits for one"
                assert self.machine.most_events(name) is not None
                assert not held or name in self.claims, "it waits for what nobody asked for"
            case Dedicated(worker=number, is_probed=is_probed):
                worker = self.workers[number]
                assert worker.dedicated_to == name
                assert self.machine.dedicated_to(number) == name
                assert is_probed is bool(held)
                if is_probed and worker.is_ready:
                    assert worker.batches or probed, "it could be probed, and is not"

    def settle(self) -> None:
        """Let everything go its way until nothing is pending."""
        for _ in range(6000):
            self.spares = max(self.spares, 1)
            self.fill()
            for number, worker in list(self.workers.items()):
                if not worker.is_ready and not worker.batches:
                    self.die(number, is_ours=True)  # it was killed, and that is known now
            for name in self.open:
                while places := self.places(name):
                    self.send(name, places[0])
            busy = self.busy()
            if busy:
                self.work(busy[0])
            elif self.is_pending():
                self.tick(7.0)
            else:
                return
            self.check()
        raise AssertionError("it does not end")

    def is_pending(self) -> bool:
        """Whether anything that could be sent is not decided."""
        waiting = [self.pending[name] or self.later[name] for name in self.open]
        return any(waiting) or bool(self.held)


def key_of(connection: str, event: int) -> int:
    """What tells an event apart across batches."""
    return hash((connection, str(event).encode()))
