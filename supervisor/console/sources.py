"""Sources: pages of them with what each sends of late, and one of them with who gets its events.

Owns the parameters and the shape of the answers. No write key is in one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from supervisor.admin.answers import json_answer, name_of
from supervisor.admin.parameters import BadRequest, read_limit, read_parameters
from supervisor.admin.table import Right, Route
from supervisor.config import Config
from supervisor.console.attention import SourceRate
from supervisor.console.paged import SortKey, page_of, read_after
from supervisor.console.status_watch import Rates, StatusLook, StatusWatch, busiest
from supervisor.errors import NotFound

Json = dict[str, Any]  # Any: JSON

#: Most sources of one page, and how many where the request does not say.
MOST_SOURCES, DEFAULT_SOURCES = 500, 100
#: Names that are listed of one source, or where there is none of that name.
_MOST_NAMES = 1000

_KEYS: dict[str, Callable[[SourceRate], SortKey]] = {
    "busiest": busiest,
    "name": lambda source: (0.0, 0.0, source.name),
}


class Sources:
    """Those of one service. `rates` are what each sends now."""

    def __init__(self, config: Callable[[], Config], watch: StatusWatch, rates: Rates) -> None:
        self._config = config
        self._watch = watch
        self._rates = rates

    def rows(self) -> tuple[Route, ...]:
        """Those of this part."""
        return (
            Route("GET", "/sources", self.sources, Right.VIEW),
            Route("GET", "/sources/{name}", self.source, Right.VIEW),
        )

    async def sources(self, request: web.Request) -> web.StreamResponse:
        """A page of sources whose names have `where` in them."""
        asked = read_parameters(list(request.query.items()), ("where", "sort", "limit", "after"))
        sort, where, after = asked.get("sort", "busiest"), asked.get("where", ""), None
        if sort not in _KEYS:
            raise BadRequest(f"sort: {sort[:100]!r} is none of {', '.join(_KEYS)}")
        if "after" in asked:
            after = read_after(asked["after"])
        look, text = await self._watch.last(), where.strip().lower()
        page = await page_of(
            look.sources,
            matches=lambda source: text in source.name.lower(),
            key_of=_KEYS[sort],
            limit=read_limit(asked.get("limit"), default=DEFAULT_SOURCES, most=MOST_SOURCES),
            after=after,
        )
        return json_answer(
            {
                "sources": [glance(source, look) for source in page.rows],
                "total": page.total,
                "matched": page.matched,
                "next": page.next,
            }
        )

    async def source(self, request: web.Request) -> web.StreamResponse:
        """One source, and who gets its events."""
        read_parameters(list(request.query.items()), ())
        name = name_of(request, "name")
        config = self._config()
        source = config.sources.get(name)
        if source is None:
            known = ", ".join(list(config.sources)[:_MOST_NAMES])
            raise NotFound(f"there is no source {name!r}; there are {known}")
        names = [one.name for one in config.connections.values() if one.source == name]
        received, rejected = self._rates(name)
        return json_answer(
            {
                "name": name,
                "connections": names[:_MOST_NAMES],
                "more_connections": max(0, len(names) - _MOST_NAMES),
                "config": {"write_keys": len(source.write_keys)},
                "received_per_s": round(received, 2),
                "rejected_per_s": round(rejected, 2),
            }
        )


def glance(source: SourceRate, look: StatusLook) -> Json:
    """One source in a list."""
    return {
        "name": source.name,
        "received_per_s": round(source.received_per_s, 2),
        "rejected_per_s": round(source.rejected_per_s, 2),
        "rejected_share": round(source.rejected_share, 4),
        "connections": look.of_source.get(source.name, 0),
    }
