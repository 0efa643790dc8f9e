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
#: Events that those batches have to be worth, or else seconds that they have to take: a batch of
#: few events comes soon after the last one, and who does it at one event of a hundred passes.
EVENTS_A_BATCH, SECONDS_A_BATCH = 16, 0.5
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


@dataclass(frozen=True, slots=True)
class ProofSoFar:
    """What an unproven connection has shown of what it has to, in a row.

    It is trusted again once `good` batches are as many as `needed`, and they are worth
    `needed_events` or the time is `long_at`. Nothing counts before `quiet_from`.
    """

    good: int
    needed: int
    good_events: int
    needed_events: int
    long_at: float
    quiet_from: float

    def is_shown(self, now: float) -> bool:
        """Whether that is enough."""
        is_worth = now >= self.long_at or self.good_events >= self.needed_events
        return self.good >= self.needed and is_worth


@dataclass(slots=True)
class Attribution:
    """What one connection is accused of, and has to prove. `batch_events` bounds its batches."""

    cases: int = 0
    batch_events: int | None = None
    good: int = 0
    good_events: int = 0
    #: when the proof began
    since: float = 0.0
    needed: int = PROOF_BATCHES
    #: batches that go well before prove nothing
    quiet_from: float = float("-inf")
    unsolved: int = 0
    accused_at: float | None = None
    #: the connections that were there too when it was accused on a mere mark
    colocated: frozenset[str] = frozenset()
    has_died_in_probe: bool = False
    #: a worker of its own was killed from outside, as far as is known, since it was trusted last
    was_killed: bool = False
    #: those that may have done in its stead what it is tried for, until it does that alone
    tried_with: frozenset[str] = frozenset()
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
        self._begin(now)
        return trust_after(trust, TrustFact.ACCUSED)

    def tried(self, trust: TrustState, now: float, *, is_named: bool) -> TrustState:
        """It is one of several that may have done it, and there is no batch to probe.

        It is to show in a worker of its own that it does not. Being there is no relapse; to be
        named again, which costs it nothing but more to show, is as good as one: who does it at one
        event of many passes for long, and would be among the others for the next.
        """
        if is_named and trust is TrustState.TRUSTED:
            self.is_suspected = False
            self._suspect(now)
        self.is_suspected = True
        self.cases += 1
        self._begin(now)
        return trust_after(trust, TrustFact.ACCUSED)

    def shown(self, now: float) -> None:
        """It does alone what it was tried for."""
        self.tried_with, self.is_suspected = frozenset(), False
        self._suspect(now)

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

    def went_well(self, trust: TrustState, events: int, now: float) -> TrustState:
        """A batch of it was delivered, of so many events."""
        if trust is not TrustState.UNPROVEN:
            return trust
        if now >= self.quiet_from:
            self.good += 1
            self.good_events += events
        if self.batch_events is not None:
            self.batch_events *= 2
        if not self.proof.is_shown(now):
            return trust
        self.batch_events, self.good = None, 0
        self.tried_with, self.was_killed = frozenset(), False
        return trust_after(trust, TrustFact.PROVEN)

    @property
    def proof(self) -> ProofSoFar:
        """How far it has come, where it is unproven."""
        return ProofSoFar(
            self.good,
            self.needed,
            self.good_events,
            self.needed * EVENTS_A_BATCH,
            self.since + self.needed * SECONDS_A_BATCH,
            self.quiet_from,
        )

    def hogged(self, now: float) -> None:
        """It hogs its worker, or may: its proof begins when it has not done so for a while."""
        self.good, self.good_events, self.quiet_from = 0, 0, now + QUIET_S

    def _begin(self, now: float) -> None:
        self.good, self.good_events, self.since = 0, 0, now
        self.batch_events, self.unsolved = 1, 0

    def _suspect(self, now: float) -> None:
        if not self.is_suspected:
            relapsed = self.accused_at is not None and now - self.accused_at < RELAPSE_S
            self.needed = min(self.needed * 2, PROOF_BATCHES_MOST) if relapsed else PROOF_BATCHES
        self.is_suspected, self.accused_at = True, now
