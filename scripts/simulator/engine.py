"""The simulation: arrivals, the real scheduler, modelled workers and destinations, a heap of times.

Owns the virtual clock and a queue that is only numbers: events that came
together and share their history are one group. Decisions are the core's own;
nothing of them is modelled.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from scripts.simulator.destinations import Answer, Model
from scripts.simulator.figures import Figures, Result
from supervisor.core.scheduling.concurrency import Concurrency
from supervisor.core.scheduling.retry import RetryPolicy, next_attempt_s
from supervisor.core.scheduling.retry_governor import RetryGovernor
from supervisor.core.scheduling.scheduler import BatchResult, Ready, Scheduler, Take, Terms

#: Batches that a worker takes at once, as real ones do.
CREDITS = 16
#: Groups that those of a batch which have to be tried again fall into, each with a time of its own.
PIECES = 4
#: Attempts, and when: seconds since 1970 do not matter here.
RETRY = RetryPolicy(window_s=4 * 3600.0, first_delay_s=1.0, max_delay_s=600.0)

#: When events come, and how many.
Arrivals = Iterator[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of a simulated pool."""

    name: str
    model: Model
    arrivals: Callable[[random.Random], Arrivals]
    terms: Terms


@dataclass(slots=True)
class Group:
    """So many events that were received together and have come equally far."""

    n: int
    received: float
    attempts: int = 0
    first_at: float | None = None


@dataclass(slots=True)
class Backlog:
    """What one connection has in the queue."""

    fresh: int = 0
    log: deque[Group] = field(default_factory=deque)
    retries: list[tuple[float, int, Group]] = field(default_factory=list)
    retrying: int = 0

    @property
    def pending(self) -> int:
        return self.fresh + self.retrying


class Ungoverned(RetryGovernor):
    """What there was before: retries go when their time has come."""

    def wait_s(self, batch_events: int, now: float) -> float:
        return 0.0

    @property
    def allowance(self) -> int:
        return 1_000_000


class Fixed(Concurrency):
    """What there was before: as many batches at once as `max_concurrency` says."""

    def allows(self, inflight: int, most: int) -> bool:
        return inflight < most


class Guard(Enum):
    """What keeps a destination from being run over; the scenarios leave it out to compare."""

    ALL = "with the retry governor"
    UNGOVERNED = "without the governor"
    NONE = "without governor and adaptive concurrency"


