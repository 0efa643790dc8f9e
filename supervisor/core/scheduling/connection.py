"""What the scheduler knows of one connection: its terms, and the rules that hold it back.

Owns the order of the rules. Must not know other connections or workers: whose
turn it is stands in `fair_queue.py`, which worker is free in `capacity.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from supervisor.core.placement import (
    Dedicated,
    Placement,
    Shared,
    Waiting,
    WaitReason,
    worker_of,
)
from supervisor.core.scheduling.batch_size import BatchSizer
from supervisor.core.scheduling.breaker import Breaker, BreakerPolicy
from supervisor.core.scheduling.concurrency import Concurrency
from supervisor.core.scheduling.credentials import CredentialsHold
from supervisor.core.scheduling.retry_governor import RetryGovernor
from supervisor.core.scheduling.token_bucket import TokenBucket, gathered

#: After so many turns with first attempts, one goes to retries that are due: first attempts go
#: before retries, and retries are not starved by them.
FRESH_TURNS = 8
#: Most events in the batch that asks whether a destination is well again.
PROBE_EVENTS = 10
#: Events that have to end well, after a start or after workers died of it, before a connection
#: may be in several workers at once: if it blocks or kills them, it shall not be all of them.
#: While no other connection has a batch in the pool, it would be its own time that it loses.
PROVEN_EVENTS, PROVEN_ALONE_EVENTS = 1000, 50


_POLICY = BreakerPolicy()


class BlockReason(StrEnum):
    """What a connection that has work waits for, in words that follow "waiting for"."""

    NOTHING = "nothing: next in turn"
    CREDIT = "a free worker"
    HOME = "the worker of its own that it runs in"
    SHARE = "its own batches to finish: it holds its share of the pool"
    UNPROVEN = "the worker that has its batches: until it is proven, it keeps to one at a time"
    KEPT = "a place in the pool: the last ones are for connections that hold none"
    PROBES = "the probes of other connections to finish"
    CONCURRENCY = "one of its own batches to finish (max_concurrency)"
    ADAPTIVE = "one of its own batches to finish (adaptive concurrency)"
    RATE = "its rate limit"
    GOVERNOR = "retries to be let through: no faster than the destination has proven to take"
    RETRY = "its next attempt"
    BACKOFF = "the time that the destination asked for (Retry-After)"
    TRIPPED = "its circuit breaker"
    CREDENTIALS = "its credentials to be accepted again"
    LINGER = "its batch to fill (linger)"
    PAUSED = "an operator to resume it"
    DISABLED = "enabled = true in the config"
    UNKNOWN = "its destination, which could not be loaded"
    PROBATION = "its suspects: a worker died with them, and they are tried apart"
    APART = "a worker of its own: until it is proven, it runs apart from the others"


_WAITING = {
    WaitReason.PROBATION: BlockReason.PROBATION,
    WaitReason.DEDICATED_WORKER: BlockReason.APART,
}


def _blocked_by(placement: Placement) -> BlockReason | None:
    """The rule by which nothing is leased for a connection that is placed there, if any."""
    match placement:
        case Shared():
            return None
        case Waiting(reason=reason):
            return _WAITING[reason]
        case Dedicated(is_probed=is_probed):
            return BlockReason.PROBATION if is_probed else None


@dataclass(frozen=True, slots=True)
class Terms:
    """What the config and the destination say of a connection. `rate` is events a second."""

    batch_events: int
    batch_bytes: int
    max_concurrency: int
    rate: float | None = None
    linger_s: float = 0.0
    weight: int = 1
    breaker: BreakerPolicy = _POLICY


@dataclass(frozen=True, slots=True)
class Ready:
    """What a connection could send now, as the shell knows it from the queue.

    `size_bytes` is what all of it weighs, roughly.
    """

    fresh: int
    next_retry_at: float | None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Blocked:
    """The rule that a connection's next delivery waits for, until when, and more of why."""

    rule: BlockReason
    until: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What may go now."""

    retries: bool
    max_events: int


@dataclass(slots=True, eq=False)
class ConnectionSchedule:
    """One connection.

    Where it runs is decided elsewhere: `place` keeps what follows from it, the worker that the
    connection has for itself and the rule that it waits for.
    """

    name: str
    terms: Terms
    breaker: Breaker = field(default_factory=Breaker)
    credentials: CredentialsHold = field(default_factory=CredentialsHold)
    concurrency: Concurrency = field(default_factory=Concurrency)
    governor: RetryGovernor = field(default_factory=RetryGovernor)
    batch_sizer: BatchSizer = field(default_factory=BatchSizer)
    inflight: int = 0
    #: of those, batches with workers that do not read what they are sent: they wait for a worker
    #: and not for the destination
    stuck: int = 0
    dedicated_worker: int | None = None
    blocked_by: BlockReason | None = None
    #: the worker of its last batch; and events that ended, up to what proves it
    where: int | None = None
    proven: int = 0
    is_paused: bool = False
    closed: BlockReason | None = None
    wait_until: float = 0.0
    wait_why: str = ""
    #: its place among those that wait for a turn: when it begins, and which entry is its own
    turn: float = 0.0
    ticket: int | None = None
    alarm_at: float | None = None
    #: events that a batch of it has, of late
    usual: float | None = None
    #: when a batch of it last began or ended, which shows that its places come free again
    moved_at: float = 0.0
    _fresh_turns: int = 0
    _linger_until: float | None = None
    _rate: TokenBucket = field(default_factory=TokenBucket)

    def place(self, placement: Placement) -> None:
        """Run it there from now on. What it had proven counts on in a worker of its own alone."""
        self.dedicated_worker = worker_of(placement)
        self.blocked_by = _blocked_by(placement)
        if self.blocked_by is not None or self.dedicated_worker is None:
            self.proven = 0

    @property
    def moving(self) -> int:
        """Batches in flight that are not stuck."""
        return self.inflight - self.stuck

    def keeps_to(self, busy_weight: int) -> int | None:
        """The worker that its next batch has to go to, None where any will do.

        `busy_weight` is that of all connections that have batches in the pool.
        """
        is_alone = busy_weight <= self.terms.weight
        enough = PROVEN_ALONE_EVENTS if is_alone else PROVEN_EVENTS
        return self.where if self.inflight and self.proven < enough else None

    def offer(self, ready: Ready, now: float) -> Offer | Blocked:
        """What may go now of what is `ready`, or the first rule that forbids it.

        With no time in it, an event will let it in again.
        """
        held = self._shut(now) or self._too_many(now)
        if held is not None:
            return held
        retries_due = ready.next_retry_at is not None and ready.next_retry_at <= now
        if not ready.fresh and not retries_due:
            return Blocked(BlockReason.RETRY, ready.next_retry_at)
        events = self.batch_sizer.most(self.terms.batch_events)
        if not self.breaker.is_closed:
            events = min(events, PROBE_EVENTS)
        if self.credentials.is_held:
            events = 1
        if self.terms.rate is not None:
            need = gathered(self.terms.rate, ready.fresh or 1, events)
            wait_s = self._rate.wait_s(self.terms.rate, max(1.0, self.terms.rate), need, now)
            if wait_s > 0:
                return Blocked(BlockReason.RATE, now + wait_s)
            events = max(1, min(events, int(self._rate.tokens)))
        governed: Blocked | None = None
        if retries_due and (not ready.fresh or self._fresh_turns >= FRESH_TURNS):
            wait_s = self.governor.wait_s(events, now)
            if wait_s <= 0:
                return Offer(True, min(events, self.governor.allowance))
            governed = Blocked(BlockReason.GOVERNOR, now + wait_s)
        if not ready.fresh:
            return governed or Blocked(BlockReason.RETRY, ready.next_retry_at)
        return self._filled(ready, now) or Offer(False, events)

    def _shut(self, now: float) -> Blocked | None:
        if self.closed is not None:
            return Blocked(self.closed)
        if self.is_paused:
            return Blocked(BlockReason.PAUSED)
        held = self.credentials
        if held.is_held and now < held.probe_at:
            return Blocked(BlockReason.CREDENTIALS, held.probe_at, held.reason)
        if self.breaker.is_open(now):
            return Blocked(BlockReason.TRIPPED, self.breaker.probe_at, self.breaker.reason)
        if self.blocked_by is not None:
            return Blocked(self.blocked_by)
        if self.wait_until > now:
            return Blocked(BlockReason.BACKOFF, self.wait_until, self.wait_why)
        return None

    def _too_many(self, now: float) -> Blocked | None:
        if self.credentials.is_held and self.inflight:
            return Blocked(BlockReason.CREDENTIALS, None, self.credentials.reason)
        if not self.breaker.is_closed:
            # While it is not known whether a destination is well again, one batch asks.
            return (
                Blocked(BlockReason.TRIPPED, None, self.breaker.reason) if self.inflight else None
            )
        most = self.terms.max_concurrency
        if self.inflight >= most or not self.concurrency.allows(self.moving, most):
            rule = BlockReason.CONCURRENCY if self.inflight >= most else BlockReason.ADAPTIVE
            return Blocked(rule, None, f"{self.inflight} at once")
        return None

    def _filled(self, ready: Ready, now: float) -> Blocked | None:
        """Whether a batch is worth waiting for: only while another one is under way."""
        terms = self.terms
        if (
            not self.moving
            or terms.linger_s <= 0
            or ready.fresh >= self.batch_sizer.most(terms.batch_events)
            or ready.size_bytes >= terms.batch_bytes
        ):
            return None
        if self._linger_until is None:
            self._linger_until = now + terms.linger_s
        return Blocked(BlockReason.LINGER, self._linger_until) if now < self._linger_until else None

    def began(self, offer: Offer, now: float) -> None:
        """A batch goes out. It is charged as the largest and as a usual one, until `sent`."""
        self.inflight += 1
        self.moved_at = now
        self._linger_until = None
        self._fresh_turns = 0 if offer.retries else self._fresh_turns + 1
        self.breaker.probe_began()
        self.credentials.probe_began(now)
        self._spend(offer.max_events, retries=offer.retries)
        self.turn += self._guess(offer.max_events) / self.terms.weight

    def sent(self, events: int, *, of: int, retries: bool) -> None:
        """It had so many events in the end, `of` those that it might have had."""
        self._spend(events - of, retries=retries)
        self.turn += (events - self._guess(of)) / self.terms.weight
        self.usual = events if self.usual is None else 0.8 * self.usual + 0.2 * events

    def _guess(self, most: int) -> float:
        return most if self.usual is None else min(most, self.usual)

    def _spend(self, events: int, *, retries: bool) -> None:
        if self.terms.rate is not None:
            self._rate.spend(events)
        if retries:
            self.governor.spend(events)

    def send_by_hand(self, now: float) -> Blocked | None:
        """One event goes past the queue: it counts for the rate. What forbids it, if anything."""
        held = self._shut(now)
        if held is None and not self.breaker.is_closed:
            held = Blocked(BlockReason.TRIPPED, None, self.breaker.reason)
        if held is None and self.credentials.is_held:
            held = Blocked(BlockReason.CREDENTIALS, None, self.credentials.reason)
        if held is None and self.terms.rate is not None:
            rate = self.terms.rate
            wait_s = self._rate.wait_s(rate, max(1.0, rate), 1, now)
            held = Blocked(BlockReason.RATE, now + wait_s) if wait_s > 0 else None
        if held is None:
            self._spend(1, retries=False)
        return held

    def resume(self) -> None:
        """An operator lets it go on: whatever held it back is over."""
        self.is_paused = False
        self.wait_until = 0.0
        self.breaker.reset()
