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
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.poison import Cause, Court, Held, Hint, Order, Standing
from supervisor.core.probation import Case, Close, Quarantine, Try
from supervisor.core.scheduling.scheduler import BlockReason, Scheduler
from supervisor.delivery.records import PoolConnection, PoolWorker
from supervisor.delivery.settlement import InflightBatch, Settlement
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

    def try_again(
        self,
        pool_worker: PoolWorker,
        pool_connection: PoolConnection,
        batch: InflightBatch,
        indices: tuple[int, ...],
    ) -> InflightBatch:
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
    batch: InflightBatch
    end: Exit
    exit_id: str | None
    held_until: float


@dataclass(slots=True)
class _Known:
    """What is known of one connection."""

    health: Health = field(default_factory=Health)
    blame: Blame = field(default_factory=Blame)
    files: list[File] = field(default_factory=list)
    trial: tuple[File, InflightBatch] | None = None
    pool_worker: PoolWorker | None = None
    came_at: float = 0.0
    is_apart: bool = False


class Suspects:
    """Those of one pool."""

    def __init__(
        self,
        host: Host,
        pool_connections: Mapping[str, PoolConnection],
        *,
        queue: Queue,
        scheduler: Scheduler,
        settlement: Settlement,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._host = host
        self._pool_connections = pool_connections
        self._queue = queue
        self._scheduler = scheduler
        self._settlement = settlement
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

    def may_run(self, connection: str, pool_worker: PoolWorker) -> bool:
        """Whether a batch of it that was leased meanwhile may still go to this worker."""
        match self._court.standing(connection):
            case Standing.TRUSTED:
                return pool_worker.only is None
            case Standing.UNPROVEN:
                return pool_worker.only == connection
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

    def came(self, pool_worker: PoolWorker) -> None:
        """A worker is there for one connection alone."""
        assert pool_worker.only is not None
        known = self._of(pool_worker.only)
        known.pool_worker = pool_worker
        known.came_at = pool_worker.idle_since = self._clock()
        self._scheduler.reserve(pool_worker.worker.number, pool_worker.only)
        # One batch at a time: whoever dies there has nobody else to blame.
        self._scheduler.worker_came(pool_worker.worker.number, 1)
        if self._court.standing(pool_worker.only) is Standing.UNPROVEN:
            self._scheduler.held(pool_worker.only, None)
        self._advance(pool_worker.only)

    def batch_done(
        self, pool_worker: PoolWorker, batch: InflightBatch, seconds: float, limit_s: float
    ) -> None:
        """A batch has all its outcomes, after so many of `limit_s` seconds."""
        known = self._known.get(batch.connection)
        if known is not None and known.trial is not None and known.trial[1] is batch:
            file, _ = known.trial
            known.trial = None
            file.case.survived()
            if batch.delivered:
                known.health.went_well()
            self._advance(batch.connection)
            return
        now = self._clock()
        if seconds >= SLOW_SHARE * limit_s:
            self._of(batch.connection).health.charged(Fault.SLOW, "", now)
        if batch.retried and not batch.delivered:
            self._of(batch.connection).health.charged(Fault.ERROR, "", now)
        elif known is not None and batch.delivered:
            known.health.went_well()
            self._carry_out(batch.connection, self._court.record(batch.connection).went_well(now))
        if (
            known is not None
            and known.pool_worker is pool_worker
            and self._has_had_its_turn(known, now)
        ):
            self._give_back(batch.connection, known)

    def died(
        self, pool_worker: PoolWorker, end: Exit, exit_id: str | None, *, is_ours: bool
    ) -> None:
        """A worker is buried; `is_ours`: for reasons that charge nobody.

        Each of its batches is released, or has a case from here on. `exit_id` names
        the evidence.
        """
        batches = list(pool_worker.batches.values())
        only = None if pool_worker.only is None else self._known.get(pool_worker.only)
        if only is not None and only.pool_worker is pool_worker:
            only.pool_worker = None
        cause = self._cause(pool_worker, end, is_ours=is_ours)
        if only is not None and only.trial is not None and only.trial[1] in batches:
            self._died_on_trial(only, end, exit_id, cause)
        elif batches:
            self._open_cases(pool_worker, batches, end, exit_id, cause)
        elif pool_worker.finished and cause is not Cause.OURS:
            # Nothing was to be told any more: something that an earlier batch left behind did it.
            self._charge_last(pool_worker, end, cause)

    def used_up(self, connection: str, reason: ExitReason, detail: str) -> None:
        """It has left a worker with no memory or files, which need not die of it.

        It is charged, and runs apart until it is proven, so that the next one is its own.
        """
        if connection not in self._pool_connections or self._draining:
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
        if connection not in self._pool_connections or self._draining:
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
            self._settlement.released(file.batch, file.case.dissolve())
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
            pool_worker = known.pool_worker
            if pool_worker is not None and (
                (
                    not pool_worker.batches
                    and pool_worker.idle_since is not None
                    and now - pool_worker.idle_since > APART_IDLE_S
                )
                or self._has_had_its_turn(known, now)
            ):
                self._give_back(connection, known)
            elif not known.is_apart and self._scheduler.would_send(connection, now):
                self._isolate(connection, known)

    # --- deaths ---

    def _cause(self, pool_worker: PoolWorker, end: Exit, *, is_ours: bool) -> Cause:
        # One that was overdue is recycled first, so that its other batches can end.
        is_leaving = pool_worker.is_leaving and not pool_worker.overdue
        if is_ours or self._draining or is_leaving or end.reason in _UNCHARGED:
            return Cause.OURS
        is_at_it = end.reason is ExitReason.LIMIT and end.mark is not None and end.mark.is_running
        if end.reason in _BELATED and not is_at_it:
            return Cause.ANY
        if end.reason is ExitReason.SIGNAL and end.detail == "SIGKILL":
            return Cause.KILLED
        return Cause.RUNNING

    def _open_cases(
        self,
        pool_worker: PoolWorker,
        batches: list[InflightBatch],
        end: Exit,
        exit_id: str | None,
        cause: Cause,
    ) -> None:
        now = self._clock()
        mark = end.mark
        hint = Hint(mark.batch, mark.event) if mark is not None and mark.is_running else None
        inquest = self._court.inquest(
            [_held(batch) for batch in batches if batch.connection in self._pool_connections],
            cause,
            hint=hint,
            overdue=pool_worker.overdue,
            was_own=pool_worker.only is not None,
        )
        for batch in batches:
            case = inquest.cases.get(batch.id)
            if case is None:
                self._settlement.released(batch)
            else:
                file = File(case, batch, end, exit_id, batch.lease.expires_at)
                self._of(batch.connection).files.append(file)
        for connection in inquest.accused:
            cases = sum(
                batch.connection == connection and batch.id in inquest.cases for batch in batches
            )
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
        elif not any(batch.unreported for batch in batches) and cause is not Cause.OURS:
            # All was told, and yet it did not end.
            self._charge_last(pool_worker, end, cause)
        for connection in inquest.accused:
            self._advance(connection)

    def _charge_last(self, pool_worker: PoolWorker, end: Exit, cause: Cause) -> None:
        """A worker died with no event to suspect: its connection runs apart, where it is known.

        Where somebody outside may have killed it, nobody is charged but who had it alone.
        """
        if cause is Cause.KILLED and pool_worker.only is None:
            return
        candidates = set(pool_worker.configured)
        if pool_worker.overdue:
            candidates = {
                batch.connection
                for batch in pool_worker.batches.values()
                if batch.id in pool_worker.overdue
            }
        elif end.mark is not None and end.mark.is_running:
            candidates = {end.mark.connection}
        candidates &= self._pool_connections.keys()
        if len(candidates) != 1:
            return
        (connection,) = candidates
        self._carry_out(connection, self._court.record(connection).accused(1, self._clock()))
        self._charge(connection, end)
        self._close(connection)

    def _died_on_trial(self, known: _Known, end: Exit, exit_id: str | None, cause: Cause) -> None:
        assert known.trial is not None
        (file, batch), known.trial = known.trial, None
        silent = [
            batch.place(index) for index, reported in enumerate(batch.reported) if not reported
        ]
        if cause is Cause.OURS:
            file.case.interrupted(silent)
        else:
            file.case.died(silent)
            file.end, file.exit_id = end, exit_id
            self._court.record(batch.connection).died_on_trial(self._clock())
            self._charge(batch.connection, end)
        self._advance(batch.connection)

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
            self._settlement.postponed(file.batch, file.case.give_up(), f"worker exited: {said}")

    # --- trials ---

    def _advance(self, connection: str) -> None:
        """Do what is next for a connection's cases, as far as it can be done now."""
        known = self._known.get(connection)
        while known is not None and known.files and known.trial is None:
            file = known.files[0]
            if self._draining:
                self._settlement.released(file.batch, file.case.dissolve())
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
        pool_worker, old = known.pool_worker, file.batch
        pool_connection = self._pool_connections.get(old.connection)
        if (
            pool_connection is None
            or pool_worker is None
            or pool_worker.batches
            or pool_worker.worker.state is not ProcessState.READY
        ):
            return False
        known.blame.executions += len(indices)
        self._metrics.suspect_executions(old.connection, len(indices))
        self._scheduler.borrowed(old.connection, pool_worker.worker.number)
        known.trial = file, self._host.try_again(pool_worker, pool_connection, old, indices)
        return True

    def _quarantine(self, known: _Known, file: File, index: int) -> None:
        known.blame.quarantined += 1
        self._settlement.quarantined(
            file.batch,
            index,
            f"it kills its worker: {_said(file.end.reason, file.end.detail)}",
            file.exit_id,
        )
        _log.error(
            "delivery_quarantined",
            connection=file.batch.connection,
            reason=file.end.reason,
            detail=file.end.detail,
        )

    def _close(self, connection: str) -> None:
        is_alone = all(
            name == connection or pool_connection.closed is not None
            for name, pool_connection in self._pool_connections.items()
        )
        self._carry_out(connection, self._court.case_closed(connection, is_alone=is_alone))

    # --- standing ---

    def _carry_out(self, connection: str, orders: list[Order]) -> None:
        known = self._of(connection)
        for order in orders:
            match order:
                case Order.HOLD:
                    self._scheduler.held(connection, BlockReason.PROBATION)
                case Order.LET_GO:
                    has_place = known.pool_worker is not None
                    self._scheduler.held(connection, None if has_place else BlockReason.APART)
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
            known.pool_worker is not None
            and not known.pool_worker.batches
            and known.trial is None
            and not known.files
            and now - known.came_at > TURN_S
            and any(other.is_apart and other.pool_worker is None for other in self._known.values())
        )

    def _give_back(self, connection: str, known: _Known) -> None:
        """It has no worker of its own from here on; until it is trusted it waits for another."""
        known.is_apart, known.pool_worker = False, None
        self._scheduler.unreserve(connection)
        self._scheduler.held(connection, BlockReason.APART)
        self._host.rejoin(connection)

    # --- leases ---

    def _extend(self, connection: str, file: File, now: float) -> None:
        file.held_until = now + HOLD_S
        task = asyncio.get_running_loop().create_task(self._extended(connection, file))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _extended(self, connection: str, file: File) -> None:
        try:
            await self._queue.extend(file.batch.lease, HOLD_S)
        except (LeaseExpired, QueueUnavailable) as error:
            # They are pending again, or will be when the store is back: not ours any more.
            _log.warning("suspects_lost", connection=connection, error=str(error))
            file.case.dissolve()
            self._advance(connection)

    def _of(self, connection: str) -> _Known:
        return self._known.setdefault(connection, _Known())


def _held(batch: InflightBatch) -> Held:
    suspects = [index for index, reported in enumerate(batch.reported) if not reported]
    bodies = batch.lease.deliveries
    keys = [hash((batch.connection, bodies[index].body)) for index in suspects]
    return Held(batch.id, batch.connection, len(batch.reported), suspects, keys)


def _said(reason: ExitReason, detail: str) -> str:
    return f"{reason} ({detail})" if detail else str(reason)
