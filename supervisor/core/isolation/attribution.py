"""A worker died, or says that it ran out: whose fault it may have been, and what is suspected.

Owns what the end of a worker says of its cause, which of the connections in it are accused of it,
and which events were sent again before. All else that was in the dead worker is sent again,
uncharged. What the accused have to prove after that is `trust.py`'s. Must not know workers,
leases or the wire.

What a worker says (a mark, a frame) may be forged by any connection in it, in any other's name. So
it says who is asked first, and proves nothing:

| what is known | where | accused | charged |
| --- | --- | --- | --- |
| a death, or what was used up | in a worker that no other connection ever had | it | at once |
| a batch is past its time, by our clock | anywhere | its connection | at once, where it is one |
| a leak, measured by us from outside | anywhere | who leaks | at once |
| a limit, found by a look | one alone since all was well (`presence.py`) | it | at once |
| a limit, found by a look, and a hint | several since then | the one hinted at | as below |
| a limit, found by a look | several since then | all of them | once one does it where it is alone |
| a death, and a mark | among others | the marked one | once it dies where it is alone |
| a death, and no mark that counts | among others | all with a batch there | as above |
| memory or files used up, and a name | among others | the named one | as above |
| a loop is kept, and a mark | among others | the marked one | named once it does it alone |
| a loop is kept | in a worker that no other connection ever had | it | named at once |
| SIGKILL that we did not send | anywhere | nobody, unless it meets the same again | as above |
| a name that was never there, nonsense | anywhere | a death for `protocol`: as above | as above |

To try one takes a worker of its own, which costs its neighbours: so where there is a hint, one is
tried, the others go on uncharged. A connection that was there `UNSOLVED_MOST` times, while those
who were accused turned out innocent or were never seen at it alone, is accused with the next.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.bisection import Bisection
from supervisor.core.isolation.facts import LostBatch, RunningMark, WorkerDied
from supervisor.core.isolation.trust import Attribution
from supervisor.core.placement import TrustState

#: A connection that was there so often while those that were accused turned out innocent is
#: accused with the next one: a destination can forge the mark, but not its absence.
UNSOLVED_MOST = 2
#: Events that are remembered as sent again; the oldest are forgotten first.
REMEMBERED = 20_000


class DeathKind(Enum):
    """What is known of a death before anybody is accused."""

    OURS = auto()
    """Drain, recycling, or the zygote or more died with it: no connection's fault."""
    KILLED = auto()
    """SIGKILL that we did not send: somebody outside, most likely."""
    RUNNING = auto()
    """Whatever ran at that moment did it."""
    ANY = auto()
    """Any of those that had a batch there: what ran at the end says nothing."""


#: Protocol and egress are found out a while after they were done, so that what ran at the end says
#: nothing; so are limits, but whatever is past a limit is mostly still at it, where anything runs.
_KINDS = {
    ExitReason.CRASH: DeathKind.RUNNING,
    ExitReason.SIGNAL: DeathKind.RUNNING,
    ExitReason.OOM: DeathKind.RUNNING,
    ExitReason.LEAK: DeathKind.RUNNING,
    ExitReason.TIMEOUT: DeathKind.RUNNING,
    ExitReason.LIMIT: DeathKind.ANY,
    ExitReason.PROTOCOL: DeathKind.ANY,
    ExitReason.EGRESS: DeathKind.ANY,
    ExitReason.RECYCLE: DeathKind.OURS,
    ExitReason.DRAIN: DeathKind.OURS,
}


def kind_of(death: WorkerDied, *, is_draining: bool) -> DeathKind:
    """What its end says of the cause."""
    # A worker with an overdue batch is told to leave first, so that its other batches can end.
    is_leaving = death.is_leaving and not death.overdue
    kind = _KINDS[death.reason]
    # To leave is no excuse for nonsense: nothing of ours brings a worker to that.
    is_excused = is_leaving and death.reason is not ExitReason.PROTOCOL
    if death.is_ours or is_draining or is_excused:
        return DeathKind.OURS
    if death.reason is ExitReason.LIMIT and death.mark is not None:
        return DeathKind.RUNNING
    if death.reason is ExitReason.SIGNAL and death.detail == "SIGKILL":
        return DeathKind.KILLED
    return kind


