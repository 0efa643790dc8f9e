"""Dead letters as the admin API speaks of them: parameters in, JSON values out.

Owns the reading of filters (from a query string and from a JSON body, with the
same rules) and the shape of dead letters in answers. Must not touch the queue or HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from supervisor.admin.parameters import (
    MAX_PAGE,
    BadRequest,
    check_length,
    read_limit,
    read_parameters,
    read_time,
)
from supervisor.core.public_causes import public_cause
from supervisor.queue import (
    DEAD,
    DeadLetter,
    DeadLetterFilter,
    Outcome,
)
from supervisor.runtime.rfc3339 import rfc3339

JsonObject = dict[str, Any]  # Any: JSON


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /deadletters/replay` and `/drop`. Times are RFC 3339."""

    connection: str | None = None
    outcome: str | None = None
    error: str | None = None
    cause: str | None = None
    since: str | None = None
    until: str | None = None
    ids: tuple[str, ...] | None = None
    dry_run: bool = False

    def in_words(self) -> str:
        """Which it selects, for a line of the log; not the text that it looks for, a stranger's."""
        named = {
            "connection": self.connection,
            "outcome": self.outcome,
            "error": None if self.error is None else "(a text)",
            "cause": None if self.cause is None else public_cause(self.cause),
            "since": self.since,
            "until": self.until,
            "ids": None if self.ids is None else len(self.ids),
        }
        return ", ".join(f"{key}={value}" for key, value in named.items() if value) or "all"

    def where(self) -> DeadLetterFilter:
        """The queue's own filter. Raises BadRequest."""
        if self.ids is not None and len(self.ids) > MAX_PAGE:
            raise BadRequest(f"ids: {len(self.ids)} are too many at once; send at most {MAX_PAGE}")
        for name in ("connection", "error", "cause"):
            check_length(name, getattr(self, name))
        return DeadLetterFilter(
            connection=self.connection,
            outcome=_outcome(self.outcome),
            error=self.error,
            cause=self.cause,
            since=read_time("since", self.since),
            until=read_time("until", self.until),
            ids=self.ids,
        )


class Page(msgspec.Struct, frozen=True):
    """What `GET /deadletters` was asked for."""

    where: DeadLetterFilter
    limit: int
    after: str | None


def read_filter(body: bytes) -> Filter:
    """The filter in a JSON body; `{}` means all. Raises BadRequest."""
    if not body.strip():
        raise BadRequest(
            "the body is empty: send a JSON object with connection, outcome, error, cause, since, "
            "until, ids or dry_run; {} means all dead letters"
        )
    try:
        return msgspec.json.decode(body, type=Filter)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is no filter: {error}") from error


def read_page(query: Sequence[tuple[str, str]]) -> Page:
    """The parameters of a listing. Raises BadRequest for unknown, repeated and wrong ones."""
    given = read_parameters(query, (*FILTERS, "limit", "after"))
    limit = read_limit(given.pop("limit", None))
    after = given.pop("after", None)
    return Page(filter_of(given).where(), limit, after)


def filter_of(given: Mapping[str, str]) -> Filter:
    """The filter that parameters named as in `FILTERS` say."""
    return msgspec.convert({name: given[name] for name in FILTERS if name in given}, Filter)


#: What a listing may be narrowed by.
FILTERS = ("connection", "outcome", "error", "cause", "since", "until")


def _outcome(text: str | None) -> Outcome | None:
    if text is None:
        return None
    if text not in DEAD:
        raise BadRequest(f"outcome: {text[:100]!r} is neither {' nor '.join(DEAD)}")
    return Outcome(text)


def letter_json(letter: DeadLetter) -> JsonObject:
    """A dead letter as listings show it, and with its event where it holds one."""
    shown: JsonObject = {
        "id": letter.id,
        "connection": letter.connection,
        "message_id": letter.message_id,
        "outcome": letter.outcome.value,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "first_at": _moment(letter.first_at),
        "last_at": rfc3339(letter.last_at),
        "exit": letter.exit,
    }
    if letter.event is not None:
        shown["event"] = msgspec.Raw(letter.event)
    return shown


def _moment(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
