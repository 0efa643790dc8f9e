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

from supervisor.core.placement import Placement
from supervisor.core.scheduling.batches import BatchResult, ScheduleStatus, Take
from supervisor.core.scheduling.breaker import BreakerState
from supervisor.core.scheduling.capacity import Capacity
from supervisor.core.scheduling.connection import (
    PROVEN_EVENTS,
    Blocked,
    BlockReason,
    ConnectionSchedule,
    Offer,
    Ready,
    Terms,
)
from supervisor.core.scheduling.fair_queue import FairQueue

#: Seconds until a queue that said it had a retry, and had none, is asked again.
EMPTY_S = 0.05
#: Seconds after which a connection whose batches do not end is passed over by those behind it.
STUCK_S = 0.5

__all__ = [
    "BatchResult",
    "BlockReason",
    "Blocked",
    "Ready",
    "ScheduleStatus",
    "Scheduler",
    "Take",
    "Terms",
]


@dataclass(slots=True)
class Scheduler:
    """`look(connection)` tells what it has in the queue, at no cost."""

    look: Callable[[str], Ready]
    schedules: dict[str, ConnectionSchedule] = field(default_factory=dict)
    capacity: Capacity = field(default_factory=Capacity)
    _fair_queue: FairQueue = field(default_factory=FairQueue)
    _at_own_worker: deque[ConnectionSchedule] = field(default_factory=deque)
    #: those that hold their share, each with a batch in flight; and those that may probe next
    _crowded: deque[ConnectionSchedule] = field(default_factory=deque)
    _probers: dict[str, None] = field(default_factory=dict)
    _busy_weight: int = 0
    _probing: int = 0
    #: of workers that do not read, their batches by connection
    _stuck: dict[int, dict[str, int]] = field(default_factory=dict)
    _alarms: list[tuple[float, str]] = field(default_factory=list)

    # --- connections ---

    def opened(self, connection: str, terms: Terms, closed: BlockReason | None = None) -> None:
        """A connection is there, or its terms have changed; `closed` says why it may not send."""
        schedule = self.schedules.get(connection)
        if schedule is None:
            schedule = self.schedules[connection] = ConnectionSchedule(connection, terms)
        if schedule.inflight:
            self._busy_weight += terms.weight - schedule.terms.weight
        schedule.terms, schedule.closed = terms, closed
        schedule.breaker.policy = terms.breaker
        self._enter(schedule)

    def removed(self, connection: str) -> None:
        """A connection left the config; batches of it that still run are not ours any more."""
        schedule = self.schedules.pop(connection, None)
        if schedule is None:
            return
        self._leave(schedule)
        for stuck in self._stuck.values():
            stuck.pop(connection, None)
        self._probing -= self._is_probe(schedule)
        if schedule.inflight:
            self._busy_weight -= schedule.terms.weight
        if schedule.dedicated_worker is not None:
            self.capacity.give_to_all(schedule.dedicated_worker)

    def paused(self, connection: str) -> None:
        """An operator stops it; what is in flight finishes."""
        self.schedules[connection].is_paused = True

    def resumed(self, connection: str) -> None:
        """An operator lets it go on, and whatever held it back is over."""
        schedule = self.schedules[connection]
        with_probe = self._is_probe(schedule)
        schedule.resume()
        self._probing -= with_probe
        self._enter(schedule)

    def probed(self, connection: str, now: float) -> None:
        """An operator wants one attempt now; what held it back goes on if it fails."""
        schedule = self.schedules[connection]
        schedule.wait_until = 0.0
        schedule.breaker.ask_now(now)
        schedule.credentials.ask_now(now)
        self._enter(schedule)

    def work_came(self, connection: str) -> None:
        """There may be something to lease where there was nothing."""
        schedule = self.schedules.get(connection)
        if schedule is not None:
            self._enter(schedule)

    def tripped(self, connection: str, reason: str, now: float, jitter: float = 1.0) -> bool:
        """Open the breaker of a connection: its queue is kept, and it is tried again with back-off.

        For what the outcomes of batches do not show: it kills its workers, it
        leaks. `reason` follows "tripped:" in `/status`. Whether that has opened it (again):
        one that is open stays so.
        """
        schedule = self.schedules.get(connection)
        if schedule is None:
            return False
        was_probe = self._is_probe(schedule)
        has_opened = schedule.breaker.trip(reason, now, jitter)
        self._probing += self._is_probe(schedule) - was_probe
        self._enter(schedule)
        return has_opened

    def place(self, connection: str, placement: Placement) -> None:
        """Run a connection there from now on: among the others, nowhere, or in a worker of its own.

        That worker takes nothing else, and one batch at a time. What the connection had proven is
        void, but where it has a worker of its own in full.
        """
        schedule = self.schedules.get(connection)
        if schedule is None:
            return
        was_probe, before = self._is_probe(schedule), schedule.dedicated_worker
        self._leave(schedule)
        schedule.place(placement)
        worker = schedule.dedicated_worker
        if before is not None and before != worker:
            self.capacity.give_to_all(before)
        if worker is not None and before != worker:
            self.capacity.dedicate(worker, connection)
            self.capacity.came(worker, 1)
        self._probing += self._is_probe(schedule) - was_probe
        self._enter(schedule)
        self._uncrowd()

    # --- workers ---

    def worker_came(self, worker: int, credits: int) -> None:
        """A worker serves, and takes `credits` batches at once."""
        self.capacity.came(worker, credits)
        self._uncrowd()
        if (name := self.capacity.dedicated.get(worker)) is not None:
            self.work_came(name)

    def worker_granted(self, worker: int, credits: int) -> None:
        """A worker takes `credits` batches at once from now on; what it runs finishes."""
        self._unstick(worker)
        self.capacity.granted(worker, credits)
        self._uncrowd()
        if (name := self.capacity.dedicated.get(worker)) is not None:
            self.work_came(name)

    def worker_away(self, worker: int, batches: Mapping[str, int], suspect: str | None) -> None:
        """A worker does not read what it is sent: it gets nothing more until `worker_granted`.

        `batches` are those that it has, by connection. They hold back nothing else of their
        connections, whose further batches others can take; but for that of the `suspect`, whose
        step it seems to be in, which keeps to one worker at a time from now on, as long as there
        are others to protect from it.
        """
        self.capacity.granted(worker, 0)
        self._unstick(worker)
        for connection, count in batches.items():
            schedule = self.schedules.get(connection)
            if schedule is not None:
                self._stuck.setdefault(worker, {})[connection] = count
                schedule.stuck += count
                if connection != suspect:
                    schedule.where = None
                elif self._busy_weight > schedule.terms.weight:
                    schedule.proven = 0
                self._enter(schedule)

    def worker_left(self, worker: int) -> None:
        """It takes no more batches; those in flight are reported by `finished` as ever.

        A connection that has it for itself waits until it is placed elsewhere.
        """
        self.capacity.left(worker)

    # --- batches ---

    def next(self, now: float) -> Take | None:
        """The next batch to send, which counts as in flight from here on; None: nothing can go."""
        self._ring_alarms(now)
        while self._at_own_worker:
            schedule = self._at_own_worker.popleft()
            schedule.ticket = None
            own = schedule.dedicated_worker
            if own is not None and self.capacity.credits.get(own, 0) > 0:
                offer = self._ask(schedule, now)
                if offer is not None:
                    return self._begin(schedule, own, offer, now)
        while (worker := self.capacity.freest()) is not None:
            waiting = self._fair_queue.take() or self._next_prober()
            if waiting is None:
                return None
            offer = self._ask(waiting, now)
            if offer is None:
                continue
            held = self._crowds(waiting)
            if held is None:
                keeps_to = waiting.keeps_to(self._busy_weight)
                return self._begin(waiting, worker if keeps_to is None else keeps_to, offer, now)
            if held is BlockReason.KEPT and now < waiting.moved_at + STUCK_S:
                # It goes next, and nobody before it: else small weights would get what is kept
                # turn after turn. Who comes back from a quiet while is earlier all the same.
                self._enter(waiting)
                return None
            if held is BlockReason.PROBES:
                self._probers[waiting.name] = None
            else:  # its share, its worker: when any batch is over it asks again
                self._crowded.append(waiting)
        return None

    def _next_prober(self) -> ConnectionSchedule | None:
        """One that waited for other probes to finish, where there is room for another."""
        while self._probers and self._probing < self.capacity.probes:
            name = next(iter(self._probers))
            del self._probers[name]
            schedule = self.schedules.get(name)
            if (
                schedule is not None
                and schedule.ticket is None
                and schedule.dedicated_worker is None
            ):
                return schedule
        return None

    def _ask(self, schedule: ConnectionSchedule, now: float) -> Offer | None:
        """What a connection may send now; where that is nothing, its alarm is set."""
        match schedule.offer(self.look(schedule.name), now):
            case Offer() as offer:
                return offer
            case Blocked(until=until):
                self._set_alarm(schedule, until)
                return None

    def _crowds(self, schedule: ConnectionSchedule) -> BlockReason | None:
        """The rule on places in the pool that forbids another batch of this connection."""
        capacity = self.capacity
        if not schedule.breaker.is_closed and self._probing >= capacity.probes:
            return BlockReason.PROBES
        if schedule.inflight:
            if schedule.moving >= capacity.share(schedule.terms.weight, self._busy_weight):
                return BlockReason.SHARE
            keeps_to = schedule.keeps_to(self._busy_weight)
            if keeps_to is not None and not capacity.has_place(keeps_to):
                return BlockReason.UNPROVEN
            if capacity.free <= capacity.kept:
                return BlockReason.KEPT
        return None

    def _begin(self, schedule: ConnectionSchedule, worker: int, offer: Offer, now: float) -> Take:
        self._count(schedule, 1)
        self._fair_queue.begin(schedule)
        schedule.began(offer, now)
        self._probing += self._is_probe(schedule) and schedule.inflight == 1
        schedule.where = worker
        self.capacity.take(worker)
        self._enter(schedule)
        terms = schedule.terms
        return Take(schedule.name, worker, offer.retries, offer.max_events, terms.batch_bytes)

    def sent(self, take: Take, events: int) -> None:
        """So many went out in the end: that is what counts against limits and turns."""
        schedule = self.schedules.get(take.connection)
        if schedule is not None:
            schedule.sent(events, of=take.max_events, retries=take.retries)

    def nothing_leased(self, take: Take, now: float) -> None:
        """There was nothing to lease after all."""
        self.sent(take, 0)
        schedule = self._freed(take.connection, take.worker)
        if schedule is not None:
            schedule.credentials.ask_now(now)
            # Without this an empty queue that says it has work would spin.
            self._leave(schedule)
            at = self.look(schedule.name).next_retry_at
            self._set_alarm(schedule, None if at is None else max(at, now + EMPTY_S))

    def borrowed(self, connection: str, worker: int) -> None:
        """A batch went to a worker out of turn; `finished` is told of it as ever."""
        schedule = self.schedules.get(connection)
        if worker in self.capacity.credits:
            self.capacity.take(worker)
        if schedule is not None:
            self._count(schedule, 1)
            schedule.inflight += 1
            self._probing += self._is_probe(schedule) and schedule.inflight == 1

    def finished(
        self, connection: str, worker: int, batch: BatchResult, *, now: float, jitter: float
    ) -> None:
        """A batch is over, and its place is free; `jitter` within [0, 1]."""
        schedule = self.schedules.get(connection)
        if schedule is not None:
            schedule.moved_at = now
            self._learn(schedule, batch, now, jitter)
        schedule = self._freed(connection, worker)
        if schedule is not None:
            self._enter(schedule)

    def _learn(
        self, schedule: ConnectionSchedule, batch: BatchResult, now: float, jitter: float
    ) -> None:
        was_probe = self._is_probe(schedule)
        answered = batch.delivered + batch.failed
        if batch.delivered:
            schedule.governor.delivered(batch.delivered, retries=batch.retries, now=now)
        schedule.concurrency.finished(
            events=answered + batch.retried,
            congested=batch.congested,
            good=answered > 0,
            inflight=schedule.inflight,
            most=schedule.terms.max_concurrency,
            started=batch.started,
            now=now,
        )
        schedule.batch_sizer.ended(
            answered + batch.retried, batch.spoiled, schedule.terms.batch_events
        )
        schedule.proven = min(PROVEN_EVENTS, schedule.proven + answered)
        if answered:
            schedule.credentials.ask_now(now)  # of an event that failed before it was sent
            if schedule.breaker.succeeded(batch.started, now):
                schedule.concurrency.ramp()
        elif batch.retried:
            schedule.breaker.failed(batch.retried, batch.why, batch.started, now, jitter)
        self._probing += self._is_probe(schedule) - was_probe

    def retry_after(self, connection: str, until: float, why: str = "") -> None:
        """The destination said Retry-After: nothing goes to it before `until`; `why` says more."""
        schedule = self.schedules.get(connection)
        if schedule is not None and until > schedule.wait_until:
            schedule.wait_until, schedule.wait_why = until, why

    # --- questions ---

    def next_alarm(self) -> float | None:
        """When `next` is worth calling again though nothing has happened."""
        while self._alarms:
            at, name = self._alarms[0]
            schedule = self.schedules.get(name)
            if schedule is not None and schedule.alarm_at == at:
                return at
            heapq.heappop(self._alarms)
        return None

    def waits_for(self, connection: str, now: float) -> Blocked:
        """The rule that holds a connection's next delivery, and until when where that is known."""
        schedule = self.schedules[connection]
        found = schedule.offer(self.look(connection), now)
        if isinstance(found, Blocked):
            return found
        own = schedule.dedicated_worker
        if own is not None:
            is_free = self.capacity.credits.get(own, 0) > 0
            return Blocked(BlockReason.NOTHING if is_free else BlockReason.HOME)
        rule = self._crowds(schedule)
        if rule is not None:
            return Blocked(rule, None, schedule.breaker.reason)
        if self.capacity.freest() is None:
            return Blocked(BlockReason.CREDIT)
        return Blocked(BlockReason.NOTHING)

    def status(self, connection: str, now: float) -> ScheduleStatus:
        """What a connection may do now, as operators see it."""
        schedule = self.schedules[connection]
        terms = schedule.terms
        return ScheduleStatus(
            blocked=self.waits_for(connection, now),
            is_breaker_closed=schedule.breaker.is_closed,
            tripped_since=schedule.breaker.since,
            tripped_for=schedule.breaker.reason,
            trips=schedule.breaker.trips,
            concurrency=min(int(schedule.concurrency.limit), terms.max_concurrency),
            batch_events=schedule.batch_sizer.most(terms.batch_events),
            proven_per_s=schedule.governor.proven(now),
            retries_per_s=schedule.governor.rate(now),
            credentials=schedule.credentials.reason,
        )

    def would_send(self, connection: str, now: float) -> bool:
        """Whether a connection would have something to send now if it ran among the others."""
        schedule = self.schedules.get(connection)
        if schedule is None:
            return False
        blocked, schedule.blocked_by = schedule.blocked_by, None
        offer = schedule.offer(self.look(connection), now)
        schedule.blocked_by = blocked
        return isinstance(offer, Offer)

    def others_wait(self, connection: str, now: float) -> bool:
        """Whether another of the first in line has something to send and finds no place."""
        if self.capacity.freest() is not None:
            return False
        return any(self.would_send(name, now) for name in self._fair_queue.others(connection))

    def inflight(self, connection: str) -> int:
        """Batches of a connection that are with workers."""
        schedule = self.schedules.get(connection)
        return 0 if schedule is None else schedule.inflight

    # --- inside ---

    def _is_probe(self, schedule: ConnectionSchedule) -> bool:
        """Whether what it has in flight counts among the probes."""
        return (
            bool(schedule.inflight)
            and schedule.dedicated_worker is None
            and schedule.breaker.state is not BreakerState.CLOSED
        )

    def _count(self, schedule: ConnectionSchedule, more: int) -> None:
        """Before a batch comes, and after one went."""
        if not schedule.inflight:
            self._busy_weight += more * schedule.terms.weight

    def _freed(self, connection: str, worker: int) -> ConnectionSchedule | None:
        self.capacity.give_back(worker)
        self._uncrowd()
        schedule = self.schedules.get(connection)
        if schedule is None or not schedule.inflight:
            return schedule
        was_probe = self._is_probe(schedule)
        schedule.inflight -= 1
        stuck = self._stuck.get(worker)
        if stuck is not None and connection in stuck:
            schedule.stuck -= 1
            stuck[connection] -= 1
            if not stuck[connection]:
                del stuck[connection]
            if not stuck:
                del self._stuck[worker]
        self._count(schedule, -1)
        self._probing += self._is_probe(schedule) - was_probe
        return schedule

    def _unstick(self, worker: int) -> None:
        for connection, count in self._stuck.pop(worker, {}).items():
            self.schedules[connection].stuck -= count

    def _uncrowd(self) -> None:
        """A place is free, or there are more: connections that waited for that ask again."""
        while self._crowded:
            self._enter(self._crowded.popleft())

    def _enter(self, schedule: ConnectionSchedule) -> None:
        if schedule.ticket is not None:
            return
        if schedule.dedicated_worker is None:
            self._fair_queue.enter(schedule)
        else:
            schedule.ticket = 0
            self._at_own_worker.append(schedule)

    def _leave(self, schedule: ConnectionSchedule) -> None:
        if schedule.dedicated_worker is None:
            self._fair_queue.leave(schedule)
        elif schedule.ticket is not None:
            schedule.ticket = None
            self._at_own_worker.remove(schedule)

    def _set_alarm(self, schedule: ConnectionSchedule, at: float | None) -> None:
        # An earlier one rings first, and a connection that finds nothing then sets the next.
        if at is not None and (schedule.alarm_at is None or at < schedule.alarm_at):
            schedule.alarm_at = at
            heapq.heappush(self._alarms, (at, schedule.name))

    def _ring_alarms(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            at, name = heapq.heappop(self._alarms)
            schedule = self.schedules.get(name)
            if schedule is not None and schedule.alarm_at == at:
                schedule.alarm_at = None
                self._enter(schedule)
