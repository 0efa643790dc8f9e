"""Which connection goes next, and to which worker: one scheduler a pool.

Owns credits of workers and the turn of connections. Connections that may send
stand in a ring and take turns, a batch each; those that may not (rate,
concurrency, back-off, filling a batch) are out of it until a time or an event
lets them in again, so that a decision costs the same however many there are.
Must not know what a delivery is: the shell leases them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

#: After so many turns with first attempts, one goes to retries that are due: first attempts go
#: before retries, and retries are not starved by them.
FRESH_TURNS = 8


class Rule(StrEnum):
    """What a connection that has work waits for."""

    NOTHING = "nothing: next in turn"
    CREDIT = "a free worker"
    CONCURRENCY = "one of its own batches to finish (max_concurrency)"
    RATE = "its rate limit"
    BACKOFF = "back-off after failed attempts"
    LINGER = "its batch to fill (linger)"
    PAUSED = "an operator to resume it"
    DISABLED = "enabled = true in the config"
    UNKNOWN = "its destination, which could not be loaded"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the config and the destination say of a connection.

    `rate` is events a second. A back-off of the whole connection begins after
    `failures_allowed` batches in a row of which nothing was delivered.
    """

    batch_events: int
    batch_bytes: int
    max_concurrency: int
    rate: float | None = None
    linger_s: float = 0.0
    failures_allowed: int = 3
    backoff_first_s: float = 1.0
    backoff_most_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Ready:
    """What a connection could send now, as the shell knows it from the queue."""

    fresh: int
    next_retry_at: float | None


@dataclass(frozen=True, slots=True)
class Take:
    """Lease up to `max_events` for `connection` and send them to `worker`."""

    connection: str
    worker: int
    retries: bool
    max_events: int
    max_bytes: int


@dataclass(slots=True)
class _Lane:
    """One connection's turn: its terms, and what holds it back."""

    name: str
    terms: Terms
    inflight: int = 0
    in_ring: bool = False
    is_paused: bool = False
    closed: Rule | None = None
    fresh_turns: int = 0
    failures: int = 0
    failed_at: float | None = None
    not_before: float = 0.0
    linger_until: float | None = None
    tokens: float = 0.0
    tokens_at: float | None = None
    alarm_at: float | None = None


