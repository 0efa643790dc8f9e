"""The overview: how the service is, and what needs somebody.

Owns the shape of the answer. What is counted by the hour and by the second is asked of others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from supervisor.admin import viewers
from supervisor.admin.answers import json_answer
from supervisor.admin.control import Control
from supervisor.admin.parameters import read_parameters
from supervisor.admin.table import Right, Route, caller_of
from supervisor.config import Config
from supervisor.console.attention import MOST_ITEMS, Need, items
from supervisor.console.sources import glance
from supervisor.console.status_watch import StatusWatch
from supervisor.diagnostics.exits import ExitFilter
from supervisor.runtime.rfc3339 import rfc3339
from supervisor.telemetry.status import PoolStatus, StoreStatus, WorkerState

#: What `hour` counts, beside its bounds.
HOUR_COUNTS = (
    *("received", "rejected", "delivered_first_try", "delivered_on_retry", "retries", "failed"),
    *("unsupported", "filtered", "quarantined"),
)
_HOUR_S = 3600.0

Json = dict[str, Any]  # Any: JSON
#: Since when, in epoch seconds, and what was counted since then.
LastHour = Callable[[], tuple[float, Mapping[str, int]]]


class Overview:
    """That of one service. `plan_differs`: whether the file on disk differs from what runs."""

    def __init__(
        self,
        control: Control,
        watch: StatusWatch,
        config: Callable[[], Config],
        *,
        last_hour: LastHour,
        plan_differs: Callable[[], bool],
    ) -> None:
        self._control = control
        self._watch = watch
        self._config = config
        self._last_hour = last_hour
        self._plan_differs = plan_differs

    def rows(self) -> tuple[Route, ...]:
        """The one row."""
        return (Route("GET", "/overview", self.overview, Right.VIEW),)

    async def overview(self, request: web.Request) -> web.StreamResponse:
        """All of it."""
        read_parameters(list(request.query.items()), ())
        return json_answer(await self.look(is_viewer=caller_of(request).is_viewer))

    async def look(self, *, is_viewer: bool, waits: bool = True) -> Json:
        """What the row answers; queues and sources are those of the last look at all of them."""
        look = await self._watch.last(waits=waits)
        status, config, now = look.status, self._config(), time.time()
        queue = self._control.queue
        pools, store = self._control.pools(), StoreStatus.of(queue.stats())
        since, counts = self._last_hour()
        attention = items(
            msgspec.structs.replace(status, store=store),
            pools,
            look.items,
            dedupe_window_s=config.queue.dedupe_window_s,
            plan_differs=self._plan_differs(),
        )
        return {
            "at": rfc3339(now),
            "state": status.state,
            "version": status.version,
            "uptime_s": status.uptime_s,
            "books": queue.books(),
            "hour": {
                "from": rfc3339(since),
                "to": rfc3339(now),
                **{name: counts.get(name, 0) for name in HOUR_COUNTS},
            },
            "attention": [_shown(item, is_viewer) for item in attention[:MOST_ITEMS]],
            "more_attention": max(0, len(attention) - MOST_ITEMS) + look.more_items,
            "queues": {
                "total": len(status.queues),
                "by_state": look.by_state,
                "depth": look.depth,
                "inflight": look.inflight,
                "oldest_s": look.oldest_s,
            },
            "pools": self._pools(pools, config, now, is_viewer=is_viewer),
            # The busiest; all of them are the row /sources.
            "sources": [glance(source, look) for source in look.busiest],
            "more_sources": max(0, len(look.sources) - len(look.busiest)),
            "store": store,
            "sandbox": status.sandbox,
            "plan_differs": self._plan_differs(),
        }

    def _pools(
        self, pools: Iterable[PoolStatus], config: Config, now: float, *, is_viewer: bool
    ) -> list[Json]:
        recent = self._control.exits.list(ExitFilter(since=now - _HOUR_S), limit=1000, after=None)
        exits = Counter(record.pool for record in recent)
        return [
            {
                "name": pool.name,
                "state": pool.state,
                "state_reason": viewers.cause(pool.state_reason)
                if is_viewer
                else pool.state_reason,
                "serving": sum(worker.state in _SERVING for worker in pool.workers),
                "wanted": config.pools[pool.name].workers if pool.name in config.pools else 0,
                "spares": len(pool.spares),
                "apart": len(pool.apart),
                "rss_bytes": (
                    sum(worker.rss_bytes for worker in pool.workers)
                    + sum(spare.rss_bytes for spare in pool.spares)
                    + sum(one.rss_bytes for one in pool.apart)
                ),
                "exits_hour": exits[pool.name],
            }
            for pool in pools
        ]


_SERVING = (WorkerState.IDLE, WorkerState.BUSY)


def _reason(reason: str, is_viewer: bool) -> str:
    return viewers.cause(reason) if is_viewer else reason


def _shown(item: Need, is_viewer: bool) -> Json:
    reason = _reason(item.reason, is_viewer)
    return {
        "kind": item.kind,
        "severity": item.severity,
        "subject": item.subject,
        "text": f"{item.text}: {reason}" if reason else item.text,
        "since": None,
        "link": item.link,
        # Whoever may only see gets no button either.
        "action": None if is_viewer else item.action,
    }
