"""What a connection is held to account for: deaths, what it used up, loops that it kept.

Owns the charge itself: what it costs in blame, health and trust, and that a connection which costs
too much trips. Whose fault something was is for others to know (`attribution.py`). Must not know
batches that run, or probes.
"""

from __future__ import annotations

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.attribution import FaultAttribution
from supervisor.core.isolation.dedication import Dedication
from supervisor.core.isolation.effects import (
    BlameKind,
    CountBlame,
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
from supervisor.core.placement import TrustState

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

    def accuse(self, connection: str, cases: int, now: float, *, is_alone: bool = True) -> None:
        """So many batches of it are suspected; `is_alone`: of no other connection."""
        known = self._state.of(connection)
        attribution = self._faults.of(connection)
        after = attribution.accused(known.trust, cases, now, is_alone=is_alone)
        self._dedication.trust(connection, known, after)

    def close(self, connection: str) -> None:
        """One of its batches is decided, or there was nothing to decide."""
        known = self._state.of(connection)
        is_alone = self._state.is_alone(connection)
        after = self._faults.case_closed(connection, known.trust, is_alone=is_alone)
        self._dedication.trust(connection, known, after)

    # --- what it is charged with ---

    def death(self, connection: str, death: WorkerDied, now: float) -> None:
        """A worker died of it."""
        known = self._state.of(connection)
        known.blame.deaths += 1
        self._state.effects.append(CountBlame(connection, BlameKind.DEATH))
        self._charge_health(connection, known, death.reason, death.detail, now)

    def used_up(self, fact: ResourcesExhausted, now: float) -> None:
        """It has left a worker with nothing of what all need.

        It runs apart until it is proven, so that the next worker is its own.
        """
        connection = fact.connection
        if connection not in self._state.open or self._state.is_draining:
            return
        known = self._state.of(connection)
        known.blame.used_up += 1
        self._state.effects.append(CountBlame(connection, BlameKind.USED_UP))
        self.accuse(connection, 1, now)
        self._charge_health(connection, known, fact.reason, fact.detail, now)
        self.close(connection)

    def hogged(self, fact: LoopHogged, now: float) -> None:
        """It runs apart until it has not done so for a while; nothing else is held against it.

        On probation it has nothing to do with others anyway, and that has its own end.
        """
        connection, known = fact.connection, self._state.known.get(fact.connection)
        trust = TrustState.TRUSTED if known is None else known.trust
        if connection not in self._state.open or self._state.is_draining:
            return
        if trust is TrustState.PROBATION:
            return
        blame = self._state.of(connection).blame
        blame.hogged += 1
        blame.hogs = fact.how
        self._state.effects.append(CountBlame(connection, BlameKind.HOGGED))
        self._faults.of(connection).hogged(now)
        if trust is TrustState.TRUSTED:
            self._state.effects.append(ReportNoisyNeighbour(connection, fact.how))
            self.accuse(connection, 1, now)
            self.close(connection)

    def finished(self, fact: BatchFinished, now: float) -> None:
        """A batch was slow, or failed as a whole, or counts for its connection."""
        connection, known = fact.connection, self._state.known.get(fact.connection)
        if fact.seconds >= SLOW_SHARE * fact.limit_s:
            self._state.of(connection).health.charged(FaultKind.SLOW, "", now)
        if fact.retried and not fact.delivered:
            self._state.of(connection).health.charged(FaultKind.ERROR, "", now)
        elif known is not None and fact.delivered:
            known.health.went_well()
            after = self._faults.of(connection).went_well(known.trust, now)
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
