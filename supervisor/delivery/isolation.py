"""What becomes of the batches of a worker that died, and of the connections they belong to.

The shell around `core/poison.py`, `core/probation.py` and `core/health.py`: keeps the
leases of suspect batches, sends their trials to the worker that the accused connection
has for itself, and has connections tripped that cost too much. While the supervisor
lives, nothing of a suspect batch goes back to the queue before it has its verdict; if it
dies, all of it is pending again and nobody is charged. Must not know slots or spares.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from supervisor.core.effects import ExitReason
from supervisor.core.health import Fault, Health, fault_of
from supervisor.core.lifecycle.worker_state import State
from supervisor.core.poison import Cause, Court, Held, Hint, Order, Standing
from supervisor.core.probation import Case, Close, Quarantine, Try
from supervisor.core.scheduling.scheduler import Rule, Scheduler
from supervisor.delivery.records import Lane, Post
from supervisor.delivery.settlement import Judge, Run
from supervisor.queue import LeaseExpired, Queue, QueueUnavailable
from supervisor.runtime.clock import Clock
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.process import Exit

_log = structlog.get_logger(__name__)

#: Seconds that leases of suspects are held for at a time, and left when they are extended.
HOLD_S, EXTEND_S = 120.0, 60.0
#: Seconds after which a worker apart that has nothing to do is given back.
APART_IDLE_S = 5.0
#: Seconds for which an unproven connection keeps its worker apart while others wait for one.
TURN_S = 1.0
#: A batch that takes this share of its time limit is slow.
SLOW_SHARE = 0.8

_UNCHARGED = frozenset({ExitReason.DRAIN, ExitReason.RECYCLE})
#: What the supervisor finds out a while after it was done: what ran at the end says nothing, but
#: for limits, where whoever is past one is mostly still at it.
_BELATED = frozenset({ExitReason.PROTOCOL, ExitReason.EGRESS, ExitReason.LIMIT})


class Host(Protocol):
    """What a pool does for its suspects."""

    def isolate(self, connection: str) -> None:
        """Get a worker for this connection alone; `Suspects.came` tells of it."""

    def rejoin(self, connection: str) -> None:
        """That worker is not needed any more, or was not yet there."""

    def try_again(self, post: Post, lane: Lane, run: Run, indices: tuple[int, ...]) -> Run:
        """Hand some of a batch to a worker, out of turn, as a batch of their own."""


@dataclass(slots=True)
class Blame:
    """What a connection has cost since the service started.

    `used_up` are workers that it left with no memory or files, `hogged` is how often it was found
    to keep the loops of workers from others, `hogs` how. `executions` are events sent
    again, `trips` openings of its breaker for what it cost.
    """

    deaths: int = 0
    used_up: int = 0
    hogged: int = 0
    hogs: str = ""
    executions: int = 0
    quarantined: int = 0
    trips: int = 0


@dataclass(slots=True)
class File:
    """A case, the batch that it is about, and the last death in it."""

    case: Case
    run: Run
    end: Exit
    exit_id: str | None
    held_until: float


@dataclass(slots=True)
class _Known:
    """What is known of one connection."""

    health: Health = field(default_factory=Health)
    blame: Blame = field(default_factory=Blame)
    files: list[File] = field(default_factory=list)
    trial: tuple[File, Run] | None = None
    post: Post | None = None
    came_at: float = 0.0
    is_apart: bool = False


class Suspects:
    """Those of one pool."""

    def __init__(
        self,
        host: Host,
        lanes: Mapping[str, Lane],
        *,
        queue: Queue,
        scheduler: Scheduler,
        judge: Judge,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._host = host
        self._lanes = lanes
        self._queue = queue
        self._scheduler = scheduler
        self._judge = judge
        self._metrics = metrics
        self._clock = clock
        self._court = Court()
        self._known: dict[str, _Known] = {}
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()

    # --- questions ---

    def most_events(self, connection: str) -> int | None:
        """Events that a batch of it may hold while it is not trusted; None: as its terms say."""
        return self._court.most_events(connection)

    def standing(self, connection: str) -> Standing:
        """Where it may run."""
        return self._court.standing(connection)

    def may_run(self, connection: str, post: Post) -> bool:
        """Whether a batch of it that was leased meanwhile may still go to this worker."""
        match self._court.standing(connection):
            case Standing.TRUSTED:
                return post.only is None
            case Standing.UNPROVEN:
                return post.only == connection
            case Standing.PROBATION:
                return False

    def has_record(self, connection: str) -> bool:
        """Whether anything was ever held against it."""
        return connection in self._known

    def blame(self, connection: str) -> Blame:
        """What it has cost."""
        known = self._known.get(connection)
        return Blame() if known is None else known.blame

    def score(self, connection: str) -> float:
        """How near it is to tripping, see `core/health.py`."""
        known = self._known.get(connection)
        return 0.0 if known is None else known.health.score

    def undecided(self, connection: str) -> int:
        """Its deliveries that are under probation."""
        known = self._known.get(connection)
        return 0 if known is None else sum(file.case.undecided for file in known.files)

    # --- facts ---

    def came(self, post: Post) -> None:
        """A worker is there for one connection alone."""
        assert post.only is not None
        known = self._of(post.only)
        known.post = post
        known.came_at = post.idle_since = self._clock()
        self._scheduler.reserve(post.worker.number, post.only)
        # One batch at a time: whoever dies there has nobody else to blame.
        self._scheduler.worker_came(post.worker.number, 1)
        if self._court.standing(post.only) is Standing.UNPROVEN:
            self._scheduler.held(post.only, None)
        self._advance(post.only)

    def batch_done(self, post: Post, run: Run, seconds: float, limit_s: float) -> None:
        """A batch has all its outcomes, after so many of `limit_s` seconds."""
        known = self._known.get(run.connection)
        if known is not None and known.trial is not None and known.trial[1] is run:
            file, _ = known.trial
            known.trial = None
            file.case.survived()
            if run.delivered:
                known.health.went_well()
            self._advance(run.connection)
            return
        now = self._clock()
        if seconds >= SLOW_SHARE * limit_s:
            self._of(run.connection).health.charged(Fault.SLOW, "", now)
        if run.retried and not run.delivered:
            self._of(run.connection).health.charged(Fault.ERROR, "", now)
        elif known is not None and run.delivered:
            known.health.went_well()
            self._carry_out(run.connection, self._court.record(run.connection).went_well(now))
        if known is not None and known.post is post and self._has_had_its_turn(known, now):
            self._give_back(run.connection, known)

    def died(self, post: Post, end: Exit, exit_id: str | None, *, is_ours: bool) -> None:
        """A worker is buried; `is_ours`: for reasons that charge nobody.

        Each of its batches is released, or has a case from here on. `exit_id` names
        the evidence.
        """
        runs = list(post.batches.values())
        only = None if post.only is None else self._known.get(post.only)
        if only is not None and only.post is post:
            only.post = None
        cause = self._cause(post, end, is_ours=is_ours)
        if only is not None and only.trial is not None and only.trial[1] in runs:
            self._died_on_trial(only, end, exit_id, cause)
        elif runs:
            self._open_cases(post, runs, end, exit_id, cause)
        elif post.finished and cause is not Cause.OURS:
            # Nothing was to be told any more: something that an earlier batch left behind did it.
            self._charge_last(post, end, cause)

    def used_up(self, connection: str, reason: ExitReason, detail: str) -> None:
        """It has left a worker with no memory or files, which need not die of it.

        It is charged, and runs apart until it is proven, so that the next one is its own.
        """
        if connection not in self._lanes or self._draining:
            return
        self._of(connection).blame.used_up += 1
        self._metrics.connection_used_up(connection)
        self._carry_out(connection, self._court.record(connection).accused(1, self._clock()))
        self._charge_health(connection, reason, _said(reason, detail))
        self._close(connection)

    def hogged(self, connection: str, how: str) -> None:
        """It keeps the loops of workers from the others; `how` follows "it".

        It runs apart until it has not done so for a while; nothing else is held against it.
        """
        if connection not in self._lanes or self._draining:
            return
        standing = self._court.standing(connection)
        if standing is Standing.PROBATION:
            return
        blame = self._of(connection).blame
        blame.hogged += 1
        blame.hogs = how
        self._metrics.connection_hogged(connection)
        now, record = self._clock(), self._court.record(connection)
        record.hogged(now)
        if standing is Standing.TRUSTED:
            _log.warning("connection_hogs", connection=connection, reason=f"it {how}")
            self._carry_out(connection, record.accused(1, now))
            self._close(connection)

    def draining(self) -> None:
        """Nobody is tried any more; what was not decided is pending, uncharged."""
        self._draining = True
        for connection in list(self._known):
            self._advance(connection)

    def removed(self, connection: str) -> None:
        """A connection left the config, or this pool."""
        known = self._known.pop(connection, None)
        self._court.forget(connection)
        if known is None:
            return
        for file in known.files:
            self._judge.released(file.run, file.case.dissolve())
        if known.is_apart:
            self._host.rejoin(connection)

    def tick(self) -> None:
        """Time has passed: leases are kept, workers apart are given back and asked for again."""
        now = self._clock()
        for connection, known in list(self._known.items()):
            for file in list(known.files):
                if file.held_until - now < EXTEND_S:
                    self._extend(connection, file, now)
            if self._court.standing(connection) is not Standing.UNPROVEN:
                continue
            post = known.post
            if post is not None and (
                (
                    not post.batches
                    and post.idle_since is not None
                    and now - post.idle_since > APART_IDLE_S
                )
                or self._has_had_its_turn(known, now)
            ):
                self._give_back(connection, known)
            elif not known.is_apart and self._scheduler.would_send(connection, now):
                self._isolate(connection, known)

    # --- deaths ---

    def _cause(self, post: Post, end: Exit, *, is_ours: bool) -> Cause:
        # One that was overdue is recycled first, so that its other batches can end.
        is_leaving = post.is_leaving and not post.overdue
        if is_ours or self._draining or is_leaving or end.reason in _UNCHARGED:
            return Cause.OURS
        is_at_it = end.reason is ExitReason.LIMIT and end.mark is not None and end.mark.is_running
        if end.reason in _BELATED and not is_at_it:
            return Cause.ANY
        if end.reason is ExitReason.SIGNAL and end.detail == "SIGKILL":
            return Cause.KILLED
        return Cause.RUNNING

    def _open_cases(
        self, post: Post, runs: list[Run], end: Exit, exit_id: str | None, cause: Cause
    ) -> None:
        now = self._clock()
        mark = end.mark
        hint = Hint(mark.batch, mark.event) if mark is not None and mark.is_running else None
        inquest = self._court.inquest(
            [_held(run) for run in runs if run.connection in self._lanes],
            cause,
            hint=hint,
            overdue=post.overdue,
            was_own=post.only is not None,
        )
        for run in runs:
            case = inquest.cases.get(run.id)
            if case is None:
                self._judge.released(run)
            else:
                file = File(case, run, end, exit_id, run.lease.expires_at)
                self._of(run.connection).files.append(file)
        for connection in inquest.accused:
            cases = sum(run.connection == connection and run.id in inquest.cases for run in runs)
            is_alone = connection == inquest.culprit
            orders = self._court.record(connection).accused(cases, now, is_alone=is_alone)
            _log.warning(
                "connection_on_probation",
                connection=connection,
                reason=end.reason,
                detail=end.detail,
                deliveries=self.undecided(connection),
                accused=len(inquest.accused),
            )
            self._carry_out(connection, orders)
        if inquest.culprit is not None:
            self._charge(inquest.culprit, end)
        elif not any(run.unreported for run in runs) and cause is not Cause.OURS:
            # All was told, and yet it did not end.
            self._charge_last(post, end, cause)
        for connection in inquest.accused:
            self._advance(connection)

    def _charge_last(self, post: Post, end: Exit, cause: Cause) -> None:
        """A worker died with no event to suspect: its connection runs apart, where it is known.

        Where somebody outside may have killed it, nobody is charged but who had it alone.
        """
        if cause is Cause.KILLED and post.only is None:
            return
        candidates = set(post.configured)
        if post.overdue:
            candidates = {run.connection for run in post.batches.values() if run.id in post.overdue}
        elif end.mark is not None and end.mark.is_running:
            candidates = {end.mark.connection}
        candidates &= self._lanes.keys()
        if len(candidates) != 1:
            return
        (connection,) = candidates
        self._carry_out(connection, self._court.record(connection).accused(1, self._clock()))
        self._charge(connection, end)
        self._close(connection)

    def _died_on_trial(self, known: _Known, end: Exit, exit_id: str | None, cause: Cause) -> None:
        assert known.trial is not None
        (file, run), known.trial = known.trial, None
        silent = [run.place(index) for index, told in enumerate(run.told) if not told]
        if cause is Cause.OURS:
            file.case.interrupted(silent)
        else:
            file.case.died(silent)
            file.end, file.exit_id = end, exit_id
            self._court.record(run.connection).died_on_trial(self._clock())
            self._charge(run.connection, end)
        self._advance(run.connection)

    def _charge(self, connection: str, end: Exit) -> None:
        """A worker died of it."""
        self._of(connection).blame.deaths += 1
        self._metrics.connection_death(connection)
        self._charge_health(connection, end.reason, _said(end.reason, end.detail))

    def _charge_health(self, connection: str, reason: ExitReason, said: str) -> None:
        known, fault = self._of(connection), fault_of(reason)
        if fault is None:
            return
        now = self._clock()
        why = known.health.charged(fault, said, now)
        if why is None:
            return
        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
        if self._scheduler.tripped(connection, why, now, jitter):
            known.blame.trips += 1
            _log.error("connection_tripped", connection=connection, reason=why)
        for file in known.files:
            self._judge.postponed(file.run, file.case.give_up(), f"worker exited: {said}")

    # --- trials ---

    def _advance(self, connection: str) -> None:
        """Do what is next for a connection's cases, as far as it can be done now."""
        known = self._known.get(connection)
        while known is not None and known.files and known.trial is None:
            file = known.files[0]
            if self._draining:
                self._judge.released(file.run, file.case.dissolve())
            match file.case.next():
                case Try(indices=indices):
                    if not self._try(known, file, indices):
                        file.case.interrupted(indices)
                        return
                case Quarantine(index=index):
                    self._quarantine(known, file, index)
                case Close(deaths=deaths):
                    known.files.remove(file)
                    _log.info("probation_over", connection=connection, deaths=deaths)
                    self._close(connection)

    def _try(self, known: _Known, file: File, indices: tuple[int, ...]) -> bool:
        """Send a trial; False where there is nobody to send it to yet."""
        post, old = known.post, file.run
        lane = self._lanes.get(old.connection)
        if lane is None or post is None or post.batches or post.worker.state is not State.READY:
            return False
        known.blame.executions += len(indices)
        self._metrics.suspect_executions(old.connection, len(indices))
        self._scheduler.borrowed(old.connection, post.worker.number)
        known.trial = file, self._host.try_again(post, lane, old, indices)
        return True

    def _quarantine(self, known: _Known, file: File, index: int) -> None:
        known.blame.quarantined += 1
        self._judge.quarantined(
            file.run,
            index,
            f"it kills its worker: {_said(file.end.reason, file.end.detail)}",
            file.exit_id,
        )
        _log.error(
            "delivery_quarantined",
            connection=file.run.connection,
            reason=file.end.reason,
            detail=file.end.detail,
        )

    def _close(self, connection: str) -> None:
        is_alone = all(
            name == connection or lane.closed is not None for name, lane in self._lanes.items()
        )
        self._carry_out(connection, self._court.case_closed(connection, is_alone=is_alone))

    # --- standing ---

    def _carry_out(self, connection: str, orders: list[Order]) -> None:
        known = self._of(connection)
        for order in orders:
            match order:
                case Order.HOLD:
                    self._scheduler.held(connection, Rule.PROBATION)
                case Order.LET_GO:
                    has_place = known.post is not None
                    self._scheduler.held(connection, None if has_place else Rule.APART)
                case Order.ISOLATE:
                    self._isolate(connection, known)
                case Order.REJOIN:
                    self._give_back(connection, known)
                    self._scheduler.held(connection, None)
                    _log.info("connection_trusted_again", connection=connection)

    def _isolate(self, connection: str, known: _Known) -> None:
        known.is_apart = True
        self._host.isolate(connection)

    def _has_had_its_turn(self, known: _Known, now: float) -> bool:
        """Whether an unproven one is to make room, between two batches, for one that waits."""
        return (
            known.post is not None
            and not known.post.batches
            and known.trial is None
            and not known.files
            and now - known.came_at > TURN_S
            and any(other.is_apart and other.post is None for other in self._known.values())
        )

    def _give_back(self, connection: str, known: _Known) -> None:
        """It has no worker of its own from here on; until it is trusted it waits for another."""
        known.is_apart, known.post = False, None
        self._scheduler.unreserve(connection)
        self._scheduler.held(connection, Rule.APART)
        self._host.rejoin(connection)

    # --- leases ---

    def _extend(self, connection: str, file: File, now: float) -> None:
        file.held_until = now + HOLD_S
        task = asyncio.get_running_loop().create_task(self._extended(connection, file))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _extended(self, connection: str, file: File) -> None:
        try:
            await self._queue.extend(file.run.lease, HOLD_S)
        except (LeaseExpired, QueueUnavailable) as error:
            # They are pending again, or will be when the store is back: not ours any more.
            _log.warning("suspects_lost", connection=connection, error=str(error))
            file.case.dissolve()
            self._advance(connection)

    def _of(self, connection: str) -> _Known:
        return self._known.setdefault(connection, _Known())


def _held(run: Run) -> Held:
    suspects = [index for index, told in enumerate(run.told) if not told]
    bodies = run.lease.deliveries
    keys = [hash((run.connection, bodies[index].body)) for index in suspects]
    return Held(run.id, run.connection, len(run.told), suspects, keys)


def _said(reason: ExitReason, detail: str) -> str:
    return f"{reason} ({detail})" if detail else str(reason)