class Simulation:
    """One pool. `bucket_s` is the width of the figures' time slots, in seconds."""

    def __init__(
        self,
        connections: Sequence[Connection],
        *,
        workers: int = 2,
        seed: int = 1,
        bucket_s: float = 1.0,
        guard: Guard = Guard.ALL,
        retry: RetryPolicy = RETRY,
    ) -> None:
        self.now = 0.0
        self._retry = retry
        self._chance = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._connections = {connection.name: connection for connection in connections}
        self.backlogs = {connection.name: Backlog() for connection in connections}
        self.figures = {c.name: Figures(bucket_s) for c in connections}
        self.scheduler = Scheduler(self._look)
        for connection in connections:
            self.scheduler.opened(connection.name, connection.terms)
            schedule = self.scheduler.schedules[connection.name]
            if guard is not Guard.ALL:
                schedule.governor = Ungoverned()
            if guard is Guard.NONE:
                schedule.concurrency = Fixed()
            self._arrive(connection.name, connection.arrivals(self._chance))
        for worker in range(1, workers + 1):
            self.scheduler.worker_came(worker, CREDITS)
        self._alarm_at: float | None = None

    def run(self, until: float) -> None:
        """Let time pass up to `until` (seconds)."""
        while self._events and self._events[0][0] <= until:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
            # What happens at the same instant is decided on together.
            if not self._events or self._events[0][0] > self.now:
                self._pump()
        self.now = until

    def result(self, title: str, until: float, *marks: tuple[float, str]) -> Result:
        """What there is to show of it, up to `until`."""
        pending = {name: backlog.pending for name, backlog in self.backlogs.items()}
        return Result(title, self.figures, pending, until, marks)

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), happen))

    def _look(self, name: str) -> Ready:
        backlog = self.backlogs[name]
        return Ready(backlog.fresh, backlog.retries[0][0] if backlog.retries else None)

    # --- in ---

    def _arrive(self, name: str, arrivals: Arrivals) -> None:
        coming = next(arrivals, None)
        if coming is not None:
            time, n = coming
            self._at(time, lambda: self._arrived(name, n, arrivals))

    def _arrived(self, name: str, n: int, arrivals: Arrivals) -> None:
        backlog = self.backlogs[name]
        backlog.fresh += n
        backlog.log.append(Group(n, self.now))
        self.figures[name].arrived(n, self.now)
        self.figures[name].pending(backlog.pending, self.now)
        self.scheduler.work_came(name)
        self._arrive(name, arrivals)

    # --- out ---

    def _pump(self) -> None:
        scheduler = self.scheduler
        while (take := scheduler.next(self.now)) is not None:
            groups = self._lease(take)
            n = sum(group.n for group in groups)
            if not n:
                scheduler.nothing_leased(take, self.now)
                continue
            scheduler.sent(take, n)
            figures = self.figures[take.connection]
            figures.sent(n, self.now, retries=take.retries)
            if take.retries:
                governor = scheduler.schedules[take.connection].governor
                figures.proved(governor.proven(self.now), self.now)
            answer = self._connections[take.connection].model.answer(n, self.now, self._chance)
            self._at(self.now + answer.took_s, self._ending(take, groups, answer, self.now))
        at = scheduler.next_alarm()
        if at is not None and (
            self._alarm_at is None or at < self._alarm_at or self._alarm_at <= self.now
        ):
            self._alarm_at = at
            self._at(max(at, self.now), lambda: None)

    def _lease(self, take: Take) -> list[Group]:
        backlog = self.backlogs[take.connection]
        groups: list[Group] = []
        room = take.max_events
        while room and ((take.retries and backlog.retries) or (not take.retries and backlog.log)):
            if take.retries:
                due, _, group = backlog.retries[0]
                if due > self.now:
                    break
            else:
                group = backlog.log[0]
            n = min(room, group.n)
            if n == group.n:
                if take.retries:
                    heapq.heappop(backlog.retries)
                else:
                    backlog.log.popleft()
            else:
                group.n -= n
            groups.append(Group(n, group.received, group.attempts + 1, group.first_at))
            room -= n
        leased = take.max_events - room
        if take.retries:
            backlog.retrying -= leased
        else:
            backlog.fresh -= leased
        return groups

    def _ending(
        self, take: Take, groups: list[Group], answer: Answer, began: float
    ) -> Callable[[], None]:
        return lambda: self._ended(take, groups, answer, began)

    def _ended(self, take: Take, groups: list[Group], answer: Answer, began: float) -> None:
        name = take.connection
        figures, backlog = self.figures[name], self.backlogs[name]
        total = sum(group.n for group in groups)
        given_up = 0
        for group, taken in zip(groups, _spread(groups, answer.taken, total), strict=True):
            if taken:
                figures.delivered(taken, group.received, self.now, retries=take.retries)
            given_up += self._again(backlog, group, group.n - taken, answer, began)
        if answer.retry_after_s is not None:
            self.scheduler.retry_after(name, self.now + answer.retry_after_s)
        retried = total - answer.taken
        figures.gave_up(given_up)
        figures.pending(backlog.pending, self.now)
        self.scheduler.finished(
            name,
            take.worker,
            BatchResult(
                delivered=answer.taken,
                retried=retried,
                congested=retried if answer.is_congested else 0,
                retries=take.retries,
                started=began,
                why=answer.why,
            ),
            now=self.now,
            jitter=self._chance.random(),
        )

    def _again(self, backlog: Backlog, group: Group, n: int, answer: Answer, began: float) -> int:
        """Those that were not taken wait for another attempt, in pieces; how many were given up."""
        first_at = began if group.first_at is None else group.first_at
        given_up = 0
        for piece in range(min(PIECES, n)):
            size = n // PIECES + (piece < n % PIECES)
            delay_s = next_attempt_s(
                self._retry,
                attempt=group.attempts,
                jitter=self._chance.random(),
                since_first_s=self.now - first_at,
                retry_after_s=answer.retry_after_s,
            )
            if delay_s is None:
                given_up += size
                continue
            again = Group(size, group.received, group.attempts, first_at)
            heapq.heappush(backlog.retries, (self.now + delay_s, next(self._numbers), again))
            backlog.retrying += size
        return given_up


def _spread(groups: Sequence[Group], taken: int, total: int) -> list[int]:
    """How many of each group are among those that were taken: its part of the batch."""
    parts = [group.n * taken // total for group in groups]
    left = taken - sum(parts)
    for index, group in enumerate(groups):
        more = min(left, group.n - parts[index])
        parts[index] += more
        left -= more
    return parts
