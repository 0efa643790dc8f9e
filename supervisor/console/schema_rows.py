"""Rows of the inferred schema: what the events of a source look like.

Owns how it is told: paths with their types and shapes, for every role the same; an event's own name
is shown as the caller may see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from supervisor.admin.answers import json_answer, name_of
from supervisor.admin.parameters import read_parameters
from supervisor.admin.table import Right, Route, caller_of
from supervisor.config import Config
from supervisor.errors import NotFound
from supervisor.insight.masking import Masking, Sight, public_name
from supervisor.insight.shapes import NameShape, PathShape, Shapes
from supervisor.runtime.rfc3339 import rfc3339

#: Paths that are told in one step of the event loop.
STEP_PATHS = 200

Json = dict[str, Any]  # Any: JSON


class SchemaWatched(Protocol):
    """Whose schemas they are."""

    @property
    def config(self) -> Config:
        """The config in force."""


def rows(
    watched: SchemaWatched, shapes: Shapes, masking: Callable[[], Masking]
) -> tuple[Route, ...]:
    """The row, bound to what it shows."""

    async def schema(request: web.Request) -> web.StreamResponse:
        read_parameters(list(request.query.items()), ())
        source = name_of(request, "source")
        if source not in watched.config.sources:
            raise NotFound(f"there is no source {source!r}")
        sight = masking().sight(is_operator=not caller_of(request).is_viewer)
        told = shapes.of(source)
        names: list[Json] = []
        paths = 0
        for name in told.names:
            names.append(name_json(name, sight))
            paths += len(name.paths)
            if paths >= STEP_PATHS:
                paths = 0
                await asyncio.sleep(0)
        return json_answer(
            {
                "source": source,
                "looked_at": told.looked_at,
                "names": names,
                "more_names": told.more_names,
                "violations": [],
            }
        )

    return (Route("GET", "/schema/{source}", schema, Right.VIEW),)


def name_json(name: NameShape, sight: Sight) -> Json:
    """One event type and name."""
    is_open = sight in (Sight.MASKED, Sight.FULL)
    return {
        "type": name.type,
        "name": name.name if is_open else public_name(name.name),
        "seen": name.seen,
        "first_seen": rfc3339(name.first_seen),
        "last_seen": rfc3339(name.last_seen),
        "paths": [path_json(path) for path in name.paths],
        "more_paths": name.more_paths,
    }


def path_json(path: PathShape) -> Json:
    """One path."""
    return {
        "path": path.path,
        "present": round(path.present, 4),
        "types": {kind: round(share, 4) for kind, share in path.types.items()},
        "distinct": path.distinct,
        "examples": path.examples,
        "first_seen": rfc3339(path.first_seen),
        "last_seen": rfc3339(path.last_seen),
    }