@dataclass(slots=True)
class Scheduler:
    """`look(connection)` tells what it has in the queue, at no cost."""

    look: Callable[[str], Ready]
    lanes: dict[str, _Lane] = field(default_factory=dict)
    credits: dict[int, int] = field(default_factory=dict)
    _used: dict[int, int] = field(default_factory=dict)
    _turn: int = 0
    _ring: deque[_Lane] = field(default_factory=deque)
    _alarms: list[tuple[float, str]] = field(default_factory=list)

    # --- connections ---

    def opened(self, connection: str, terms: Terms, closed: Rule | None = None) -> None:
        """A connection is there, or its terms have changed; `closed` says why it may not send."""
        lane = self.lanes.get(connection)
        if lane is None:
            lane = self.lanes[connection] = _Lane(connection, terms)
        lane.terms, lane.closed = terms, closed
        self._enter(lane)

    def removed(self, connection: str) -> None:
        """A connection left the config; batches of it that still run are not ours any more."""
        lane = self.lanes.pop(connection, None)
        if lane is not None and lane.in_ring:
            self._ring.remove(lane)

    def paused(self, connection: str) -> None:
        """An operator stops it; what is in flight finishes."""
        self.lanes[connection].is_paused = True

    def resumed(self, connection: str) -> None:
        """An operator lets it go on, and any back-off is over."""
        lane = self.lanes[connection]
        lane.is_paused = False
        lane.failures, lane.not_before = 0, 0.0
        self._enter(lane)

    def probed(self, connection: str) -> None:
        """An operator wants one attempt now; the back-off goes on if it fails."""
        lane = self.lanes[connection]
        lane.not_before = 0.0
        self._enter(lane)

    def work_came(self, connection: str) -> None:
        """There may be something to lease where there was nothing."""
        lane = self.lanes.get(connection)
        if lane is not None:
            self._enter(lane)

    # --- workers ---

    def worker_came(self, worker: int, credits: int) -> None:
        """A worker serves, and takes `credits` batches at once."""
        self.credits[worker] = credits
        self._used[worker] = 0

    def worker_left(self, worker: int) -> None:
        """It takes no more batches; those in flight are reported by `finished` as ever."""
        self.credits.pop(worker, None)
        self._used.pop(worker, None)

    # --- batches ---

    def next(self, now: float) -> Take | None:
        """The next batch to send, which counts as in flight from here on; None: nothing can go."""
        self._ring_alarms(now)
        worker = self._free_worker()
        if worker is None:
            return None
        while self._ring:
            lane = self._ring.popleft()
            lane.in_ring = False
            ready = self.look(lane.name)
            rule, until = self._held_by(lane, ready, now)
            if rule is not None:
                self._set_alarm(lane, until)
                continue
            retries_due = ready.next_retry_at is not None and ready.next_retry_at <= now
            if not ready.fresh and not retries_due:
                self._set_alarm(lane, ready.next_retry_at)
                continue
            retries = retries_due and (not ready.fresh or lane.fresh_turns >= FRESH_TURNS)
            lane.fresh_turns = 0 if retries else lane.fresh_turns + 1
            lane.inflight += 1
            lane.linger_until = None
            self.credits[worker] -= 1
            self._turn += 1
            self._used[worker] = self._turn
            self._enter(lane)
            events = lane.terms.batch_events
            if lane.terms.rate is not None:
                events = max(1, min(events, int(lane.tokens)))
            return Take(lane.name, worker, retries, events, lane.terms.batch_bytes)
        return None

    def sent(self, connection: str, events: int) -> None:
        """A batch of `events` went out: it counts against the rate limit."""
        lane = self.lanes.get(connection)
        if lane is not None and lane.terms.rate is not None:
            lane.tokens -= events

    def nothing_leased(self, take: Take) -> None:
        """There was nothing to lease after all."""
        lane = self._freed(take.connection, take.worker)
        if lane is not None and lane.in_ring:
            # Without this an empty queue that says it has work would spin.
            self._ring.remove(lane)
            lane.in_ring = False
            self._set_alarm(lane, self.look(lane.name).next_retry_at)

    def finished(
        self,
        connection: str,
        worker: int,
        *,
        delivered: int,
        retried: int,
        started: float,
        now: float,
        jitter: float,
    ) -> None:
        """A batch, `started` then, is over: so many deliveries went well, so many did not."""
        lane = self._freed(connection, worker)
        if lane is None:
            return
        if delivered:
            lane.failures, lane.not_before = 0, 0.0
        elif retried and (lane.failed_at is None or started >= lane.failed_at):
            # Batches that ran side by side fail for one cause, and count once.
            lane.failures += 1
            lane.failed_at = now
            over = lane.failures - lane.terms.failures_allowed
            if over >= 0:
                full = min(
                    lane.terms.backoff_first_s * 2.0 ** min(over, 30), lane.terms.backoff_most_s
                )
                lane.not_before = max(lane.not_before, now + full * (0.5 + 0.5 * jitter))
        self._enter(lane)

    def asked_to_wait(self, connection: str, until: float) -> None:
        """The destination said Retry-After: nothing goes to it before `until`."""
        lane = self.lanes.get(connection)
        if lane is not None:
            lane.not_before = max(lane.not_before, until)

    # --- questions ---

    def next_alarm(self) -> float | None:
        """When `next` is worth calling again though nothing has happened."""
        while self._alarms:
            at, name = self._alarms[0]
            lane = self.lanes.get(name)
            if lane is not None and lane.alarm_at == at:
                return at
            heapq.heappop(self._alarms)
        return None

    def waits_for(self, connection: str, now: float) -> tuple[Rule, float | None]:
        """The rule that holds a connection's next delivery, and until when where that is known."""
        lane = self.lanes[connection]
        rule, until = self._held_by(lane, self.look(connection), now)
        if rule is not None:
            return rule, until
        return (Rule.NOTHING if self._free_worker() is not None else Rule.CREDIT), None

    def inflight(self, connection: str) -> int:
        """Batches of a connection that are with workers."""
        lane = self.lanes.get(connection)
        return 0 if lane is None else lane.inflight

    # --- inside ---

    def _held_by(self, lane: _Lane, ready: Ready, now: float) -> tuple[Rule | None, float | None]:
        """The first rule that forbids a batch now; with no time, an event will let it in again."""
        if lane.closed is not None:
            return lane.closed, None
        if lane.is_paused:
            return Rule.PAUSED, None
        if lane.not_before > now:
            return Rule.BACKOFF, lane.not_before
        # While it is not known whether a destination is well again, one batch asks.
        is_probing = lane.failures >= lane.terms.failures_allowed
        if lane.inflight >= (1 if is_probing else lane.terms.max_concurrency):
            return Rule.CONCURRENCY, None
        if lane.terms.rate is not None:
            wait = self._rate_wait(lane, lane.terms.rate, now)
            if wait > 0:
                return Rule.RATE, now + wait
        if lane.inflight and 0 < ready.fresh < lane.terms.batch_events and lane.terms.linger_s > 0:
            # Only while another batch is under way: at low rates nothing waits at all.
            if lane.linger_until is None:
                lane.linger_until = now + lane.terms.linger_s
            if now < lane.linger_until:
                return Rule.LINGER, lane.linger_until
        return None, None

    @staticmethod
    def _rate_wait(lane: _Lane, rate: float, now: float) -> float:
        """Seconds until the bucket holds an event; it holds a second's worth at most."""
        most = max(1.0, rate)
        if lane.tokens_at is None:
            lane.tokens = most
        else:
            lane.tokens = min(most, lane.tokens + (now - lane.tokens_at) * rate)
        lane.tokens_at = now
        return max(0.0, (1.0 - lane.tokens) / rate)

    def _free_worker(self) -> int | None:
        """The worker with the most credits left, so that work spreads; of equals, the most rested.

        A newcomer is the most rested of all: it shows at once whether it works.
        """
        used = self._used
        worker = max(
            self.credits, key=lambda number: (self.credits[number], -used[number]), default=None
        )
        return worker if worker is not None and self.credits[worker] > 0 else None

    def _freed(self, connection: str, worker: int) -> _Lane | None:
        if worker in self.credits:
            self.credits[worker] += 1
        lane = self.lanes.get(connection)
        if lane is None:
            return None
        lane.inflight = max(0, lane.inflight - 1)
        return lane

    def _enter(self, lane: _Lane) -> None:
        if not lane.in_ring:
            lane.in_ring = True
            lane.alarm_at = None
            self._ring.append(lane)

    def _set_alarm(self, lane: _Lane, at: float | None) -> None:
        if at is not None and (lane.alarm_at is None or at < lane.alarm_at):
            lane.alarm_at = at
            heapq.heappush(self._alarms, (at, lane.name))

    def _ring_alarms(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            at, name = heapq.heappop(self._alarms)
            lane = self.lanes.get(name)
            if lane is not None and lane.alarm_at == at:
                self._enter(lane)
