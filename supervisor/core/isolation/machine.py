"""Isolation: facts about workers and batches in, what to do with the accused out.

Owns the order in which a fact is taken, and the suspected batches: what of them is sent again, and
when. A fact is taken whole, with everything that follows from it, before its effects are carried
out, so that a death is charged before the next probe leaves. Must not know workers, leases or the
scheduler: what an effect means there is for the shell to know (`effects.py`).
"""

from __future__ import annotations

from collections.abc import Collection

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.apart import ApartCause, ApartCode
from supervisor.core.isolation.attribution import (
    DeathKind,
    FaultAttribution,
    is_proven,
    kind_of,
    last_at_it,
)
from supervisor.core.isolation.bisection import AllDecided, KillerFound, ProbeDue
from supervisor.core.isolation.charges import Charges
from supervisor.core.isolation.dedication import Dedication
from supervisor.core.isolation.effects import (
    ExtendLease,
    ForgetLease,
    HoldLease,
    IsolationEffect,
    QuarantineDelivery,
    RecordFates,
    ReportDecided,
    ReportProbation,
    Requeue,
    Resend,
    ReturnWorker,
)
from supervisor.core.isolation.facts import (
    BatchFinished,
    BatchSent,
    BreakerOpened,
    ConnectionOpened,
    ConnectionRemoved,
    Draining,
    IsolationFact,
    LeaseLost,
    LoopHogged,
    LostBatch,
    ProbeRefused,
    ProbeSent,
    ResourcesExhausted,
    Ticked,
    WorkerDedicated,
    WorkerDied,
)
from supervisor.core.isolation.fates import HeldPart, fate_of
from supervisor.core.isolation.records import (
    IsolationState,
    IsolationStatus,
    Probe,
    SuspectedBatch,
)
from supervisor.core.placement import (
    SHARED,
    Dedicated,
    Placement,
    Shared,
    TrustState,
    Waiting,
    trust_of,
)

#: Seconds that leases of suspected batches are held for at a time, and left when they are extended.
HOLD_S, EXTEND_S = 120.0, 60.0


