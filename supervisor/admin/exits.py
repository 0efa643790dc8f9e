"""Worker exits as the admin API speaks of them: parameters in, JSON values out.

Must not touch HTTP or the store.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from supervisor.admin.dead_letters import JsonObject
from supervisor.admin.parameters import BadRequest, read_limit, read_parameters, read_time
from supervisor.core.effects import ExitReason
from supervisor.diagnostics.exits import ExitFilter, ExitRecord
from supervisor.runtime.rfc3339 import rfc3339

_PARAMETERS = ("pool", "worker", "connection", "reason", "since", "until", "limit", "after")


class ExitPage(msgspec.Struct, frozen=True):
    """What `GET /debug/exits` was asked for."""

    where: ExitFilter
    limit: int
    after: str | None


def read_exit_page(query: Sequence[tuple[str, str]]) -> ExitPage:
    """The parameters of a listing. Raises BadRequest for unknown, repeated and wrong ones."""
    given = read_parameters(query, _PARAMETERS)
    reason = given.get("reason")
    if reason is not None and reason not in list(ExitReason):
        raise BadRequest(f"reason: {reason[:100]!r} is none of {', '.join(ExitReason)}")
    where = ExitFilter(
        pool=given.get("pool"),
        worker=given.get("worker"),
        connection=given.get("connection"),
        reason=reason,
        since=read_time("since", given.get("since")),
        until=read_time("until", given.get("until")),
    )
    return ExitPage(where, read_limit(given.get("limit")), given.get("after"))


def exit_json(record: ExitRecord, stacks_text: str | None = None) -> JsonObject:
    """An exit as listings show it; with the text of its stacks where that is given."""
    shown: JsonObject = msgspec.to_builtins(record)
    shown["at"] = rfc3339(record.at)
    if stacks_text is not None:
        shown["stacks_text"] = stacks_text
    return shown
