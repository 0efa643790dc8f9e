"""A worker died: who is accused, who is not, and where the accused run until they are proven.

Owns the standing of each connection of a pool. The accused are on probation: nothing of
theirs is sent but trials (`probation.py`), each with nothing else in its worker. After
that they run in a worker of their own, with batches that grow from one event, until
enough of them went well. Everybody else who was in the dead worker is sent again,
uncharged. Must not know workers, leases or the wire.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto

from supervisor.core.probation import Case

#: Batches in a row that have to go well; doubled for each relapse, up to the most.
PROOF_BATCHES = 8
PROOF_BATCHES_MOST = 64
#: Seconds that have to pass since a connection hogged its worker, before what goes well counts for
#: it: most of its batches do.
QUIET_S = 10.0
#: Seconds within which a connection that was accused before is said to relapse.
RELAPSE_S = 600.0
#: A connection that was there so often while those who were accused turned out innocent is
#: accused with the next one: a destination can forge the hint, but not its absence.
UNSOLVED_MOST = 2
#: Events that are remembered as sent again; the oldest are forgotten first.
REMEMBERED = 20_000


class Cause(Enum):
    """What is known of a death before anybody is accused."""

    OURS = auto()
    """Drain, recycling, or the zygote or more died with it: nobody's fault."""
    KILLED = auto()
    """SIGKILL that we did not send: somebody outside, most likely."""
    RUNNING = auto()
    """Whatever ran at that moment did it."""
    ANY = auto()
    """Any of those that had a batch there: what ran at the end says nothing."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What the worker was at, by its own page, which a destination can forge."""

    batch: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A batch of `size` events that the dead worker had; `suspects` are those without an outcome.

    `keys` tell events apart across batches, one for each suspect.
    """

    batch: int
    connection: str
    size: int
    suspects: Sequence[int]
    keys: Sequence[int]


@dataclass(frozen=True, slots=True)
class Inquest:
    """Batch by batch: a case, or nothing, which is to send it again uncharged.

    `culprit` is the connection to charge with the death, None where that is not known yet.
    """

    cases: dict[int, Case]
    accused: frozenset[str]
    culprit: str | None


class Standing(StrEnum):
    """Where a connection may run."""

    TRUSTED = "trusted"
    PROBATION = "on probation"
    UNPROVEN = "unproven"


class Order(Enum):
    """What is to be done with a connection."""

    HOLD = auto()
    """Lease nothing for it."""
    LET_GO = auto()
    """Lease for it again."""
    ISOLATE = auto()
    """Give it a worker of its own."""
    REJOIN = auto()
    """It runs among the others again."""


@dataclass(slots=True)
class Record:
    """The standing of one connection. `batch_events` bounds its batches, None does not."""

    standing: Standing = Standing.TRUSTED
    cases: int = 0
    batch_events: int | None = None
    good: int = 0
    needed: int = PROOF_BATCHES
    #: batches that go well before prove nothing
    quiet_from: float = float("-inf")
    unsolved: int = 0
    accused_at: float | None = None
    #: Who else was there when it was accused on a mere hint.
    witnesses: frozenset[str] = frozenset()
    has_died_on_trial: bool = False
    #: It alone was accused, or has died on trial: it has something to prove.
    is_suspect: bool = False

    def accused(self, cases: int, now: float, *, is_alone: bool = True) -> list[Order]:
        """So many batches of it are under probation from now on; `is_alone`: of nobody else."""
        if self.standing is not Standing.PROBATION:
            self.has_died_on_trial = False
            self.is_suspect = self.standing is Standing.UNPROVEN and not is_alone
        if is_alone:
            self._suspect(now)
        self.cases += cases
        self.good, self.batch_events, self.unsolved = 0, 1, 0
        match self.standing:
            case Standing.TRUSTED:
                self.standing = Standing.PROBATION
                return [Order.HOLD, Order.ISOLATE]
            case Standing.UNPROVEN:
                self.standing = Standing.PROBATION
                return [Order.HOLD]
            case Standing.PROBATION:
                return []

    def died_on_trial(self, now: float) -> None:
        """Nobody else was there: it is guilty, whatever the hint was worth."""
        self.has_died_on_trial = True
        self._suspect(now)

    def case_closed(self, *, is_alone: bool) -> list[Order]:
        """A case is over; `is_alone`: the pool has no other connection to protect from it.

        Who was only one of many that might have done it, and has not done it again,
        runs among the others at once.
        """
        match self.standing:
            case Standing.PROBATION:
                self.cases -= 1
                if self.cases > 0:
                    return []
                if is_alone or not self.is_suspect:
                    return [Order.LET_GO, *self._rejoin()]
                self.standing = Standing.UNPROVEN
                return [Order.LET_GO]
            case Standing.TRUSTED | Standing.UNPROVEN:
                return []

    def went_well(self, now: float) -> list[Order]:
        """One of its batches was delivered."""
        match self.standing:
            case Standing.UNPROVEN:
                if now >= self.quiet_from:
                    self.good += 1
                if self.batch_events is not None:
                    self.batch_events *= 2
                return self._rejoin() if self.good >= self.needed else []
            case Standing.TRUSTED | Standing.PROBATION:
                return []

    def hogged(self, now: float) -> None:
        """It was seen to hog its worker: its proof begins when it has not done so for a while."""
        self.good, self.quiet_from = 0, now + QUIET_S

    def _suspect(self, now: float) -> None:
        if not self.is_suspect:
            relapsed = self.accused_at is not None and now - self.accused_at < RELAPSE_S
            self.needed = min(self.needed * 2, PROOF_BATCHES_MOST) if relapsed else PROOF_BATCHES
        self.is_suspect, self.accused_at = True, now

    def _rejoin(self) -> list[Order]:
        self.standing = Standing.TRUSTED
        self.batch_events, self.good = None, 0
        return [Order.REJOIN]


@dataclass(slots=True)
class Court:
    """All connections of one pool."""

    records: dict[str, Record] = field(default_factory=dict)
    #: keys of events that were sent again, oldest first; a dict is an ordered set
    _resent: dict[int, None] = field(default_factory=dict)

    def inquest(
        self,
        held: Sequence[Held],
        cause: Cause,
        *,
        hint: Hint | None = None,
        overdue: Collection[int] = (),
        was_own: bool = False,
    ) -> Inquest:
        """A worker died with these batches; `overdue` are those past their deadline.

        `was_own`: the worker was its connection's own. Batches without suspects
        are nobody's concern any more.
        """
        open_batches = [one for one in held if one.suspects]
        accused = self._accused(open_batches, cause, hint, overdue)
        if cause is Cause.KILLED and not self._did_so_before(open_batches, accused, hint):
            accused = frozenset()
        present = frozenset(one.connection for one in open_batches)
        cases: dict[int, Case] = {}
        for one in open_batches:
            if one.connection in accused:
                is_marked = hint is not None and hint.batch == one.batch and cause is not Cause.ANY
                cases[one.batch] = Case.opened(
                    one.suspects,
                    marked=hint.index if hint is not None and is_marked else None,
                    was_alone=was_own and len(held) == 1 and one.size == 1,
                    seen={
                        index
                        for index, key in zip(one.suspects, one.keys, strict=True)
                        if key in self._resent
                    },
                )
            self._remember(one.keys)
        for connection in accused:
            self.record(connection).witnesses = present - accused
        culprit = next(iter(accused)) if len(accused) == 1 else None
        return Inquest(cases, accused, culprit)

    def record(self, connection: str) -> Record:
        """Its standing; a connection that nothing is known of is trusted."""
        return self.records.setdefault(connection, Record())

    def standing(self, connection: str) -> Standing:
        """Where it may run."""
        known = self.records.get(connection)
        return Standing.TRUSTED if known is None else known.standing

    def most_events(self, connection: str) -> int | None:
        """Events that a batch of it may hold; None: whatever its terms say."""
        known = self.records.get(connection)
        return None if known is None else known.batch_events

    def case_closed(self, connection: str, *, is_alone: bool) -> list[Order]:
        """One of its batches has all its verdicts."""
        record = self.record(connection)
        orders = record.case_closed(is_alone=is_alone)
        if orders:
            if not record.has_died_on_trial:
                for witness in record.witnesses:
                    self.record(witness).unsolved += 1
            record.witnesses = frozenset()
        return orders

    def forget(self, connection: str) -> None:
        """It left the config."""
        self.records.pop(connection, None)

    def _accused(
        self, held: Sequence[Held], cause: Cause, hint: Hint | None, overdue: Collection[int]
    ) -> frozenset[str]:
        connections = {one.batch: one.connection for one in held}
        present = frozenset(connections.values())
        if cause is Cause.OURS or not present:
            return frozenset()
        if len(present) == 1:
            return present
        late = frozenset(connections[batch] for batch in overdue if batch in connections)
        hinted = None
        if hint is not None and cause is not Cause.ANY:
            hinted = connections.get(hint.batch)
        if late and hinted not in late:
            # Where one blocks the loop all are late, and the hint tells them apart; where it
            # names somebody who is in time, the loop runs and the late ones only wait.
            return late
        if hinted is None:
            return present
        suspicious = {name for name in present if self.record(name).unsolved >= UNSOLVED_MOST}
        return frozenset({hinted, *suspicious})

    def _did_so_before(
        self, held: Sequence[Held], accused: Collection[str], hint: Hint | None
    ) -> bool:
        """Whether an event that may have done it was in a worker that died before.

        Somebody who kills our processes from outside meets an event once; one that has
        its own worker killed is met each time.
        """
        for one in held:
            if one.connection not in accused:
                continue
            for index, key in zip(one.suspects, one.keys, strict=True):
                is_at_it = (
                    hint is None
                    or hint.index is None
                    or (hint.batch == one.batch and hint.index == index)
                )
                if is_at_it and key in self._resent:
                    return True
        return False

    def _remember(self, keys: Sequence[int]) -> None:
        for key in keys:
            self._resent.pop(key, None)
            self._resent[key] = None
        while len(self._resent) > REMEMBERED:
            del self._resent[next(iter(self._resent))]
