"""The status of the whole service, looked at once for all who ask.

Owns how often that is: among ten thousand connections a look takes tenths of a second of the event
loop, in steps, so the more it costs the more seldom it is made. What is counted over all queues and
sources is counted here, once a look.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from supervisor.console.attention import (
    MOST_ITEMS,
    Need,
    SourceRate,
    of_queue,
    of_source,
    order,
)
from supervisor.console.paged import SortKey
from supervisor.telemetry.status import Status
from supervisor.telemetry.steps import in_steps

#: Least and most seconds between two looks, and the share of the time that they may take.
LEAST_PACE_S, MOST_PACE_S, SHARE = 1.0, 15.0, 0.03
#: Sources that are listed where all cannot be.
MOST_BUSIEST = 100

#: Events a second of a source of late: received, rejected.
Rates = Callable[[str], tuple[float, float]]


class StatusLook(msgspec.Struct, frozen=True):
    """One look, and what was counted over its queues. `number` grows from look to look.

    `items` are the worst of what needs somebody of connections and sources, and `more_items` how
    many more there are. `sources` are all of them, and `busiest` some.
    """

    number: int
    status: Status
    by_state: Mapping[str, int]
    depth: int
    inflight: int
    oldest_s: float | None
    of_source: Mapping[str, int]
    sources: Sequence[SourceRate]
    busiest: Sequence[SourceRate]
    items: Sequence[Need]
    more_items: int


def busiest(source: SourceRate) -> SortKey:
    """Orders sources: what rejects most first, then what sends most."""
    return -source.rejected_per_s, -source.received_per_s, source.name


class StatusWatch:
    """That of one service. `sources` are the names of those that are configured."""

    def __init__(
        self,
        look: Callable[[], Awaitable[Status]],
        sources: Callable[[], Iterable[str]],
        rates: Rates,
    ) -> None:
        self._look = look
        self._sources = sources
        self._rates = rates
        self._last: StatusLook | None = None
        self._looked_at = 0.0
        self._looking: asyncio.Task[StatusLook] | None = None
        self.pace_s = LEAST_PACE_S
        """Seconds for which a look holds."""

    async def last(self, *, waits: bool = True) -> StatusLook:
        """The last look, or a new one where that is too old; one for all who ask meanwhile.

        Not `waits`: the last one there is, while a new one is made.
        """
        if self._looking is None:
            if self._last is not None and time.monotonic() - self._looked_at < self.pace_s:
                return self._last
            self._looking = asyncio.create_task(self._made())
        if not waits and self._last is not None:
            return self._last
        # Whoever asked first may go away: the others go on waiting for it.
        return await asyncio.shield(self._looking)

    def forget(self) -> None:
        """Something was done by hand: whoever did it wants to see what came of it."""
        self._looked_at = float("-inf")

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _made(self) -> StatusLook:
        # Of this thread alone, what it did for others in between included: then all have less.
        began, self._looked_at = time.thread_time(), time.monotonic()
        try:
            status = await self._look()
            self._last = await self._counted(status)
        finally:
            self._looking = None
        cost_s = time.thread_time() - began
        self.pace_s = min(MOST_PACE_S, max(LEAST_PACE_S, cost_s / SHARE))
        return self._last

    async def _counted(self, status: Status) -> StatusLook:
        by_state, per_source = Counter[str](), Counter[str]()
        depth = inflight = 0
        oldest: float | None = None
        needs = _Worst()
        async for some in in_steps(status.queues):
            for queue in some:
                by_state[queue.state] += 1
                per_source[queue.source] += 1
                depth += queue.depth
                inflight += queue.inflight
                if queue.oldest_s is not None and (oldest is None or queue.oldest_s > oldest):
                    oldest = queue.oldest_s
                needs.add(of_queue(queue))
        sources, first = await self._counted_sources(needs)
        kept = needs.kept
        return StatusLook(
            1 if self._last is None else self._last.number + 1,
            status,
            dict(by_state),
            depth,
            inflight,
            oldest,
            dict(per_source),
            sources,
            first,
            kept,
            needs.count - len(kept),
        )

    async def _counted_sources(self, needs: _Worst) -> tuple[list[SourceRate], list[SourceRate]]:
        """All of them, and the busiest."""
        sources: list[SourceRate] = []
        first: list[SourceRate] = []
        async for some in in_steps(tuple(self._sources())):
            found = [SourceRate(name, *self._rates(name)) for name in some]
            sources += found
            first = heapq.nsmallest(MOST_BUSIEST, [*first, *found], key=busiest)
            for source in found:
                needs.add(of_source(source))
        return sources, first


class _Worst:
    """The worst of very many needs, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._found: list[Need] = []

    def add(self, need: Need | None) -> None:
        """One more; None is none."""
        if need is None:
            return
        self.count += 1
        self._found.append(need)
        if len(self._found) > 4 * MOST_ITEMS:
            self._found = self.kept

    @property
    def kept(self) -> list[Need]:
        """So many of them, worst first."""
        return heapq.nsmallest(MOST_ITEMS, self._found, key=order)
