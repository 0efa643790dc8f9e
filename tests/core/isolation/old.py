"""The machine that was before, told the same facts: what it decides, in the words of effects.

Owns an adapter that drives `supervisor.suspects` with stand-ins, as `tests/core/test_histories.py`
does, and three corrections of it, each of which is a decision that differs on purpose:

1. A batch that ends in a dedicated worker has what is suspected of its connection go on. Before,
   a connection whose worker was busy when another batch of it died stayed on probation for ever.
2. What is suspected has a worker asked for. Before, an unproven connection that had given its
   worker back, and whose last batch among the others then died, stayed on probation for ever.
3. At one tick as many workers are given back for their turn as connections wait. Before, it was
   so where a spare was there at once, and all who had had their turn gave theirs back elsewhere.

Its host answers a request for a worker later, as an effect loop does, so that it, too, charges a
death before the next probe leaves. Gone with the old machine.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from supervisor import suspects as old
from supervisor.core.child import State
from supervisor.core.effects import ExitReason
from supervisor.core.isolation import facts as told
from supervisor.core.isolation.effects import (
    BlameKind,
    CountBlame,
    ExtendLease,
    IsolationEffect,
    PostponeAlone,
    QuarantineDelivery,
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
from supervisor.core.isolation.placement import Placement, TrustState, placement_of
from supervisor.core.scheduler import Rule
from supervisor.posts import Lane, Post
from supervisor.queue import Delivery, Lease
from supervisor.verdicts import Run
from supervisor.workers import Exit, Mark
from tests.core.isolation.world import BATCH_LIMIT_S, Batch, World, key_of


class Corrected(old.Suspects):
    """The old machine with the three corrections, and without tasks."""

    told: list[IsolationEffect]
    turns_left: int | None = None

    def batch_done(self, post: Post, run: Run, seconds: float, limit_s: float) -> None:
        super().batch_done(post, run, seconds, limit_s)
        if post.only is not None:
            self._advance(run.connection)

    def _try(self, known: old._Known, file: old.File, indices: tuple[int, ...]) -> bool:
        if not known.is_apart:
            self._isolate(file.run.connection, known)
        return super()._try(known, file, indices)

    def tick(self) -> None:
        self.turns_left = sum(one.is_apart and one.post is None for one in self._known.values())
        super().tick()
        self.turns_left = None

    def _has_had_its_turn(self, known: old._Known, now: float) -> bool:
        if self.turns_left is not None:
            is_over = now - known.came_at > old.TURN_S and not known.files
            is_free = known.post is not None and not known.post.batches
            return self.turns_left > 0 and is_over and is_free
        return super()._has_had_its_turn(known, now)

    def _give_back(self, connection: str, known: old._Known) -> None:
        super()._give_back(connection, known)
        if self.turns_left is not None:
            self.turns_left -= 1

    def _extend(self, connection: str, file: old.File, now: float) -> None:
        file.held_until = now + old.HOLD_S
        self.told.append(ExtendLease(file.run.id, old.HOLD_S))


class OldMachine:
    """Told of each fact, it gives the effects that the old machine would have had carried out.

    A part of the stand-ins is read off the world: whether a worker takes a probe.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.effects: list[IsolationEffect] = []
        self.voided: set[str] = set()
        self.lanes: dict[str, Lane] = {}
        self.posts: dict[int, Post] = {}
        self.runs: dict[int, Run] = {}
        self.claimed: set[str] = set()
        self._probes: dict[str, Run] = {}
        self._would_send: frozenset[str] = frozenset()
        stand_in = cast(Any, self)  # Any: it stands for host, queue, scheduler, judge and metrics
        self.machine = Corrected(
            stand_in,
            self.lanes,
            queue=stand_in,
            scheduler=stand_in,
            judge=stand_in,
            metrics=stand_in,
            clock=lambda: world.now,
        )
        self.machine.told = self.effects

    # --- what it is told ---

    def handle(self, fact: told.IsolationFact) -> list[IsolationEffect]:
        """The effects of one fact."""
        self.effects.clear()
        self.voided.clear()
        for worker in self.posts:
            self._post(worker)
        match fact:
            case told.ConnectionOpened(connection=name, is_closed=is_closed):
                closed = Rule.DISABLED if is_closed else None
                # Any: what a lane may reach is nothing here, and its terms are not looked at.
                self.lanes[name] = Lane(name, name, {}, cast(Any, None), closed, cast(Any, None))
            case told.ConnectionRemoved(connection=name):
                self.machine.removed(name)
                del self.lanes[name]
            case told.BatchSent(worker=worker, batch=batch):
                run = self._run(self.world.workers[worker].batches[batch], worker)
                self._post(worker).batches[batch] = run
            case told.ProbeSent(connection=name, batch=batch):
                probe = self._probes.pop(name)
                probe.id = batch
                self.runs[batch] = self._post(probe.worker).batches[batch] = probe
            case told.BatchFinished():
                self._finished(fact)
            case told.WorkerDedicated(worker=worker, connection=name):
                post = self._post(worker)
                post.only = name
                if name in self.claimed:
                    self.machine.came(post)
            case told.WorkerDied():
                self._died(fact)
            case told.ResourcesExhausted(connection=name, reason=reason, detail=detail):
                self.machine.used_up(name, reason, detail)
            case told.LoopHogged(connection=name, how=how):
                self.machine.hogged(name, how)
            case told.LeaseLost(batch=batch):
                for name, known in list(self.machine._known.items()):
                    for file in [file for file in known.files if file.run.id == batch]:
                        file.case.dissolve()
                        self.machine._advance(name)
            case told.Ticked(would_send=would_send):
                self._would_send = would_send
                self.machine.tick()
            case told.Draining():
                self.machine.draining()
            case told.ProbeRefused() | told.BreakerOpened():
                pass  # it asks before it sends, and is told at once
        return list(self.effects)

    def _finished(self, fact: told.BatchFinished) -> None:
        post, run = self._post(fact.worker), self.runs[fact.batch]
        run.told = bytearray(b"\1" * len(run.told))
        run.delivered, run.retried = fact.delivered, fact.retried
        del post.batches[run.id]
        post.finished += 1
        if not post.batches:
            post.idle_since = self.world.now
        self.machine.batch_done(post, run, fact.seconds, BATCH_LIMIT_S)

    def _died(self, fact: told.WorkerDied) -> None:
        post = self._post(fact.worker)
        del self.posts[fact.worker]
        post.is_leaving, post.overdue = fact.is_leaving, tuple(fact.overdue)
        for name in fact.configured & self.lanes.keys():
            post.configured[name] = self.lanes[name]
        for lost in fact.batches:
            run = post.batches[lost.batch]
            run.told = bytearray(int(n not in lost.unreported) for n in range(lost.size))
        mark = None
        if fact.mark is not None:
            mark = Mark(fact.mark.connection, fact.mark.batch, fact.mark.index, True)
        end = Exit(fact.reason, fact.detail, True, 0.0, None, mark)
        self.machine.died(post, end, fact.exit_id, is_ours=fact.is_ours)

    def _post(self, worker: int) -> Post:
        if worker not in self.posts:
            # Any: a stand-in for a process.
            process = cast(Any, SimpleNamespace(number=worker, state=State.READY))
            self.posts[worker] = Post(process, cast(Any, None))  # Any: nobody connects here
        post = self.posts[worker]
        found = self.world.workers.get(worker)
        is_ready = found is not None and found.is_ready
        cast(Any, post.worker).state = State.READY if is_ready else State.KILLED  # Any: as above
        return post

    def _run(self, batch: Batch, worker: int) -> Run:
        bodies = [Delivery(str(event).encode(), 1, 0.0, b"") for event in batch.events]
        run = self.runs[batch.id] = Run(
            batch.id,
            batch.connection,
            batch.connection,
            worker,
            Lease(1, batch.connection, batch.leased_until, bodies),
            self.world.now,
            self.world.now + 60,
            bytearray(len(bodies)),
        )
        return run

    # --- what it decides ---

    def placement(self, connection: str) -> Placement:
        """Where it has a connection run."""
        known = self.machine._known.get(connection)
        post = None if known is None else known.post
        trust = TrustState(self.machine.standing(connection).value)
        return placement_of(trust, None if post is None else post.worker.number)

    def isolate(self, connection: str) -> None:
        assert connection not in self.claimed
        self.claimed.add(connection)
        self.effects.append(RequestWorker(connection))

    def rejoin(self, connection: str) -> None:
        if connection in self.claimed:
            self.claimed.discard(connection)
            self.effects.append(ReturnWorker(connection))

    def try_again(self, post: Post, lane: Lane, run: Run, indices: tuple[int, ...]) -> Run:
        self.effects.append(Resend(run.id, run.connection, post.worker.number, indices))
        probe = run.part(0, post.worker.number, indices, self.world.now, 0.0)
        self._probes[run.connection] = probe
        return probe

    def held(self, connection: str, rule: Rule | None) -> None:
        if rule is not None:
            self.voided.add(connection)

    def would_send(self, connection: str, now: float) -> bool:
        return connection in self._would_send

    def tripped(self, connection: str, reason: str, now: float, jitter: float) -> bool:
        self.effects.append(Trip(connection, reason))
        return self.world.would_open(connection)

    def reserve(self, worker: int, connection: str) -> None: ...

    def unreserve(self, connection: str) -> None: ...

    def worker_came(self, worker: int, credits: int) -> None: ...

    def borrowed(self, connection: str, worker: int) -> None: ...

    def suspect_executions(self, connection: str, n: int) -> None: ...

    def connection_death(self, connection: str) -> None:
        self.effects.append(CountBlame(connection, BlameKind.DEATH))

    def connection_used_up(self, connection: str) -> None:
        self.effects.append(CountBlame(connection, BlameKind.USED_UP))

    def connection_hogged(self, connection: str) -> None:
        self.effects.append(CountBlame(connection, BlameKind.HOGGED))

    def released(self, run: Run, indices: tuple[int, ...] | None = None) -> None:
        if indices is None:
            indices = tuple(n for n, is_told in enumerate(run.told) if not is_told)
        if indices:
            self.effects.append(Requeue(run.id, indices))

    def postponed(self, run: Run, indices: tuple[int, ...], reason: str) -> None:
        if indices:
            self.effects.append(PostponeAlone(run.id, indices, reason))

    def quarantined(self, run: Run, index: int, reason: str, exit_id: str | None) -> None:
        (file,) = (one for one in self.machine._known[run.connection].files if one.run is run)
        effect = QuarantineDelivery(
            run.id, run.connection, index, file.end.reason, file.end.detail, exit_id
        )
        assert effect.why == reason
        self.effects.append(effect)

    # --- what it logs ---

    def warning(self, event: str, connection: str, reason: object, **more: object) -> None:
        match event:
            case "connection_hogs":
                how = str(reason).removeprefix("it ")
                self.effects.append(ReportNoisyNeighbour(connection, how))
            case "connection_on_probation":
                deliveries, accused = more["deliveries"], more["accused"]
                assert isinstance(deliveries, int)
                assert isinstance(accused, int)
                end = ExitReason(str(reason)), str(more["detail"])
                self.effects.append(ReportProbation(connection, *end, deliveries, accused))
            case _:
                raise AssertionError(event)

    def info(self, event: str, connection: str, deaths: int = 0) -> None:
        match event:
            case "probation_over":
                self.effects.append(ReportDecided(connection, deaths))
            case "connection_trusted_again":
                self.effects.append(ReportTrust(connection))
            case _:
                raise AssertionError(event)

    def error(self, event: str, **more: object) -> None:
        assert event in ("delivery_quarantined", "connection_tripped")


__all__ = ["OldMachine", "key_of"]
