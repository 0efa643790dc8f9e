"""Work on the store that no single delivery asks for, slice by slice.

Owns budgets: backlogs over their share, dead letters over theirs or past their
age, chunks that are mostly dead; and the orders of operators: replay, drop,
connections that have left the config. A slice is one transaction, after which
memory follows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import structlog

from supervisor.config import QueueConfig
from supervisor.queue import (
    FIRST_DEAD_LETTER,
    DeadLetter,
    DeadLetterCauses,
    DeadLetterFilter,
    DeadLettersSwept,
    OnEvicted,
    QueueUnavailable,
    Selection,
)
from supervisor.queue.sqlite import dead_letters, eviction
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.counters import DEAD_LETTER_BYTES
from supervisor.queue.sqlite.dead_letters import (
    DeadLettersMoved,
    DropJob,
    NothingJob,
    ReplayJob,
    TrimJob,
)
from supervisor.queue.sqlite.eviction import CompactJob, Evicted, EvictJob
from supervisor.queue.sqlite.exclusion import without_leases
from supervisor.queue.sqlite.memory import QueueMemory
from supervisor.queue.sqlite.promotion import Promotion
from supervisor.queue.sqlite.settlement import GONE
from supervisor.queue.sqlite.store import Store
from supervisor.runtime.clock import Clock

_log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Seconds that counting causes may take; what was not looked at by then is told.
CAUSES_S = 20.0
#: Seconds that one look at dead letters should take, since others wait for it; and between two.
LOOK_S, REST_S = 0.02, 0.004
#: Part of `max_pending` at which lent space is taken back, and at which that ends.
HIGH, LOW = 0.9, 0.8


class Maintenance:
    """`on_work` hears of connections that have something to lease again.

    `on_evicted` may be set before it begins, see `Queue.start`.
    """

    def __init__(
        self,
        memory: QueueMemory,
        store: Store,
        config: QueueConfig,
        clock: Clock,
        on_work: Callable[[ConnectionBacklog], None],
        promotion: Promotion,
    ) -> None:
        self._memory = memory
        self._store = store
        self._config = config
        self._clock = clock
        self._on_work = on_work
        self.on_evicted: OnEvicted | None = None
        self._promotion = promotion
        self._compacted_to = 0
        self._pace = _Pace()

    # --- backlogs ---

    async def dead_letter_all(self, backlog: ConnectionBacklog) -> int:
        """Everything pending of a connection that has left the config; how many.

        What is leased is decided by its lease. Raises QueueUnavailable.
        """
        ended = 0
        cursor: int | None = 0
        while cursor is not None and backlog.unleased:
            done = await self._evict(backlog, None, GONE, cursor, is_overflow=False)
            ended += done.n
            cursor = done.cursor
        return ended

    async def _enforce_backlogs(self) -> None:
        """Connections with a limit of their own are brought below it."""
        for backlog in list(self._memory.backlogs.values()):
            limit = None if backlog.spec is None else backlog.spec.max_backlog
            if limit is not None and backlog.pending_bytes > limit:
                reason = f"evicted: the backlog was over max_backlog ({limit} bytes)"
                await self._shrink(backlog, limit, reason)

    async def take_back(self) -> bool:
        """Make room by one slice: lent space first, then dead parts of chunks. Whether it did."""
        backlog, share = self._largest_borrower()
        if backlog is not None:
            return await self._shrink(backlog, share, "evicted: the queue was full", slices=1) > 0
        return await self._compact() > 0

    def _largest_borrower(self) -> tuple[ConnectionBacklog | None, int]:
        """The connection that is furthest over its share of the disk, and that share in bytes."""
        most, found, share = 0, None, 0
        backlogs = [
            backlog for backlog in self._memory.by_name.values() if backlog.spec is not None
        ]
        equal = self._config.max_pending // 2 // max(1, len(backlogs))
        for backlog in backlogs:
            limit = None if backlog.spec is None else backlog.spec.max_backlog
            allowed = equal if limit is None else limit
            over = backlog.pending_bytes - allowed
            if over > most and not backlog.is_locked and backlog.unleased:
                most, found, share = over, backlog, allowed
        return found, share

    async def _shrink(
        self, backlog: ConnectionBacklog, limit: int, reason: str, slices: int | None = None
    ) -> int:
        listed = backlog.window.listed
        cursor: int | None = listed[0].chunk.id - 1 if listed else backlog.window.cursor
        evicted = 0
        while cursor is not None and backlog.pending_bytes > limit and slices != 0:
            size = backlog.pending_bytes - limit
            done = await self._evict(backlog, size, reason, cursor, is_overflow=True)
            if not done.n and done.cursor == cursor:
                break
            evicted += done.n
            cursor = done.cursor
            slices = None if slices is None else slices - 1
        if evicted:
            _log.warning("backlog_evicted", connection=backlog.name, dead_letters=evicted)
        return evicted

    async def _evict(
        self,
        backlog: ConnectionBacklog,
        size_bytes: int | None,
        reason: str,
        cursor: int,
        *,
        is_overflow: bool,
    ) -> Evicted:
        def job() -> EvictJob:
            return EvictJob(
                backlog.id,
                backlog.source,
                size_bytes,
                reason,
                is_overflow,
                self._memory.leased_of(backlog),
                frozenset(backlog.leased_retries),
                self._clock(),
                self._store.reserve_row_ids(eviction.SLICE),
                self._config.history > 0,
                cursor,
            )

        def apply(done: Evicted) -> None:
            self._memory.count(done.deltas)
            for chunk in self._memory.evicted(backlog, done, self._clock()):
                self._store.journal.note_finished(chunk)
            self._promotion.soon(backlog)
            if is_overflow and done.n and self.on_evicted is not None:
                self.on_evicted(backlog.name, reason, done.n)

        async with without_leases(backlog, self._store, self._on_work):
            return await self._store.run_prepared(job, apply)

    async def _compact(self) -> int:
        """Go once around the log, as far as the first slice that freed something; how much."""
        for _ in range(2):
            while True:
                cursor = self._compacted_to
                done = await self._store.run(CompactJob(cursor), self._memory.compacted)
                self._compacted_to = done.cursor or 0
                if done.freed:
                    return done.freed
                if done.cursor is None:
                    break
            if cursor == 0:
                break  # that was all of it
        return 0

    # --- dead letters ---

    async def listed(
        self, where: DeadLetterFilter, limit: int, after: str | None
    ) -> list[DeadLetter]:
        """A page of them, newest first. Raises QueueUnavailable."""
        ids = self.ids_by_name()
        names = {backlog.id: backlog.name for backlog in self._memory.backlogs.values()}
        found: list[DeadLetter] = []
        before = dead_letters.before_of(after)
        while before is not None and len(found) < limit:
            read = partial(
                dead_letters.listed,
                where=where,
                ids=ids,
                names=names,
                limit=limit - len(found),
                before=before,
                looked_at=self._pace.looked_at,
            )
            page, before = await self._look(read)
            found += page
        return found

    async def replay(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        """Dead letters back to pending. Raises QueueUnavailable."""
        return await (self._match(where) if dry_run else self._all(where, self.replay_some))

    async def replay_some(
        self, where: DeadLetterFilter, *, after: str, upto: str, most: int
    ) -> DeadLettersSwept:
        """One transaction of it. Raises QueueUnavailable."""

        def job() -> ReplayJob:
            return ReplayJob(
                where,
                self.ids_by_name(),
                self._targets(),
                frozenset(
                    backlog.id
                    for backlog in self._memory.backlogs.values()
                    if backlog.order is not None
                ),
                int(after),
                int(upto),
                self._clock(),
                self._store.reserve_row_ids(most),
                most,
                self._pace.looked_at,
            )

        with self._pace.measured():
            return _swept(await self._store.run_prepared(job, self._replayed))

    def _targets(self) -> dict[int, int]:
        """The number that bears each number's name now, as far as the config has that name."""
        in_force = self._memory.by_name
        return {
            backlog.id: in_force[backlog.name].id
            for backlog in self._memory.backlogs.values()
            if in_force[backlog.name].spec is not None
        }

    async def drop(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        """Forget dead letters. Raises QueueUnavailable."""
        return await (self._match(where) if dry_run else self._all(where, self.drop_some))

    async def drop_some(
        self, where: DeadLetterFilter, *, after: str, upto: str, most: int
    ) -> DeadLettersSwept:
        """One transaction of it. Raises QueueUnavailable."""
        looked_at = self._pace.looked_at
        job = DropJob(where, self.ids_by_name(), int(after), int(upto), most, looked_at)
        with self._pace.measured():
            return _swept(
                await self._store.run(job, lambda moved: self._memory.count(moved.deltas))
            )

    def ids_by_name(self) -> dict[str, list[int]]:
        """Numbers of connections; a name has had several where its source was changed."""
        ids: dict[str, list[int]] = {}
        for backlog in self._memory.backlogs.values():
            ids.setdefault(backlog.name, []).append(backlog.id)
        return ids

    @property
    def newest_dead_letter(self) -> int:
        """What becomes a dead letter from here on was not meant, and has a later number."""
        return self._store.meta.row_id

    async def _look(self, read: Callable[[Any], T]) -> T:
        """One look, and a moment in which nobody reads: the log cannot be emptied while one does.

        Any: a connection of the store's.
        """
        with self._pace.measured():
            found = await self._store.read(read)
        await asyncio.sleep(REST_S)
        return found

    async def _match(self, where: DeadLetterFilter) -> Selection:
        await self._store.run(NothingJob(), _ignore)
        ids, upto, matched = self.ids_by_name(), self._store.meta.row_id, 0
        after: int | None = 0
        while after is not None:
            read = partial(
                dead_letters.counted,
                where=where,
                ids=ids,
                after=after,
                upto=upto,
                looked_at=self._pace.looked_at,
            )
            n, after = await self._look(read)
            matched += n
        return Selection(matched, 0)

    async def causes(self, where: DeadLetterFilter, limit: int) -> DeadLetterCauses:
        """How many there are of each cause, the newest first. Raises QueueUnavailable."""
        await self._store.run(NothingJob(), _ignore)
        loop = asyncio.get_running_loop()
        ids, until = self.ids_by_name(), loop.time() + CAUSES_S
        groups: dead_letters.CauseGroups = {}
        before: int | None = dead_letters.MAX_ID
        while before is not None and loop.time() < until:
            read = partial(
                dead_letters.grouped,
                where=where,
                ids=ids,
                before=before,
                looked_at=self._pace.looked_at,
            )
            found, before = await self._look(read)
            for group, counted in found.items():
                dead_letters.add_group(groups, group, counted)
        names = {backlog.id: backlog.name for backlog in self._memory.backlogs.values()}
        return dead_letters.causes_of(groups, names, limit, is_whole=before is None)

    async def _all(
        self,
        where: DeadLetterFilter,
        some: Callable[..., Awaitable[DeadLettersSwept]],
    ) -> Selection:
        matched = done = 0
        upto = str(self.newest_dead_letter)
        after: str | None = FIRST_DEAD_LETTER
        while after is not None:
            swept = await some(where, after=after, upto=upto, most=dead_letters.SLICE)
            matched += swept.matched
            done += swept.done
            after = swept.after
        return Selection(matched, done)

    def _replayed(self, moved: DeadLettersMoved) -> None:
        self._memory.count_replayed(moved.deltas)
        self._memory.usage.retry_came(moved.retry_bytes)
        for number, entries in moved.retries.items():
            backlog = self._memory.backlogs[number]
            self._memory.replay(backlog, entries)
            self._on_work(backlog)
        for number, user in moved.parked:
            backlog = self._memory.backlogs[number]
            backlog.replay_parked()
            if backlog.order is not None:
                backlog.order.park(user, self._clock())
                self._promotion.soon(backlog)

    async def _enforce_dead_letters(self) -> None:
        budget = self._config.dead_letters
        while (excess := self._memory.totals[DEAD_LETTER_BYTES] - budget) > 0:
            # From the largest, down to the next one: one with less than a fair share loses nothing.
            backlogs = sorted(
                (
                    backlog
                    for backlog in self._memory.backlogs.values()
                    if backlog.dead_letter_bytes > 0
                ),
                key=lambda backlog: backlog.dead_letter_bytes,
                reverse=True,
            )
            lead = backlogs[0].dead_letter_bytes - (
                backlogs[1].dead_letter_bytes if len(backlogs) > 1 else 0
            )
            await self._trim(backlogs[0], min(excess, max(lead, excess // len(backlogs), 1)), 0.0)
        oldest_allowed = self._clock() - self._config.dead_letters_age_s
        while True:
            number = await self._store.read(
                partial(dead_letters.oldest_owner, older_than=oldest_allowed)
            )
            if number is None:
                return
            await self._trim(self._memory.backlogs[number], 0, oldest_allowed)

    async def _trim(self, backlog: ConnectionBacklog, excess: int, older_than: float) -> None:
        await self._store.run(
            TrimJob(backlog.id, excess, older_than),
            lambda moved: self._memory.count(moved.deltas),
        )

    # --- rounds ---

    @property
    def is_urgent(self) -> bool:
        """A budget of the whole queue is nearly used, or overdrawn."""
        return self._used > HIGH * self._config.max_pending or (
            self._memory.totals[DEAD_LETTER_BYTES] > self._config.dead_letters
        )

    @property
    def _used(self) -> int:
        return self._memory.usage.total

    async def round(self) -> None:
        """Everything that is due; what the disk refuses is tried again in the next round."""
        try:
            await self._enforce_backlogs()
            if self._used > HIGH * self._config.max_pending:
                while self._used > LOW * self._config.max_pending and await self.take_back():
                    pass
            await self._enforce_dead_letters()
            self._store.maintain_dedupe()
            self._promotion.again()
        except QueueUnavailable as error:
            _log.warning("queue_upkeep_failed", error=str(error))


class _Pace:
    """How many dead letters are looked at in one go, by how long the last looks took.

    Reasons that were met before cost next to nothing, and others a hundred times as much.
    """

    def __init__(self) -> None:
        self.looked_at = dead_letters.LOOKED_AT

    @contextmanager
    def measured(self) -> Iterator[None]:
        """A look as large as `looked_at` is what goes on inside."""
        began = time.monotonic()
        yield
        took_s = max(time.monotonic() - began, LOOK_S / 2)
        self.looked_at = min(
            max(int(self.looked_at * LOOK_S / took_s), dead_letters.LEAST_LOOKED_AT),
            dead_letters.MOST_LOOKED_AT,
        )


def _swept(moved: DeadLettersMoved) -> DeadLettersSwept:
    after = None if moved.last_id is None else str(moved.last_id)
    return DeadLettersSwept(moved.matched, moved.done, after)


def _ignore(_: object) -> None:
    """Memory has nothing to learn."""
