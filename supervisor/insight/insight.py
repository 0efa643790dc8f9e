"""What is kept for people to look at, as one object: what is fed, what is asked, and its minute.

Owns the life of its parts: what is loaded at the start, what is done each second and each minute,
and the last words. Nothing waits for it, neither the start nor the stop. Must not know who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from supervisor.core.causes import cause_of
from supervisor.insight import history, issues
from supervisor.insight.attempts import AttemptRecord, Attempts, Trial
from supervisor.insight.disk import Database, Disk, DiskUnavailable
from supervisor.insight.frames import MINUTE_S
from supervisor.insight.history import Loaded
from supervisor.insight.issues import Issues, Kind, StoredIssue
from supervisor.insight.looking import Looking
from supervisor.insight.masking import Masking
from supervisor.insight.sample_records import FailedAttempt, MetBy
from supervisor.insight.samples import Samples
from supervisor.insight.shapes import Shapes
from supervisor.insight.tap import MOST_AT_ONCE, Tap
from supervisor.insight.trends import Ages, Counting, SourceCounts, Trends
from supervisor.queue import Delivery, NewEvent
from supervisor.runtime.clock import Clock

_log = structlog.get_logger(__name__)

#: Seconds between two looks at what sources send, for rates, and over how many of them.
RATE_EVERY_S: Final = 2.0
RATE_LOOKS: Final = 6
#: Seconds that the last words may take.
LAST_WORDS_S: Final = 3.0


class RejectedEvent(Protocol):
    """An event that was not taken, as the sender is told."""

    @property
    def index(self) -> int:
        """Its place in the request."""

    @property
    def code(self) -> str:
        """Of a closed set."""

    @property
    def message(self) -> str:
        """What was wrong."""


class Insight:
    """That of one service. `budget`s are bytes; `wall` gives the times that people see."""

    def __init__(
        self,
        state_dir: Path,
        *,
        queue: Counting,
        ages: Ages,
        clock: Clock,
        tap_budget: int,
        trends_budget: int,
        masking: Masking,
        redact: Callable[[str], str],
        wall: Clock = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self.disk = Disk(state_dir, self._begin_anew)
        self.tap = Tap(tap_budget, wall())
        self.issues = Issues(self.disk)
        self.attempts = Attempts(wall())
        self.shapes = Shapes()
        self.samples = Samples(state_dir, masking, redact, wall=wall)
        self.trends = Trends(queue, ages, self.tap.intake, self.disk, clock, trends_budget)
        self.is_off = False
        """Whether a reload has turned it off: nothing is counted any more."""
        self._rates: deque[tuple[float, dict[str, tuple[int, int]]]] = deque(maxlen=RATE_LOOKS)
        self._tasks: list[asyncio.Task[None]] = []

    # --- life ---

    def start(self) -> None:
        """Begin to count. What an earlier run has kept comes when the disk has it."""
        self.disk.start()
        self.samples.start()
        self._load()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._each_minute()),
            loop.create_task(self._look_at_rates()),
            loop.create_task(Looking(self.tap, self.shapes).run()),
        ]

    def _load(self) -> None:
        self.disk.soon(
            partial(_load, now=self._clock()), lambda loaded: self._begin(*loaded), _ignore
        )

    def _begin(self, loaded: Loaded, stored: Sequence[StoredIssue]) -> None:
        if self.trends.is_loaded:
            return  # it was asked for twice
        self.trends.begin(loaded)
        self.issues.begin(stored)

    def _begin_anew(self) -> None:
        self.trends.begin_anew()
        self.issues.begin_anew()

    async def close(self) -> None:
        """Keep what was counted since the last minute. It never takes long."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.samples.close()
        if self.is_off:
            return
        # What is being written comes first. Where the disk hangs, the next start makes up for it.
        with contextlib.suppress(TimeoutError, DiskUnavailable):
            async with asyncio.timeout(LAST_WORDS_S):
                await self.disk.ask(_ignore)
        now = self._clock()
        await self.trends.book(now)
        if self.trends.is_loaded:
            await self.issues.write(int(now) // MINUTE_S * MINUTE_S)
        await self.disk.close(LAST_WORDS_S)

    def follow(
        self,
        *,
        is_on: bool,
        sources: Collection[str],
        connections: Collection[str],
        tap_budget: int,
        trends_budget: int,
        masking: Masking,
    ) -> None:
        """A reload. Once it is off it stays off, and what was kept is gone."""
        if not is_on and not self.is_off:
            self.is_off = True
            for task in self._tasks:
                task.cancel()
            self.tap.follow(set(), 0)
            self.shapes.forget(set())
            self.issues.follow(set(), set())
            self.attempts.follow(())
            self.disk.remove()
            self.samples.follow(masking, is_on=False)
        elif is_on:
            self.tap.follow(set(sources), tap_budget)
            self.shapes.forget(set(sources))
            self.issues.follow(set(connections), set(sources))
            self.attempts.follow(connections)
            self.trends.budget_bytes = trends_budget
            self.samples.follow(masking)

    async def _each_minute(self) -> None:
        while True:
            now = self._clock()
            boundary = (now // MINUTE_S + 1) * MINUTE_S
            await asyncio.sleep(boundary - now)
            try:
                await self.keep(boundary - 1.0)
            except Exception:  # noqa: BLE001 - a bug here must not end what is counted
                _log.exception("insight_failed")

    async def keep(self, at: float) -> None:
        """What there is to do at the end of a minute, which `at` lies in."""
        if not self.trends.is_loaded:
            self._load()  # the disk may have come to itself
            return
        await self.trends.book(at)
        await self.issues.write(int(at) // MINUTE_S * MINUTE_S)
        self._tidy(has_more=True)

    def _tidy(self, has_more: bool) -> None:
        """Make old frames coarser, a slice at a time, then forget what there is no room for."""
        now = self._clock()
        if has_more:
            self.disk.soon(partial(history.merge_some, now=now), self._tidy, _ignore)
        else:
            forget = partial(history.forget, now=now, budget_bytes=self.trends.budget_bytes)
            self.disk.soon(forget, _ignore, _ignore)

    # --- intake ---

    def took(
        self, source: str, events: Sequence[NewEvent], accepted: Sequence[bool], repeats: int
    ) -> None:
        """Events of one request are on disk, `repeats` of them were there before."""
        if self.is_off:
            return
        self.tap.took(source, events, accepted, repeats, self._wall())

    def rejected(
        self, source: str, rejected: Sequence[RejectedEvent], items: Sequence[msgspec.Raw | bytes]
    ) -> None:
        """Events of a request that were not taken; `items` are all that the request held."""
        if self.is_off:
            return
        now = self._wall()
        last = [(one.code, one.message, items[one.index]) for one in rejected[-MOST_AT_ONCE:]]
        self.tap.rejected(source, last, len(rejected), now)
        told = Counter((one.code, one.message) for one in rejected[:_MOST_COUNTED])
        for (code, reason), n in told.items():
            self.issues.rejected(source, code, reason, n, now)

    def refused(
        self, source: str, code: str, reason: str, n: int, text: msgspec.Raw | bytes = b""
    ) -> None:
        """A request was not taken, of `n` events as far as that is known; `text` is one of them."""
        if self.is_off:
            return
        now = self._wall()
        self.tap.rejected(source, [(code, reason, text)], n, now)
        self.issues.rejected(source, code, reason, n, now)

    # --- delivery ---

    def retried(self, connection: str, n: int) -> None:
        """`n` deliveries wait for another attempt."""
        if self.is_off:
            return
        self.trends.retried(connection, n)

    def troubled(
        self,
        connection: str,
        kind: Kind,
        reason: str,
        n: int,
        one: MetBy | None = None,
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        """`n` deliveries met with this, `one` among them, of which a sample may be kept.

        `deliveries` are all of them.
        """
        if self.is_off:
            return
        now = self._wall()
        issue = self.issues.seen(connection, kind, reason, n, now)
        if one is None:
            return
        sample_at = None
        if self.samples.takes(issue.number):
            attempt = FailedAttempt(
                connection, kind, issue.cause, reason, one.attempt, one.worker, one.body
            )
            sample_at = self.samples.keep(issue.number, attempt, one.sampled)
        met = AttemptRecord(now, kind, 0, one.worker, issue.cause, reason, issue.number, sample_at)
        sampled = None if sample_at is None else one.body
        self.attempts.add(connection, met, deliveries, sampled)

    def tried(
        self,
        connection: str,
        outcome: Trial,
        reason: str,
        worker: str,
        deliveries: Sequence[Delivery],
        exit_id: str | None = None,
    ) -> None:
        """What was done with these since a worker died with them, whose exit is that one."""
        if self.is_off or not deliveries:
            return
        cause = cause_of(reason)
        met = AttemptRecord(self._wall(), outcome, 0, worker, cause, reason, exit_id=exit_id)
        self.attempts.add(connection, met, deliveries)

    @property
    def wants_samples(self) -> bool:
        """Whether workers are to tell what was sent in attempts that failed."""
        return self.samples.is_wanted

    # --- rates ---

    async def _look_at_rates(self) -> None:
        while True:
            self._rates.append(
                (
                    time.monotonic(),
                    {
                        name: (intake.received, intake.rejected)
                        for name, intake in self.tap.intake().items()
                    },
                )
            )
            await asyncio.sleep(RATE_EVERY_S)

    def rates(self, source: str) -> tuple[float, float]:
        """Events a second of a source of late: received, rejected."""
        if not self._rates:
            return 0.0, 0.0
        since, then = self._rates[0]
        elapsed = max(RATE_EVERY_S, time.monotonic() - since)
        received, rejected = then.get(source, (0, 0))
        intake: SourceCounts = self.tap.intake_of(source)
        return (
            max(0, intake.received - received) / elapsed,
            max(0, intake.rejected - rejected) / elapsed,
        )


#: Rejected events of one request whose reasons are told apart; they were all looked at already.
_MOST_COUNTED: Final = 1000


def _load(db: Database, now: float) -> tuple[Loaded, list[StoredIssue]]:
    return history.load(db, now), issues.load(db)


def _ignore(_: object) -> None:
    """Nothing follows from it: the disk tells of its own troubles."""
