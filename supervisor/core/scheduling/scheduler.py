"""Which connection goes next, and to which worker: one scheduler a pool.

Connections that may send wait for their turn (`fair_queue.py`); those that may not
(`connection.py` has the rules) are out of it until a time or an event lets them in
again, so that a decision costs the same however many there are. Credits and
shares are `capacity.py`'s. Must not know what a delivery is: the shell leases them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from supervisor.core.scheduling.breaker import State
from supervisor.core.scheduling.capacity import Crew
from supervisor.core.scheduling.connection import (
    PROVEN_EVENTS,
    Hold,
    Lane,
    Offer,
    Ready,
    Rule,
    Terms,
)
from supervisor.core.scheduling.fair_queue import Turns

#: Seconds until a queue that said it had a retry, and had none, is asked again.
EMPTY_S = 0.05
#: Seconds after which a connection whose batches do not end is passed over by those behind it.
STUCK_S = 0.5

__all__ = ["Batch", "Hold", "Ready", "Rule", "Scheduler", "Take", "Terms"]


@dataclass(frozen=True, slots=True)
class Take:
    """Lease up to `max_events` for `connection` and send them to `worker`."""

    connection: str
    worker: int
    retries: bool
    max_events: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of a batch that was `started` then; the counts are of deliveries.

    `failed` are answers too, only final ones. `congested` are those of the
    `retried` that met a limit of the destination: 429, a timeout, no connection;
    `spoiled` those that go again singly, since one of them may have spoiled it for all.
    `why` is the error of one of them.
    """

    delivered: int = 0
    failed: int = 0
    retried: int = 0
    congested: int = 0
    spoiled: int = 0
    retries: bool = False
    started: float = 0.0
    why: str = ""


