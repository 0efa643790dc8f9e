"""What a connection is held to account for: deaths, what it used up, loops that it kept.

Owns the charge itself: what it costs in blame, health and trust, and that a connection which costs
too much trips. Whose fault something was is for others to know (`attribution.py`). Must not know
batches that run, or probes.
"""

from __future__ import annotations

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.apart import ApartCause, ApartCode
from supervisor.core.isolation.attribution import FaultAttribution, is_proven
from supervisor.core.isolation.dedication import Dedication
from supervisor.core.isolation.effects import (
    BlameKind,
    CountBlame,
    PlaceConnection,
    PostponeAlone,
    ReportNoisyNeighbour,
    Trip,
    described,
)
from supervisor.core.isolation.facts import (
    BatchFinished,
    LoopHogged,
    ResourcesExhausted,
    WorkerDied,
)
from supervisor.core.isolation.health import FaultKind, fault_of
from supervisor.core.isolation.records import IsolatedConnection, IsolationState
from supervisor.core.placement import SHARED, TrustState

#: A batch that takes this share of its time limit is slow.
SLOW_SHARE = 0.8


class Charges:
    """Those of one pool."""

    def __init__(
        self, state: IsolationState, faults: FaultAttribution, dedication: Dedication
    ) -> None:
        self._state = state
        self._faults = faults
        self._dedication = dedication

    # --- trust ---

    def accuse(
        self, connection: str, cases: int, cause: ApartCause, now: float, *, is_alone: bool = True
    ) -> None:
        """So many batches of it are suspected; `is_alone`: of no other connection."""
        known = self._state.of(connection)
        known.set_off(cause, now)
        attribution = self._faults.of(connection)
        after = attribution.accused(known.trust, cases, now, is_alone=is_alone)
        self._dedication.trust(connection, known, after)

    def close(self, connection: str) -> None:
        """One of its batches is decided, or there was nothing to decide."""
        known = self._state.of(connection)
        is_alone = self._state.is_alone(connection)
        after = self._faults.case_closed(connection, known.trust, is_alone=is_alone)
        self._dedication.trust(connection, known, after)

    def try_out(
        self, named: str, *present: str, company: frozenset[str], cause: ApartCause, now: float
    ) -> list[str]:
        """Whoever may have done it, by a worker's word, runs apart until it has shown itself.

        Those that do from now on. `cause` is that of all but who only was there again.
        """
        tried = [
            name
            for name in sorted(self._faults.named(named, present, company))
            if name in self._state.open
        ]
        for name in tried:
            known = self._state.of(name)
            is_named = name == named
            is_meant = is_named or name in present
            known.set_off(cause if is_meant else cause.of_one_who_was_there(), now)
            after = self._faults.of(name).tried(known.trust, now, is_named=is_named)
            self._dedication.trust(name, known, after)
            self.close(name)
        return tried

    def try_first(
        self, named: str, *present: str, company: frozenset[str], cause: ApartCause, now: float
    ) -> None:
        """One is tried for what others may have done: `present` with it, the rest of them later."""
        for name in self.try_out(named, *present, company=company, cause=cause, now=now):
            self._faults.of(name).tried_with = company.difference(present)

    def set_apart(self, connection: str, cause: ApartCause, now: float) -> None:
        """It has something to prove, and nothing of it is to be decided.

        Where the pool has no other connection that it could be kept from, it stays where it is, and
        what it had proven is void: to accuse it and to trust it again in one breath would take a
        spare and give it back.
        """
        trust = self._state.of(connection).trust
        if trust is TrustState.TRUSTED and self._state.is_alone(connection):
            self._state.effects.append(PlaceConnection(connection, SHARED))
            return
        self.accuse(connection, 1, cause, now)
        self.close(connection)

    # --- what it is charged with ---

    def death(self, connection: str, death: WorkerDied, now: float, *, was_dedicated: bool) -> None:
        """A worker died of it, or says so: then it is charged once it dies where it is alone."""
        known = self._state.of(connection)
        known.unproven_deaths.append((death.reason, death.detail))
        if not is_proven(death, connection, was_dedicated=was_dedicated):
            return
        self._faults.solved(connection)
        while known.unproven_deaths:
            reason, detail = known.unproven_deaths.popleft()
            known.blame.deaths += 1
            self._state.effects.append(CountBlame(connection, BlameKind.DEATH))
            self._charge_health(connection, known, reason, detail, now)

    def used_up(self, fact: ResourcesExhausted, now: float) -> None:
        """It has left a worker with nothing of what all need.

        It runs apart until it is proven, so that the next worker is its own. Where others may have
        done it, it is charged there, and the others run apart until then too.
        """
        connection = fact.connection
        if self._state.is_draining:
            return
        if fact.company:
            may_have = ApartCause(ApartCode.MAY_HAVE_USED_UP, fact.reason)
            present, company = fact.present, fact.company
            self.try_first(connection, *present, company=company, cause=may_have, now=now)
            return
        if connection not in self._state.open:
            return
        self._faults.solved(connection)
        known = self._state.of(connection)
        known.blame.used_up += 1
        self._state.effects.append(CountBlame(connection, BlameKind.USED_UP))
        self._charge_health(connection, known, fact.reason, fact.detail, now)
        is_leak = fact.reason is ExitReason.LEAK
        code = ApartCode.LEAKS if is_leak else ApartCode.USED_UP
        self.set_apart(connection, ApartCause(code, fact.reason), now)

    def hogged(self, fact: LoopHogged, now: float) -> None:
        """It runs apart until it has not done so for a while; nothing else is held against it.

        On probation it has nothing to do with others anyway, and that has its own end. One that is
        alone in its pool keeps nothing from anybody. Where others may have done it, it is tried
        before it is named: it runs apart, and is named once it does it there.
        """
        connection, known = fact.connection, self._state.known.get(fact.connection)
        trust = TrustState.TRUSTED if known is None else known.trust
        if connection not in self._state.open or self._state.is_draining:
            return
        if trust is TrustState.PROBATION or self._state.is_alone(connection):
            return
        if fact.others:
            if trust is TrustState.TRUSTED:
                present = fact.others | {connection}
                cause = ApartCause(ApartCode.MAY_KEEP_LOOPS)
                for name in self.try_out(connection, company=fact.others, cause=cause, now=now):
                    self._faults.of(name).tried_with = present - {name}
                    self._faults.of(name).hogged(now)
            else:
                self._faults.of(connection).hogged(now)
            return
        was_tried = self._faults.shown(connection, now)
        blame = self._state.of(connection).blame
        blame.hogged += 1
        blame.hogs = fact.how
        self._state.effects.append(CountBlame(connection, BlameKind.HOGGED))
        self._faults.of(connection).hogged(now)
        if trust is TrustState.TRUSTED or was_tried:
            self._state.effects.append(ReportNoisyNeighbour(connection, fact.how))
        cause = ApartCause(ApartCode.KEEPS_LOOPS)
        if trust is TrustState.TRUSTED:
            self.set_apart(connection, cause, now)
        else:
            self._state.of(connection).set_off(cause, now)

    def finished(self, fact: BatchFinished, now: float) -> None:
        """A batch was slow, or failed as a whole, or counts for its connection."""
        connection, known = fact.connection, self._state.known.get(fact.connection)
        if fact.seconds >= SLOW_SHARE * fact.limit_s:
            self._state.of(connection).health.charged(FaultKind.SLOW, "", now)
        if fact.retried and not fact.delivered:
            self._state.of(connection).health.charged(FaultKind.ERROR, "", now)
        elif known is not None and fact.delivered:
            known.health.went_well()
            after = self._faults.of(connection).went_well(known.trust, fact.delivered, now)
            self._dedication.trust(connection, known, after)

    def _charge_health(
        self,
        connection: str,
        known: IsolatedConnection,
        reason: ExitReason,
        detail: str,
        now: float,
    ) -> None:
        fault = fault_of(reason)
        if fault is None:
            return
        text = described(reason, detail)
        why = known.health.charged(fault, text, now)
        if why is None:
            return
        self._state.effects.append(Trip(connection, why))
        for one in known.suspected:
            if dropped := one.bisection.give_up():
                self._state.effects.append(PostponeAlone(one.id, dropped, f"worker exited: {text}"))
