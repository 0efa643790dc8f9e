"""The live looks of this room, by their names in `GET /live?look=`.

Owns which row each look is the same as, and how much of a tap comes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supervisor.console.data_rows import Watched, tap_page
from supervisor.console.jobs import Jobs, job_json
from supervisor.console.live import MOST_LOOK_BYTES, LookMaker, TapMaker
from supervisor.console.overview import Overview
from supervisor.console.pools import Pools
from supervisor.console.queues import Queues
from supervisor.diagnostics.exits import ExitFilter
from supervisor.errors import NotFound
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.insight.tap import MOST_ROWS, Ring

#: Bytes of a tap's rows that come at once, about: the newest.
MOST_TAP_BYTES = MOST_LOOK_BYTES * 3 // 4
#: What a row is reckoned at beside its body.
_ROW_BYTES = 1024


def taps_of(
    watched: Watched, insight: Insight, masking: Callable[[], Masking]
) -> dict[str, TapMaker]:
    """`tap:SOURCE` and `tap-rejected:SOURCE`."""

    def of(ring: Ring) -> TapMaker:
        async def page(source: str, after: int | None, is_viewer: bool) -> dict[str, Any]:
            if source not in watched.config.sources:
                raise NotFound(f"there is no source {source!r}")
            found = await tap_page(
                insight,
                masking(),
                source,
                ring,
                after=after,
                limit=MOST_ROWS,
                is_operator=not is_viewer,
            )
            return fitting(found)

        return TapMaker(page)

    return {"tap": of("taken"), "tap-rejected": of("rejected")}


def fitting(page: dict[str, Any]) -> dict[str, Any]:
    """A page of a tap with the newest of its rows, as many as may come at once."""
    left, first = MOST_TAP_BYTES, len(page["rows"])
    for row in reversed(page["rows"]):
        left -= _ROW_BYTES + len(row["body"] or "") * 2
        if left < 0:
            break
        first -= 1
    return {**page, "rows": page["rows"][first:], "lossy": True} if first else page


def looks_of(overview: Overview, queues: Queues, pools: Pools, jobs: Jobs) -> dict[str, LookMaker]:
    """`overview`, `queues`, `pool:NAME`, `exits` and `job:ID`."""

    async def of_all(name: str, where: str, is_viewer: bool) -> object:
        return await overview.look(is_viewer=is_viewer, waits=False)

    async def of_queues(name: str, where: str, is_viewer: bool) -> object:
        return await queues.look(where, is_viewer=is_viewer)

    async def of_pool(name: str, where: str, is_viewer: bool) -> object:
        return pools.look(name, is_viewer=is_viewer)

    async def of_exits(name: str, where: str, is_viewer: bool) -> object:
        return {"exits": pools.exits(ExitFilter(), is_viewer=is_viewer), "next": None}

    async def of_job(name: str, where: str, is_viewer: bool) -> object:
        return job_json(jobs.get(name), is_viewer=is_viewer)

    return {
        "job": LookMaker(of_job, is_named=True),
        "overview": LookMaker(of_all, is_named=False),
        "queues": LookMaker(of_queues, is_named=False),
        "pool": LookMaker(of_pool, is_named=True),
        "exits": LookMaker(of_exits, is_named=False),
    }