@dataclass(slots=True)
class Scheduler:
    """`look(connection)` tells what it has in the queue, at no cost."""

    look: Callable[[str], Ready]
    lanes: dict[str, Lane] = field(default_factory=dict)
    crew: Crew = field(default_factory=Crew)
    _turns: Turns = field(default_factory=Turns)
    _at_home: deque[Lane] = field(default_factory=deque)
    #: those that hold their share, each with a batch in flight; and those that may probe next
    _crowded: deque[Lane] = field(default_factory=deque)
    _probers: dict[str, None] = field(default_factory=dict)
    _busy_weight: int = 0
    _probing: int = 0
    #: of workers that do not read, their batches by connection
    _stuck: dict[int, dict[str, int]] = field(default_factory=dict)
    _alarms: list[tuple[float, str]] = field(default_factory=list)

    # --- connections ---

    def opened(self, connection: str, terms: Terms, closed: Rule | None = None) -> None:
        """A connection is there, or its terms have changed; `closed` says why it may not send."""
        lane = self.lanes.get(connection)
        if lane is None:
            lane = self.lanes[connection] = Lane(connection, terms)
        if lane.inflight:
            self._busy_weight += terms.weight - lane.terms.weight
        lane.terms, lane.closed = terms, closed
        lane.breaker.policy = terms.breaker
        self._enter(lane)

    def removed(self, connection: str) -> None:
        """A connection left the config; batches of it that still run are not ours any more."""
        lane = self.lanes.pop(connection, None)
        if lane is None:
            return
        self._turns.leave(lane)
        for stuck in self._stuck.values():
            stuck.pop(connection, None)
        if lane.inflight:
            self._busy_weight -= lane.terms.weight
            self._probing -= not lane.breaker.is_closed and lane.home is None
        if lane.home is not None:
            self.crew.unreserve(lane.home)

    def paused(self, connection: str) -> None:
        """An operator stops it; what is in flight finishes."""
        self.lanes[connection].is_paused = True

    def resumed(self, connection: str) -> None:
        """An operator lets it go on, and whatever held it back is over."""
        lane = self.lanes[connection]
        with_probe = self._is_probe(lane)
        lane.resume()
        self._probing -= with_probe
        self._enter(lane)

    def probed(self, connection: str, now: float) -> None:
        """An operator wants one attempt now; what held it back goes on if it fails."""
        lane = self.lanes[connection]
        lane.wait_until = 0.0
        lane.breaker.ask_now(now)
        self._enter(lane)

    def work_came(self, connection: str) -> None:
        """There may be something to lease where there was nothing."""
        lane = self.lanes.get(connection)
        if lane is not None:
            self._enter(lane)

    def tripped(self, connection: str, reason: str, now: float, jitter: float = 1.0) -> bool:
        """Open the breaker of a connection: its queue is kept, and it is tried again with back-off.

        For what the outcomes of batches do not show: it kills its workers, it
        leaks. `reason` follows "tripped:" in `/status`. Whether that has opened it (again):
        one that is open stays so.
        """
        lane = self.lanes.get(connection)
        if lane is None:
            return False
        was_probe = self._is_probe(lane)
        has_opened = lane.breaker.trip(reason, now, jitter)
        self._probing += self._is_probe(lane) - was_probe
        self._enter(lane)
        return has_opened

    def held(self, connection: str, rule: Rule | None) -> None:
        """Lease nothing for a connection, for the reason that `rule` gives; None lets it go on."""
        lane = self.lanes.get(connection)
        if lane is not None:
            lane.held = rule
            if rule is not None:
                lane.proven = 0
            self._enter(lane)

    # --- workers ---

    def worker_came(self, worker: int, credits: int) -> None:
        """A worker serves, and takes `credits` batches at once."""
        self.crew.came(worker, credits)
        self._uncrowd()
        if (name := self.crew.homes.get(worker)) is not None:
            self.work_came(name)

    def worker_granted(self, worker: int, credits: int) -> None:
        """A worker takes `credits` batches at once from now on; what it runs finishes."""
        self._unstick(worker)
        self.crew.granted(worker, credits)
        self._uncrowd()
        if (name := self.crew.homes.get(worker)) is not None:
            self.work_came(name)

    def worker_away(self, worker: int, batches: Mapping[str, int], suspect: str | None) -> None:
        """A worker does not read what it is sent: it gets nothing more until `worker_granted`.

        `batches` are those that it has, by connection. They hold back nothing else of their
        connections, whose further batches others can take; but for that of the `suspect`, whose
        step it seems to be in, which keeps to one worker at a time from now on, as long as there
        are others to protect from it.
        """
        self.crew.granted(worker, 0)
        self._unstick(worker)
        for connection, count in batches.items():
            lane = self.lanes.get(connection)
            if lane is not None:
                self._stuck.setdefault(worker, {})[connection] = count
                lane.stuck += count
                if connection != suspect:
                    lane.where = None
                elif self._busy_weight > lane.terms.weight:
                    lane.proven = 0
                self._enter(lane)

    def worker_left(self, worker: int) -> None:
        """It takes no more batches; those in flight are reported by `finished` as ever.

        A connection that it was reserved for waits until it is given another
        one, or is let back among the others.
        """
        self.crew.left(worker)

    def reserve(self, worker: int, connection: str) -> bool:
        """From now on `worker` takes only this connection, and the connection goes only there.

        What it runs of others finishes. False where it is the last worker that
        the others have; then nothing changes.
        """
        lane = self.lanes.get(connection)
        if lane is None or not self.crew.reserve(worker, connection):
            return False
        if lane.home is not None and lane.home != worker:
            self.crew.unreserve(lane.home)
        self._turns.leave(lane)
        lane.home = worker
        self._enter(lane)
        return True

    def unreserve(self, connection: str) -> None:
        """The connection runs where all others do, and its worker takes all others again."""
        lane = self.lanes.get(connection)
        if lane is not None and lane.home is not None:
            self.crew.unreserve(lane.home)
            lane.home, lane.ticket = None, None
            if lane in self._at_home:
                self._at_home.remove(lane)
            self._enter(lane)
            self._uncrowd()

    # --- batches ---

    def next(self, now: float) -> Take | None:
        """The next batch to send, which counts as in flight from here on; None: nothing can go."""
        self._ring_alarms(now)
        while self._at_home:
            lane = self._at_home.popleft()
            lane.ticket = None
            if lane.home is not None and self.crew.credits.get(lane.home, 0) > 0:
                offer = self._ask(lane, now)
                if offer is not None:
                    return self._begin(lane, lane.home, offer, now)
        while (worker := self.crew.freest()) is not None:
            waiting = self._turns.take() or self._next_prober()
            if waiting is None:
                return None
            offer = self._ask(waiting, now)
            if offer is None:
                continue
            held = self._crowds(waiting)
            if held is None:
                keeps_to = waiting.keeps_to
                return self._begin(waiting, worker if keeps_to is None else keeps_to, offer, now)
            if held is Rule.KEPT and now < waiting.moved_at + STUCK_S:
                # It goes next, and nobody before it: else small weights would get what is kept
                # turn after turn. Who comes back from a quiet while is earlier all the same.
                self._enter(waiting)
                return None
            if held is Rule.PROBES:
                self._probers[waiting.name] = None
            else:  # its share, its worker: when any batch is over it asks again
                self._crowded.append(waiting)
        return None

    def _next_prober(self) -> Lane | None:
        """One that waited for other probes to finish, where there is room for another."""
        while self._probers and self._probing < self.crew.probes:
            name = next(iter(self._probers))
            del self._probers[name]
            lane = self.lanes.get(name)
            if lane is not None and lane.ticket is None and lane.home is None:
                return lane
        return None

    def _ask(self, lane: Lane, now: float) -> Offer | None:
        """What a lane may send now; where that is nothing, its alarm is set."""
        match lane.offer(self.look(lane.name), now):
            case Offer() as offer:
                return offer
            case Hold(until=until):
                self._set_alarm(lane, until)
                return None

    def _crowds(self, lane: Lane) -> Rule | None:
        """The rule on places in the pool that forbids another batch of this connection."""
        crew = self.crew
        if not lane.breaker.is_closed and self._probing >= crew.probes:
            return Rule.PROBES
        if lane.inflight:
            if lane.moving >= crew.share(lane.terms.weight, self._busy_weight):
                return Rule.SHARE
            if lane.keeps_to is not None and not crew.has_place(lane.keeps_to):
                return Rule.UNPROVEN
            if crew.free <= crew.kept:
                return Rule.KEPT
        return None

    def _begin(self, lane: Lane, worker: int, offer: Offer, now: float) -> Take:
        self._count(lane, 1)
        self._turns.begin(lane)
        lane.began(offer, now)
        self._probing += self._is_probe(lane) and lane.inflight == 1
        lane.where = worker
        self.crew.take(worker)
        self._enter(lane)
        terms = lane.terms
        return Take(lane.name, worker, offer.retries, offer.max_events, terms.batch_bytes)

    def sent(self, take: Take, events: int) -> None:
        """So many went out in the end: that is what counts against limits and turns."""
        lane = self.lanes.get(take.connection)
        if lane is not None:
            lane.sent(events, of=take.max_events, retries=take.retries)

    def nothing_leased(self, take: Take, now: float) -> None:
        """There was nothing to lease after all."""
        self.sent(take, 0)
        lane = self._freed(take.connection, take.worker)
        if lane is not None:
            # Without this an empty queue that says it has work would spin.
            self._leave(lane)
            at = self.look(lane.name).next_retry_at
            self._set_alarm(lane, None if at is None else max(at, now + EMPTY_S))

    def borrowed(self, connection: str, worker: int) -> None:
        """A batch went to a worker out of turn; `finished` is told of it as ever."""
        lane = self.lanes.get(connection)
        if worker in self.crew.credits:
            self.crew.take(worker)
        if lane is not None:
            self._count(lane, 1)
            lane.inflight += 1
            self._probing += self._is_probe(lane) and lane.inflight == 1

    def finished(
        self, connection: str, worker: int, batch: Batch, *, now: float, jitter: float
    ) -> None:
        """A batch is over, and its place is free; `jitter` within [0, 1]."""
        lane = self.lanes.get(connection)
        if lane is not None:
            lane.moved_at = now
            self._learn(lane, batch, now, jitter)
        lane = self._freed(connection, worker)
        if lane is not None:
            self._enter(lane)

    def _learn(self, lane: Lane, batch: Batch, now: float, jitter: float) -> None:
        was_probe = self._is_probe(lane)
        answered = batch.delivered + batch.failed
        if batch.delivered:
            lane.governor.delivered(batch.delivered, retries=batch.retries, now=now)
        lane.concurrency.finished(
            events=answered + batch.retried,
            congested=batch.congested,
            good=answered > 0,
            inflight=lane.inflight,
            most=lane.terms.max_concurrency,
            started=batch.started,
            now=now,
        )
        lane.sizing.ended(answered + batch.retried, batch.spoiled, lane.terms.batch_events)
        lane.proven = min(PROVEN_EVENTS, lane.proven + answered)
        if answered:
            if lane.breaker.succeeded(batch.started, now):
                lane.concurrency.ramp()
        elif batch.retried:
            lane.breaker.failed(batch.retried, batch.why, batch.started, now, jitter)
        self._probing += self._is_probe(lane) - was_probe

    def asked_to_wait(self, connection: str, until: float) -> None:
        """The destination said Retry-After: nothing goes to it before `until`."""
        lane = self.lanes.get(connection)
        if lane is not None:
            lane.wait_until = max(lane.wait_until, until)

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

    def waits_for(self, connection: str, now: float) -> Hold:
        """The rule that holds a connection's next delivery, and until when where that is known."""
        lane = self.lanes[connection]
        found = lane.offer(self.look(connection), now)
        if isinstance(found, Hold):
            return found
        if lane.home is not None:
            is_free = self.crew.credits.get(lane.home, 0) > 0
            return Hold(Rule.NOTHING if is_free else Rule.HOME)
        rule = self._crowds(lane)
        if rule is not None:
            return Hold(rule, None, lane.breaker.reason)
        if self.crew.freest() is None:
            return Hold(Rule.CREDIT)
        return Hold(Rule.NOTHING)

    def would_send(self, connection: str, now: float) -> bool:
        """Whether a connection that is held would have something to send now if it were not."""
        lane = self.lanes.get(connection)
        if lane is None:
            return False
        held, lane.held = lane.held, None
        offer = lane.offer(self.look(connection), now)
        lane.held = held
        return isinstance(offer, Offer)

    def inflight(self, connection: str) -> int:
        """Batches of a connection that are with workers."""
        lane = self.lanes.get(connection)
        return 0 if lane is None else lane.inflight

    # --- inside ---

    def _is_probe(self, lane: Lane) -> bool:
        """Whether what it has in flight counts among the probes."""
        return bool(lane.inflight) and lane.home is None and lane.breaker.state is not State.CLOSED

    def _count(self, lane: Lane, more: int) -> None:
        """Before a batch comes, and after one went."""
        if not lane.inflight:
            self._busy_weight += more * lane.terms.weight

    def _freed(self, connection: str, worker: int) -> Lane | None:
        self.crew.give_back(worker)
        self._uncrowd()
        lane = self.lanes.get(connection)
        if lane is None or not lane.inflight:
            return lane
        was_probe = self._is_probe(lane)
        lane.inflight -= 1
        stuck = self._stuck.get(worker)
        if stuck is not None and connection in stuck:
            lane.stuck -= 1
            stuck[connection] -= 1
            if not stuck[connection]:
                del stuck[connection]
            if not stuck:
                del self._stuck[worker]
        self._count(lane, -1)
        self._probing += self._is_probe(lane) - was_probe
        return lane

    def _unstick(self, worker: int) -> None:
        for connection, count in self._stuck.pop(worker, {}).items():
            self.lanes[connection].stuck -= count

    def _uncrowd(self) -> None:
        """A place is free, or there are more: whoever waited for that asks again."""
        while self._crowded:
            self._enter(self._crowded.popleft())

    def _enter(self, lane: Lane) -> None:
        if lane.ticket is not None:
            return
        if lane.home is None:
            self._turns.enter(lane)
        else:
            lane.ticket = 0
            self._at_home.append(lane)

    def _leave(self, lane: Lane) -> None:
        if lane.home is None:
            self._turns.leave(lane)
        elif lane.ticket is not None:
            lane.ticket = None
            self._at_home.remove(lane)

    def _set_alarm(self, lane: Lane, at: float | None) -> None:
        # An earlier one rings first, and whoever finds nothing then sets the next.
        if at is not None and (lane.alarm_at is None or at < lane.alarm_at):
            lane.alarm_at = at
            heapq.heappush(self._alarms, (at, lane.name))

    def _ring_alarms(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            at, name = heapq.heappop(self._alarms)
            lane = self.lanes.get(name)
            if lane is not None and lane.alarm_at == at:
                lane.alarm_at = None
                self._enter(lane)
