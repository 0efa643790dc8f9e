"""The row that shows dead letters by what they have in common.

Owns the shape of its answer. Must not count anything: the queue does, a little at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from aiohttp import web

from supervisor.admin import viewers
from supervisor.admin.answers import json_answer
from supervisor.admin.dead_letters import FILTERS, filter_of
from supervisor.admin.parameters import read_limit, read_parameters
from supervisor.admin.table import Right, Route, caller_of
from supervisor.errors import Busy
from supervisor.queue import Queue
from supervisor.runtime.rfc3339 import rfc3339

#: Causes in one answer, where the request does not say, and at most.
DEFAULT_CAUSES, MOST_CAUSES = 200, 1000


def rows(queue: Queue) -> tuple[Route, ...]:
    """The row, bound to the queue."""
    return (Route("GET", "/deadletters/causes", _CauseRow(queue).causes, Right.VIEW, is_work=True),)


@dataclass(slots=True)
class _CauseRow:
    queue: Queue
    is_counting: bool = False

    async def causes(self, request: web.Request) -> web.StreamResponse:
        """Dead letters by connection, outcome and cause, the most first."""
        given = read_parameters(list(request.query.items()), (*FILTERS, "limit"))
        limit = read_limit(given.get("limit"), default=DEFAULT_CAUSES, most=MOST_CAUSES)
        where = filter_of(given).where()
        is_viewer = caller_of(request).is_viewer
        if is_viewer:
            where = viewers.letters_filter(where)
        if self.is_counting:
            raise Busy("dead letters are being counted for another request; ask again")
        self.is_counting = True
        try:
            found = await self.queue.dead_letter_causes(
                where, limit=MOST_CAUSES if is_viewer else limit
            )
        finally:
            self.is_counting = False
        if is_viewer:
            found = viewers.letter_causes(found, limit)
        return json_answer(
            {
                "causes": [
                    {
                        **msgspec.to_builtins(each),
                        "first_at": rfc3339(each.first_at),
                        "last_at": rfc3339(each.last_at),
                    }
                    for each in found.causes
                ],
                "total": found.total,
                "more": found.more,
                "is_whole": found.is_whole,
            }
        )
