"""What was done by hand, and by whom: the last of it, kept over restarts.

Owns the ring and its row. What a line says comes from the handler that did it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog
from aiohttp import web

from supervisor.admin.answers import json_answer
from supervisor.admin.parameters import BadRequest, read_limit, read_parameters
from supervisor.admin.table import Caller, Deed, Right, Route
from supervisor.runtime.rfc3339 import rfc3339

_log = structlog.get_logger(__name__)

#: The number of a run's first line: those of earlier runs, which come later, are below it.
FIRST = 1_000_000
#: Lines that are kept.
MOST_LINES = 500
#: Most characters of any text in a line.
MOST_CHARS = 300


class DoneLine(msgspec.Struct, frozen=True):
    """One thing that was done. `at` is epoch seconds; `number` grows by one from line to line, and
    holds for as long as the service runs."""

    number: int
    at: float
    by: str
    role: str
    action: str
    on: str
    how_many: int | None
    note: str | None


class DoneLineStore(Protocol):
    """Where lines outlive the service; `insight.done_lines.DoneLines` is one."""

    def load(self, loaded: Callable[[list[bytes]], None]) -> None:
        """`loaded` is given what earlier runs kept, oldest first, some time later."""

    def keep(self, line: bytes) -> None:
        """One line more, soon."""


class ActivityLog:
    """Of one service. `now` gives epoch seconds; without a store lines end with the service."""

    def __init__(self, now: Callable[[], float], store: DoneLineStore | None = None) -> None:
        self._now = now
        self._store = store
        self._lines: deque[DoneLine] = deque(maxlen=MOST_LINES)
        self._numbers = itertools.count(FIRST)
        if store is not None:
            store.load(self._loaded)

    def _loaded(self, kept: list[bytes]) -> None:
        before: list[DoneLine] = []
        for line in kept:
            try:
                before.append(msgspec.msgpack.decode(line, type=DoneLine))
            except msgspec.MsgspecError as error:
                _log.warning("line_not_read", of="activity", reason=str(error))
        numbers = range(FIRST - len(before), FIRST)
        older = [
            msgspec.structs.replace(line, number=n) for n, line in zip(numbers, before, strict=True)
        ]
        self._lines = deque([*older, *self._lines], maxlen=MOST_LINES)

    def heard(self, caller: Caller, deed: Deed) -> None:
        """Something was done."""
        line = DoneLine(
            next(self._numbers),
            self._now(),
            caller.name[:MOST_CHARS],
            caller.role.value,
            deed.action[:MOST_CHARS],
            deed.on[:MOST_CHARS],
            deed.how_many,
            None if deed.note is None else deed.note[:MOST_CHARS],
        )
        self._lines.append(line)
        if self._store is not None:
            self._store.keep(msgspec.msgpack.encode(line))

    def rows(self) -> tuple[Route, ...]:
        """What was done."""
        return (Route("GET", "/activity", self.page, Right.VIEW),)

    async def page(self, request: web.Request) -> web.StreamResponse:
        """A page of lines, newest first; `after` is the `next` of the page before."""
        given = read_parameters(list(request.query.items()), ("limit", "after"))
        limit = read_limit(given.get("limit"), most=MOST_LINES)
        before = given.get("after")
        if before is not None and not (before.isascii() and before.isdigit() and len(before) < 19):
            raise BadRequest(f"after: {before[:100]!r} is no `next` of another page")
        older = [
            line for line in reversed(self._lines) if before is None or line.number < int(before)
        ]
        shown = older[:limit]
        return json_answer(
            {
                "activity": [_shown(line) for line in shown],
                "next": str(shown[-1].number) if len(older) > limit else None,
            }
        )


def _shown(line: DoneLine) -> dict[str, object]:
    return {
        "at": rfc3339(line.at),
        "by": line.by,
        "role": line.role,
        "action": line.action,
        "on": line.on,
        "how_many": line.how_many,
        "note": line.note,
    }
