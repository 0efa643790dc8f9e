"""Connections: pages of their queues, and one of each with what the config says of it.

Owns the shape of the answers, and that no secret and no write key is in one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from aiohttp import web

from supervisor.admin import viewers
from supervisor.admin.answers import json_answer, name_of
from supervisor.admin.control import Control
from supervisor.admin.parameters import read_parameters
from supervisor.admin.table import Right, Route, caller_of
from supervisor.catalog.probe import Declarations
from supervisor.config import Config
from supervisor.console.paged import page_of
from supervisor.console.queue_filter import QueueQuery, read_query
from supervisor.console.status_watch import StatusLook, StatusWatch
from supervisor.insight.names import is_secret
from supervisor.telemetry.status import QueueStatus

Json = dict[str, Any]  # Any: JSON

#: What stands where a value is nobody's business.
SECRET = "(secret)"  # noqa: S105  # no secret, but the place of one
#: Live pages that are kept: more than there are streams.
_MOST_KEPT = 32
#: Levels of settings that are shown.
_DEPTH = 32


class Configured(Protocol):
    """What the rows are of."""

    @property
    def config(self) -> Config:
        """What is in force."""

    @property
    def said(self) -> Declarations:
        """What destinations declared for it."""


class Queues:
    """Those of one service. `redact` replaces every secret that is known in a text."""

    def __init__(
        self,
        configured: Configured,
        control: Control,
        watch: StatusWatch,
        redact: Callable[[str], str],
    ) -> None:
        self._configured = configured
        self._redact = redact
        self._control = control
        self._watch = watch
        self._looks: dict[tuple[str, bool], tuple[StatusLook, Json]] = {}

    def rows(self) -> tuple[Route, ...]:
        """Those of this part."""
        return (
            Route("GET", "/queues", self.queues, Right.VIEW),
            Route("GET", "/connections/{name}", self.connection, Right.VIEW),
        )

    async def queues(self, request: web.Request) -> web.StreamResponse:
        """A page of queues."""
        asked = read_parameters(list(request.query.items()), ("where", "sort", "limit", "after"))
        query = read_query(*map(asked.get, ("where", "sort", "limit", "after")))
        return json_answer(await self.page(query, is_viewer=caller_of(request).is_viewer))

    async def look(self, where: str, *, is_viewer: bool) -> Json:
        """The worst of what `where` names; the same object until all were looked at again.

        Raises BadRequest.
        """
        query = read_query(where, None, None, None)
        look = await self._watch.last(waits=False)
        key = where, is_viewer
        before = self._looks.get(key)
        if before is not None and before[0] is look:
            return before[1]
        if len(self._looks) > _MOST_KEPT:
            self._looks.clear()
        made = await self._page(look, query, is_viewer=is_viewer)
        self._looks[key] = look, made
        return made

    async def page(self, query: QueueQuery, *, is_viewer: bool) -> Json:
        """A page of the queues as they were looked at last."""
        return await self._page(await self._watch.last(), query, is_viewer=is_viewer)

    async def _page(self, look: StatusLook, query: QueueQuery, *, is_viewer: bool) -> Json:
        page = await page_of(
            look.status.queues,
            matches=query.matches,
            key_of=query.key_of,
            limit=query.limit,
            after=query.after,
        )
        return {
            "queues": [seen(queue, is_viewer) for queue in page.rows],
            "total": page.total,
            "matched": page.matched,
            "next": page.next,
        }

    async def connection(self, request: web.Request) -> web.StreamResponse:
        """One connection, its queue as it is now, and how it is configured."""
        read_parameters(list(request.query.items()), ())
        name = name_of(request, "name")
        queue = self._control.queue_status(name)
        config = self._configured.config
        connection = config.connections[name]
        is_viewer = caller_of(request).is_viewer
        queue = seen(queue, is_viewer)
        hidden = {path for of, path in config.secret_settings if of == name}
        own = config.destinations.get(connection.destination)
        return json_answer(
            {
                "queue": queue,
                "settings": shown_settings(
                    connection.settings, hidden, self._redact, is_viewer=is_viewer
                ),
                "config": {
                    field.removesuffix("_s"): getattr(connection, field)
                    for field in connection.__struct_fields__
                    if field != "settings"
                },
                "destination": {
                    "name": connection.destination,
                    "class": "built in" if own is None else own.class_path,
                    "description": self._described(connection.destination),
                },
                "blame": queue.blame,
            }
        )

    def _described(self, destination: str) -> str:
        declared = self._configured.said.by_destination.get(destination)
        if declared is None:
            return ""
        types = ", ".join(sorted(declared.types))
        return f"takes {types}; up to {declared.batch_events} events in a batch"


def seen(queue: QueueStatus, is_viewer: bool) -> QueueStatus:
    """A queue as its caller may see it."""
    return viewers.queue(queue) if is_viewer else queue


def shown_settings(
    settings: Mapping[str, object],
    hidden: Collection[str],
    redact: Callable[[str], str],
    *,
    is_viewer: bool,
) -> object:
    """Settings without secrets, by where they came from, by name and by value; a viewer sees names.

    `hidden` are dotted paths; a text that `redact` changes holds a secret.
    """

    def shown(value: object, path: str, depth: int) -> object:
        if path in hidden:
            return SECRET
        match value:
            case Mapping() if depth:
                return {
                    str(key): SECRET
                    if is_secret(str(key))
                    else shown(inner, f"{path}.{key}" if path else str(key), depth - 1)
                    for key, inner in value.items()
                }
            case list() | tuple() if depth:
                return [
                    shown(inner, f"{path}[{index}]", depth - 1) for index, inner in enumerate(value)
                ]
            case _ if is_viewer:
                return viewers.HIDDEN
            case str():
                return value if redact(value) == value else SECRET
            case _:
                return value

    return shown(settings, "", _DEPTH)
