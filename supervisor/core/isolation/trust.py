"""How a connection loses trust, and what it has to prove to win it back.

Owns the table of trust, and the count of what one connection has proven. An accused connection is
on probation: nothing of it is sent but probes (`bisection.py`), each with nothing else in its
worker. After that it runs in a worker of its own, with batches that grow from one event, until
enough of them went well. Must not know other connections, workers or deaths.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from supervisor.core.placement import TrustState

#: Batches in a row that have to go well; doubled for each relapse, up to the most.
PROOF_BATCHES = 8
PROOF_BATCHES_MOST = 64
#: Seconds that have to pass since a connection hogged its worker, before what goes well counts for
#: it: most of its batches do.
QUIET_S = 10.0
#: Seconds within which a connection that was accused before is said to relapse.
RELAPSE_S = 600.0


class TrustFact(Enum):
    """What changes the trust in a connection."""

    ACCUSED = auto()
    """A death may be its fault."""
    CLEARED = auto()
    """All is decided, and it has nothing to prove, or there is nobody to protect from it."""
    SUSPECTED = auto()
    """All is decided, and it was its fault, or it alone was accused."""
    PROVEN = auto()
    """Enough of its batches went well."""


_TRUST = {
    (TrustState.TRUSTED, TrustFact.ACCUSED): TrustState.PROBATION,
    (TrustState.UNPROVEN, TrustFact.ACCUSED): TrustState.PROBATION,
    (TrustState.PROBATION, TrustFact.CLEARED): TrustState.TRUSTED,
    (TrustState.PROBATION, TrustFact.SUSPECTED): TrustState.UNPROVEN,
    (TrustState.UNPROVEN, TrustFact.PROVEN): TrustState.TRUSTED,
}


def trust_after(trust: TrustState, fact: TrustFact) -> TrustState:
    """What is thought of a connection after that."""
    return _TRUST.get((trust, fact), trust)


@dataclass(slots=True)
class Attribution:
    """What one connection is accused of, and has to prove. `batch_events` bounds its batches."""

    cases: int = 0
    batch_events: int | None = None
    good: int = 0
    needed: int = PROOF_BATCHES
    #: batches that go well before prove nothing
    quiet_from: float = float("-inf")
    unsolved: int = 0
    accused_at: float | None = None
    #: the connections that were there too when it was accused on a mere mark
    colocated: frozenset[str] = frozenset()
    has_died_in_probe: bool = False
    #: It alone was accused, or has died in a probe: it has something to prove.
    is_suspected: bool = False

    def accused(
        self, trust: TrustState, cases: int, now: float, *, is_alone: bool = True
    ) -> TrustState:
        """So many batches of it are suspected from now on; `is_alone`: of nobody else."""
        if trust is not TrustState.PROBATION:
            self.has_died_in_probe = False
            self.is_suspected = trust is TrustState.UNPROVEN and not is_alone
        if is_alone:
            self._suspect(now)
        self.cases += cases
        self.good, self.batch_events, self.unsolved = 0, 1, 0
        return trust_after(trust, TrustFact.ACCUSED)

    def died_in_probe(self, now: float) -> None:
        """Nothing else was there: it is guilty, whatever the mark was worth."""
        self.has_died_in_probe = True
        self._suspect(now)

    def case_closed(self, trust: TrustState, *, is_alone: bool) -> TrustState:
        """A case is over; `is_alone`: the pool has no other connection to protect from it.

        One that was only one of many that might have done it, and has not done it again,
        runs among the others at once.
        """
        if trust is not TrustState.PROBATION:
            return trust
        self.cases -= 1
        if self.cases > 0:
            return trust
        if is_alone or not self.is_suspected:
            self.batch_events, self.good = None, 0
            return trust_after(trust, TrustFact.CLEARED)
        return trust_after(trust, TrustFact.SUSPECTED)

    def went_well(self, trust: TrustState, now: float) -> TrustState:
        """One of its batches was delivered."""
        if trust is not TrustState.UNPROVEN:
            return trust
        if now >= self.quiet_from:
            self.good += 1
        if self.batch_events is not None:
            self.batch_events *= 2
        if self.good < self.needed:
            return trust
        self.batch_events, self.good = None, 0
        return trust_after(trust, TrustFact.PROVEN)

    def hogged(self, now: float) -> None:
        """It was seen to hog its worker: its proof begins when it has not done so for a while."""
        self.good, self.quiet_from = 0, now + QUIET_S

    def _suspect(self, now: float) -> None:
        if not self.is_suspected:
            relapsed = self.accused_at is not None and now - self.accused_at < RELAPSE_S
            self.needed = min(self.needed * 2, PROOF_BATCHES_MOST) if relapsed else PROOF_BATCHES
        self.is_suspected, self.accused_at = True, now