def is_proven(death: WorkerDied, connection: str, *, was_dedicated: bool) -> bool:
    """Whether that it was this connection follows from more than the dead worker's own word.

    Nobody else was ever there, or it was late by our own clock.
    """
    late = {one.connection for one in death.batches if one.batch in death.overdue}
    there = death.configured | {one.connection for one in death.batches}
    return was_dedicated or there <= {connection} or late == {connection}


def last_at_it(death: WorkerDied, connections: Collection[str]) -> str | None:
    """Whose fault a death was that left nothing to suspect: something behind an earlier batch.

    One of `connections`; None where it may have been several, or none of them.
    """
    if death.overdue:
        found = {one.connection for one in death.batches if one.batch in death.overdue}
    elif death.mark is not None:
        found = {death.mark.connection}
    else:
        found = set(death.configured)
    found &= set(connections)
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Of a death: a bisection for each batch that is suspected, by id; the others are not.

    `attributed` is the connection to charge with the death, None where that is not known yet;
    `tried` are to show in a worker of their own that it was not them, and have no batch to probe;
    where it is `hinted` at one of those, that one is tried first, and `others` only known.
    """

    bisections: dict[int, Bisection]
    accused: frozenset[str]
    attributed: str | None
    tried: frozenset[str] = frozenset()
    hinted: str | None = None
    others: frozenset[str] = frozenset()


@dataclass(slots=True)
class FaultAttribution:
    """All connections of one pool."""

    known: dict[str, Attribution] = field(default_factory=dict)
    #: keys of events that were sent again, oldest first; a dict is an ordered set
    _resent: dict[int, None] = field(default_factory=dict)

    def inquire(
        self,
        lost: Sequence[LostBatch],
        kind: DeathKind,
        *,
        mark: RunningMark | None = None,
        overdue: Collection[int] = (),
        ended: Collection[str] = (),
        was_dedicated: bool = False,
    ) -> Inquiry:
        """A worker died with these batches; `overdue` are those past their deadline.

        `ended` may have done it and have no batch there. `was_dedicated`: the worker was its
        connection's own. Batches with all outcomes are nobody's concern any more.
        """
        suspected = [one for one in lost if one.unreported]
        accused = self._accused(suspected, kind, mark, overdue)
        if kind is DeathKind.KILLED and not self._did_so_before(suspected, accused, mark):
            accused = frozenset()
        present = frozenset(one.connection for one in suspected)
        hinted: str | None = None
        if accused and mark is not None and mark.connection in ended:
            hinted, accused = mark.connection, frozenset()
        bisections: dict[int, Bisection] = {}
        for one in suspected:
            if one.connection in accused:
                is_marked = mark is not None and mark.batch == one.batch
                bisections[one.batch] = Bisection.opened(
                    one.unreported,
                    marked=(
                        mark.index
                        if mark is not None and is_marked and kind is not DeathKind.ANY
                        else None
                    ),
                    was_alone=was_dedicated and len(lost) == 1 and one.size == 1,
                    resent={
                        index
                        for index, key in zip(one.unreported, one.keys, strict=True)
                        if key in self._resent
                    },
                )
            self._remember(one.keys)
        others = (present | frozenset(ended)) - accused
        tried: frozenset[str] = frozenset()
        if accused:
            is_one_marked = _marked(suspected, kind, mark) in accused
            tried = self._suspicious(others - present) if is_one_marked else others - present
        for connection in accused:
            self.of(connection).colocated = others - tried
        attributed = next(iter(accused)) if len(accused | tried) == 1 else None
        return Inquiry(bisections, accused, attributed, tried, hinted, others)

    def named(
        self, connection: str, present: Collection[str], company: Collection[str]
    ) -> set[str]:
        """A worker names one, without proof, that used up what all need: who is to be tried.

        `present` had a batch there too, `company` had one at some time.
        """
        accused = {connection, *present}
        earlier = set(company) - accused
        accused |= self._suspicious(earlier)
        for name in earlier - accused:
            self.of(name).unsolved += 1
        return accused

    def shown(self, connection: str, now: float) -> bool:
        """One does alone what was done among others; whether it was tried for that.

        Then it was it, and none of those that were there.
        """
        attribution = self.of(connection)
        if not attribution.tried_with:
            return False
        self.solved(connection)
        attribution.shown(now)
        return True

    def solved(self, connection: str) -> None:
        """It was it: nothing is left of a suspicion of those that it was tried for alone."""
        attribution = self.of(connection)
        for name in attribution.tried_with:
            other = self.of(name)
            other.unsolved = max(0, other.unsolved - 1)
        attribution.tried_with = frozenset()

    def of(self, connection: str) -> Attribution:
        """What is known of a connection; one of which nothing is known is blameless."""
        return self.known.setdefault(connection, Attribution())

    def most_events(self, connection: str) -> int | None:
        """Events that a batch of it may hold; None: whatever its terms say."""
        known = self.known.get(connection)
        return None if known is None else known.batch_events

    def case_closed(self, connection: str, trust: TrustState, *, is_alone: bool) -> TrustState:
        """One of its batches has all its verdicts."""
        attribution = self.of(connection)
        after = attribution.case_closed(trust, is_alone=is_alone)
        if after is not trust:
            if not attribution.has_died_in_probe:
                for other in attribution.colocated:
                    self.of(other).unsolved += 1
            attribution.colocated = frozenset()
        return after

    def was_killed(self, connection: str) -> bool:
        """A worker of its own was killed while it did nothing; whether that had happened before."""
        attribution = self.of(connection)
        before, attribution.was_killed = attribution.was_killed, True
        return before

    def forget(self, connection: str) -> None:
        """It left the config."""
        self.known.pop(connection, None)

    def _accused(
        self,
        suspected: Sequence[LostBatch],
        kind: DeathKind,
        mark: RunningMark | None,
        overdue: Collection[int],
    ) -> frozenset[str]:
        connections = {one.batch: one.connection for one in suspected}
        present = frozenset(connections.values())
        if kind is DeathKind.OURS or not present:
            return frozenset()
        if len(present) == 1:
            return present
        late = frozenset(connections[batch] for batch in overdue if batch in connections)
        marked = _marked(suspected, kind, mark)
        if late and marked not in late:
            # Where one blocks the loop all are late, and the mark tells them apart; where it
            # names a connection that is in time, the loop runs and the late ones only wait.
            return late
        if marked is None:
            return present
        return self._suspicious(present) | {marked}

    def _suspicious(self, names: Collection[str]) -> frozenset[str]:
        """Those of them that were there before, while others turned out innocent."""
        return frozenset(name for name in names if self.of(name).unsolved >= UNSOLVED_MOST)

    def is_repeated(self, death: WorkerDied, lost: Sequence[LostBatch]) -> bool:
        """Whether what may have done it, of these batches, was in a worker that died before."""
        suspected = [one for one in lost if one.unreported]
        accused = self._accused(suspected, DeathKind.KILLED, death.mark, death.overdue)
        return self._did_so_before(suspected, accused, death.mark)

    def _did_so_before(
        self, suspected: Sequence[LostBatch], accused: Collection[str], mark: RunningMark | None
    ) -> bool:
        """Whether an event that may have done it was in a worker that died before.

        A killer from outside, an operator or the kernel, meets an event once; one that has
        its own worker killed is met each time.
        """
        for one in suspected:
            if one.connection not in accused:
                continue
            for index, key in zip(one.unreported, one.keys, strict=True):
                is_at_it = (
                    mark is None
                    or mark.index is None
                    or (mark.batch == one.batch and mark.index == index)
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


def _marked(
    suspected: Sequence[LostBatch], kind: DeathKind, mark: RunningMark | None
) -> str | None:
    """Whose batch a worker was at, by its own word, where what ran at the end says anything."""
    if mark is None or kind is DeathKind.ANY:
        return None
    return next((one.connection for one in suspected if one.batch == mark.batch), None)
