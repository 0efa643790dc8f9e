"""Pools and their workers: whose batches are in which worker, and what has become of others.

Owns the shape of the answers; what a worker is at is asked of its pool.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from supervisor.admin import viewers
from supervisor.admin.answers import json_answer, name_of
from supervisor.admin.control import Control
from supervisor.admin.exits import exit_json
from supervisor.admin.parameters import read_parameters
from supervisor.admin.table import Right, Route, caller_of
from supervisor.diagnostics.exits import ExitFilter
from supervisor.errors import NotFound

Json = dict[str, Any]  # Any: JSON

#: Exits that a pool's page lists.
LAST_EXITS = 20


class Pools:
    """Those of one service."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def rows(self) -> tuple[Route, ...]:
        """Those of this part."""
        return (
            Route("GET", "/pools/{name}", self.pool, Right.VIEW),
            Route("GET", "/workers/{id}", self.worker, Right.VIEW),
        )

    async def pool(self, request: web.Request) -> web.StreamResponse:
        """One pool with all of its workers."""
        read_parameters(list(request.query.items()), ())
        name = name_of(request, "name")
        return json_answer(self.look(name, is_viewer=caller_of(request).is_viewer))

    def look(self, name: str, *, is_viewer: bool) -> Json:
        """What the row answers. Raises NotFound."""
        told: Json = msgspec.to_builtins(self._control.pool(name))
        told["blame"] = [{"connection": one["connection"], **one["blame"]} for one in told["blame"]]
        told["exits"] = self.exits(ExitFilter(pool=name), is_viewer=is_viewer)
        return viewers.pool_at_work(told) if is_viewer else told

    def exits(self, where: ExitFilter, *, is_viewer: bool) -> list[Json]:
        """The last of them."""
        found = self._control.exits.list(where, limit=LAST_EXITS, after=None)
        listed = [exit_json(record) for record in found]
        return [viewers.exit(one) for one in listed] if is_viewer else listed

    async def worker(self, request: web.Request) -> web.StreamResponse:
        """One worker, in a slot, spare or apart."""
        read_parameters(list(request.query.items()), ())
        worker_id = name_of(request, "id")
        is_viewer = caller_of(request).is_viewer
        for pool in self._control.pools():
            told = self.look(pool.name, is_viewer=is_viewer)
            for worker in (*told["workers"], *told["spares"], *told["apart"]):
                if worker["id"] == worker_id:
                    return json_answer({**worker, "pool": pool.name})
        raise NotFound(f"there is no worker {worker_id!r} now; see /debug/workers")