class Isolation:
    """That of one pool. Times are seconds of a clock that does not go back."""

    def __init__(self) -> None:
        self._state = IsolationState()
        self._faults = FaultAttribution()
        self._dedication = Dedication(self._state)
        self._charges = Charges(self._state, self._faults, self._dedication)

    # --- questions ---

    def placement(self, connection: str) -> Placement:
        """Where a connection runs."""
        known = self._state.known.get(connection)
        return SHARED if known is None else known.placement

    def trust(self, connection: str) -> TrustState:
        """What is thought of a connection."""
        return trust_of(self.placement(connection))

    def dedicated_to(self, worker: int) -> str | None:
        """The connection that a worker was given to, also where it has been given back since."""
        dedicated = self._dedication.workers.get(worker)
        return None if dedicated is None else dedicated.connection

    def may_run(self, connection: str, worker: int) -> bool:
        """Whether a batch of it that was leased meanwhile may still go to this worker."""
        match self.placement(connection):
            case Shared():
                return worker not in self._dedication.workers
            case Waiting():
                return False
            case Dedicated(worker=own, is_probed=is_probed):
                return own == worker and not is_probed

    def most_events(self, connection: str) -> int | None:
        """Events that a batch of it may hold while it is not trusted; None: as its terms say."""
        return self._faults.most_events(connection)

    def dormant(self) -> list[str]:
        """Connections that would be given a worker of their own if they had something to send."""
        return [name for name, known in self._state.known.items() if known.is_dormant]

    def status(self, connection: str) -> IsolationStatus | None:
        """What is held against a connection; None: nothing ever was."""
        known = self._state.known.get(connection)
        if known is None:
            return None
        is_unproven = known.trust is TrustState.UNPROVEN
        return IsolationStatus(
            known.trust,
            known.undecided,
            known.health.score,
            known.blame,
            known.apart,
            self._faults.of(connection).proof if is_unproven else None,
        )

    def is_outsiders(self, death: WorkerDied) -> bool:
        """Whether somebody outside has ended a worker, as far as is known: nobody's fault.

        SIGKILL that neither we nor the kernel at its limits of memory sent; but one that meets the
        same suspects again is no accident. To be asked before the fact is taken.
        """
        if (death.reason, death.detail) != (ExitReason.SIGNAL, "SIGKILL"):
            return False
        owner = self.dedicated_to(death.worker)
        known = None if owner is None else self._state.known.get(owner)
        if known is not None and known.probe is not None and known.probe.is_among(death.batches):
            return False
        if owner is not None and not any(one.unreported for one in death.batches):
            return not self._faults.of(owner).was_killed
        return not self._faults.is_repeated(death, self._open_batches(death))

    # --- facts ---

    def handle(self, fact: IsolationFact, now: float) -> list[IsolationEffect]:
        """Take one fact, decide all that follows, and say what is to be done, in that order."""
        effects: list[IsolationEffect] = []
        self._state.effects = effects
        match fact:
            case BatchFinished():
                self._batch_finished(fact, now)
            case BatchSent(worker=worker, batch=batch):
                if (dedicated := self._dedication.workers.get(worker)) is not None:
                    dedicated.batches.add(batch)
            case ProbeSent():
                self._probe_sent(fact)
            case ProbeRefused(connection=connection):
                self._probe_refused(connection)
            case WorkerDedicated(worker=worker, connection=connection):
                if self._dedication.came(connection, worker, now):
                    self._advance(connection)
            case WorkerDied():
                self._worker_died(fact, now)
            case ResourcesExhausted():
                self._charges.used_up(fact, now)
            case LoopHogged():
                self._charges.hogged(fact, now)
            case BreakerOpened(connection=connection):
                if (known := self._state.known.get(connection)) is not None:
                    known.blame.trips += 1
            case LeaseLost(batch=batch):
                self._lease_lost(batch)
            case Ticked(would_send=would_send):
                self._extend_leases(now)
                self._dedication.ticked(would_send, now)
            case ConnectionOpened(connection=connection, is_closed=is_closed):
                self._state.open[connection] = is_closed
                if is_closed:
                    self._advance(connection)
            case ConnectionRemoved(connection=connection):
                self._connection_removed(connection)
            case Draining():
                self._state.is_draining = True
                for connection in self._state.known:
                    self._advance(connection)
        return effects

    def _batch_finished(self, fact: BatchFinished, now: float) -> None:
        dedicated = self._dedication.workers.get(fact.worker)
        if dedicated is not None:
            dedicated.finished(fact.batch, now)
        known = self._state.known.get(fact.connection)
        if known is not None and known.probe is not None and known.probe.id == fact.batch:
            known.probe.of.bisection.survived()
            known.probe = None
            if fact.delivered:
                known.health.went_well()
            self._advance(fact.connection)
            return
        self._charges.finished(fact, now)
        if dedicated is not None:
            self._dedication.finished(fact.worker, fact.connection, now)
            self._advance(fact.connection)  # what is suspected found it busy until now

    def _connection_removed(self, connection: str) -> None:
        self._state.open.pop(connection, None)
        self._faults.forget(connection)
        known = self._state.known.pop(connection, None)
        if known is None:
            return
        for one in known.suspected:
            self._requeue(one.id, one.bisection.dissolve())
            self._state.effects.append(ForgetLease(one.id))
        if known.is_claiming:
            self._state.effects.append(ReturnWorker(connection))

    # --- deaths ---

    def _worker_died(self, fact: WorkerDied, now: float) -> None:
        parts = self._lost(fact, now)
        if fact.batches and fact.exit_id is not None:
            effects = self._state.effects
            fates = tuple(fate_of(one, parts.get(one.batch), effects) for one in fact.batches)
            effects.append(RecordFates(fact.exit_id, fates))

    def _lost(self, fact: WorkerDied, now: float) -> dict[int, HeldPart]:
        """Decide what becomes of all that a dead worker had; its batches that are tried, by id."""
        kind = kind_of(fact, is_draining=self._state.is_draining)
        owner = self._dedication.died(fact.worker)
        known = None if owner is None else self._state.known.get(owner)
        if owner is not None and known is not None and known.probe is not None:
            probe = known.probe
            if probe.is_among(fact.batches):
                known.probe = None
                return self._died_in_probe(owner, probe, fact, kind, now)
        if fact.batches:
            return self._suspect(fact, kind, now, was_dedicated=owner is not None)
        if fact.has_finished and kind is not DeathKind.OURS:
            # Nothing was to be told any more: something that an earlier batch left behind did it.
            self._charge_last(fact, kind, now, was_dedicated=owner is not None)
        return {}

    def _suspect(
        self, fact: WorkerDied, kind: DeathKind, now: float, *, was_dedicated: bool
    ) -> dict[int, HeldPart]:
        """Each batch of the dead worker is given back, or suspected from here on."""
        inquiry = self._faults.inquire(
            self._open_batches(fact),
            kind,
            mark=fact.mark,
            overdue=fact.overdue,
            ended=fact.ended & self._state.open.keys(),
            was_dedicated=was_dedicated,
        )
        cases: dict[str, int] = {}
        for one in fact.batches:
            bisection = inquiry.bisections.get(one.batch)
            if bisection is None:
                self._requeue(one.batch, one.unreported)
                continue
            cases[one.connection] = cases.get(one.connection, 0) + 1
            self._state.effects.append(HoldLease(one.batch))
            self._state.of(one.connection).suspected.append(
                SuspectedBatch(
                    one.batch, bisection, fact.reason, fact.detail, fact.exit_id, one.leased_until
                )
            )
        for connection, count in cases.items():
            undecided = self._state.of(connection).undecided
            self._state.effects.append(
                ReportProbation(connection, fact.reason, fact.detail, undecided, len(cases))
            )
            is_alone = connection == inquiry.attributed
            cause = _cause(ApartCode.WORKER_DIED, fact)
            self._charges.accuse(connection, count, cause, now, is_alone=is_alone)
        if inquiry.attributed is not None:
            self._charges.death(inquiry.attributed, fact, now, was_dedicated=was_dedicated)
        elif kind is not DeathKind.OURS and not any(one.unreported for one in fact.batches):
            # All was told, and yet it did not end.
            self._charge_last(fact, kind, now, was_dedicated=was_dedicated)
        self._try_ended(inquiry.tried, fact, now)
        if inquiry.hinted is not None:
            self._charges.try_first(
                inquiry.hinted,
                company=inquiry.others - {inquiry.hinted},
                cause=_cause(ApartCode.FOUND, fact),
                now=now,
            )
        for connection in cases:
            self._advance(connection)
        return {
            one.batch: HeldPart(one.batch, frozenset(one.unreported), inquiry.bisections[one.batch])
            for one in fact.batches
            if one.batch in inquiry.bisections
        }

    def _try_ended(self, names: Collection[str], fact: WorkerDied, now: float) -> None:
        """What a look found may be the doing of these, which had no batch there any more."""
        if names:
            first, *others = sorted(names)
            cause = _cause(ApartCode.FOUND, fact)
            self._charges.try_out(first, *others, company=frozenset(), cause=cause, now=now)

    def _open_batches(self, fact: WorkerDied) -> list[LostBatch]:
        return [one for one in fact.batches if one.connection in self._state.open]

    def _charge_last(
        self, fact: WorkerDied, kind: DeathKind, now: float, *, was_dedicated: bool
    ) -> None:
        """A worker died with no event to suspect: its connection runs apart, where it is known.

        Where somebody outside may have killed it, only a connection that had it alone is charged,
        and only where that is not the first time.
        """
        connection = last_at_it(fact, self._state.open.keys())
        if kind is DeathKind.KILLED and (
            not was_dedicated or connection is None or not self._faults.was_killed(connection)
        ):
            return
        if connection is None:
            self._try_ended(fact.ended, fact, now)
        else:
            self._charges.death(connection, fact, now, was_dedicated=was_dedicated)
            cause = _cause(ApartCode.LAST_IN_IT, fact)
            self._charges.set_apart(connection, cause, now)
            if not is_proven(fact, connection, was_dedicated=was_dedicated):
                company = fact.configured - {connection}
                self._charges.try_out(connection, company=company, cause=cause, now=now)

    def _died_in_probe(
        self, connection: str, probe: Probe, fact: WorkerDied, kind: DeathKind, now: float
    ) -> dict[int, HeldPart]:
        for one in fact.batches:
            if one.batch != probe.id:
                self._requeue(one.batch, one.unreported)
        unreported, suspected = probe.unreported(fact.batches), probe.of
        if kind is DeathKind.OURS:
            suspected.bisection.interrupted(unreported)
        else:
            suspected.bisection.died(unreported)
            suspected.reason, suspected.detail = fact.reason, fact.detail
            suspected.exit_id = fact.exit_id
            self._faults.of(connection).died_in_probe(now)
            self._charges.death(connection, fact, now, was_dedicated=True)
        self._advance(connection)
        assert probe.id is not None, "it is among the batches of the dead worker"
        return {probe.id: HeldPart(suspected.id, frozenset(unreported), suspected.bisection)}

    # --- suspected batches ---

    def _advance(self, connection: str) -> None:
        """Do what is next for a connection's suspected batches, as far as it can be done now."""
        known = self._state.known.get(connection)
        while known is not None and known.suspected and known.probe is None:
            first = known.suspected[0]
            # Of what is closed nothing is tried: no worker may have its destination any more, and
            # an innocent event would bear the blame for that.
            if self._state.is_draining or self._state.open.get(connection):
                self._requeue(first.id, first.bisection.dissolve())
            match first.bisection.next():
                case ProbeDue(indices=indices):
                    worker = known.worker
                    if worker is None or not self._dedication.is_free(worker):
                        first.bisection.interrupted(indices)
                        self._dedication.need(connection, known)
                        return
                    known.probe = Probe(first, indices)
                    self._state.effects.append(Resend(first.id, connection, worker, indices))
                case KillerFound(index=index):
                    known.blame.quarantined += 1
                    self._state.effects.append(
                        QuarantineDelivery(
                            first.id, connection, index, first.reason, first.detail, first.exit_id
                        )
                    )
                case AllDecided(deaths=deaths):
                    del known.suspected[0]
                    self._state.effects.append(ForgetLease(first.id))
                    self._state.effects.append(ReportDecided(connection, deaths))
                    self._charges.close(connection)

    def _probe_sent(self, fact: ProbeSent) -> None:
        known = self._state.known.get(fact.connection)
        if known is None or known.probe is None or known.worker is None:
            return  # removed meanwhile: a batch like any other
        known.probe.id = fact.batch
        known.blame.executions += len(known.probe.indices)
        self._dedication.workers[known.worker].batches.add(fact.batch)

    def _probe_refused(self, connection: str) -> None:
        known = self._state.known.get(connection)
        if known is None or known.probe is None:
            return
        known.probe.of.bisection.interrupted(known.probe.indices)
        known.probe = None
        if self._state.is_draining:
            self._advance(connection)  # else when the worker is free, or there is another one

    def _lease_lost(self, batch: int) -> None:
        for connection, known in self._state.known.items():
            for one in known.suspected:
                if one.id == batch:
                    one.bisection.dissolve()
                    self._advance(connection)
                    return

    def _extend_leases(self, now: float) -> None:
        for known in self._state.known.values():
            for one in known.suspected:
                if one.leased_until - now < EXTEND_S:
                    one.leased_until = now + HOLD_S
                    self._state.effects.append(ExtendLease(one.id, HOLD_S))

    def _requeue(self, batch: int, indices: tuple[int, ...]) -> None:
        if indices:
            self._state.effects.append(Requeue(batch, indices))


def _cause(code: ApartCode, death: WorkerDied) -> ApartCause:
    return ApartCause(code, death.reason, death.label, death.exit_id)
