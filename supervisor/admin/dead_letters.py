"""Dead letters and events as the admin API speaks of them: parameters in, JSON values out.

Owns the reading of filters (from a query string and from a JSON body, with the
same rules) and the shape of events, deliveries and dead letters in answers.
Must not touch the queue or HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from supervisor.queue import (
    DEAD,
    DeadLetter,
    DeadLetterFilter,
    DeliveryRecord,
    EventRecord,
    Outcome,
)
from supervisor.runtime.rfc3339 import parse_rfc3339, rfc3339

#: Most dead letters in one page.
MAX_PAGE = 1000
#: Dead letters in a page where the request does not say.
DEFAULT_PAGE = 100
#: Longest name, id or text to search for, in characters.
MAX_TEXT = 1000

JsonObject = dict[str, Any]  # Any: JSON


class BadRequest(Exception):
    """A parameter is wrong; the text names it and says what it should be."""


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /deadletters/replay` and `/drop`. Times are RFC 3339."""

    connection: str | None = None
    outcome: str | None = None
    error: str | None = None
    since: str | None = None
    until: str | None = None
    ids: tuple[str, ...] | None = None
    dry_run: bool = False

    def where(self) -> DeadLetterFilter:
        """The queue's own filter. Raises BadRequest."""
        if self.ids is not None and len(self.ids) > MAX_PAGE:
            raise BadRequest(f"ids: {len(self.ids)} are too many at once; send at most {MAX_PAGE}")
        for name in ("connection", "error"):
            _check_length(name, getattr(self, name))
        return DeadLetterFilter(
            connection=self.connection,
            outcome=_outcome(self.outcome),
            error=self.error,
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
            "the body is empty: send a JSON object with connection, outcome, error, since, until, "
            "ids or dry_run; {} means all dead letters"
        )
    try:
        return msgspec.json.decode(body, type=Filter)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is no filter: {error}") from error


def read_page(query: Sequence[tuple[str, str]]) -> Page:
    """The parameters of a listing. Raises BadRequest for unknown, repeated and wrong ones."""
    given = read_parameters(query, _PAGE_PARAMETERS)
    where = Filter(
        connection=given.get("connection"),
        outcome=given.get("outcome"),
        error=given.get("error"),
        since=given.get("since"),
        until=given.get("until"),
    ).where()
    return Page(where, read_limit(given.get("limit")), given.get("after"))


def read_parameters(query: Sequence[tuple[str, str]], known: Sequence[str]) -> dict[str, str]:
    """Parameters by name, without empty ones. Raises BadRequest for unknown and repeated ones."""
    given: dict[str, str] = {}
    for name, value in query:
        if name not in known:
            raise BadRequest(f"unknown parameter {name[:100]!r}; there are {', '.join(known)}")
        if name in given:
            raise BadRequest(f"{name}: given twice; give it once")
        _check_length(name, value)
        given[name] = value
    return {name: value for name, value in given.items() if value}


_PAGE_PARAMETERS = ("connection", "outcome", "error", "since", "until", "limit", "after")


def read_limit(text: str | None) -> int:
    """How many to list. Raises BadRequest."""
    if not text:
        return DEFAULT_PAGE
    # int() takes "1_0" and " 1"; a parameter is digits.
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_PAGE):
        raise BadRequest(f"limit: {text[:100]!r} is no whole number from 1 to {MAX_PAGE}")
    return int(text)


def _outcome(text: str | None) -> Outcome | None:
    if text is None:
        return None
    if text not in DEAD:
        raise BadRequest(f"outcome: {text[:100]!r} is neither {' nor '.join(DEAD)}")
    return Outcome(text)


def read_time(name: str, text: str | None) -> float | None:
    """RFC 3339 as epoch seconds. Raises BadRequest."""
    if text is None:
        return None
    try:
        # In a query string, the + of an offset that was not escaped arrives as a blank.
        return parse_rfc3339(text.replace(" ", "+") if "T" in text else text)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"{name}: {text[:100]!r} is no time such as 2026-01-31T13:00:00Z"
        ) from error


def _check_length(name: str, text: str | None) -> None:
    if text is not None and len(text) > MAX_TEXT:
        raise BadRequest(f"{name}: longer than {MAX_TEXT} characters")


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


def events_json(
    records: Sequence[EventRecord], waiting_for: Callable[[str, DeliveryRecord], str]
) -> JsonObject:
    """What became of an event: the newest record in front, those of other sources in `others`."""
    newest_first = sorted(records, key=lambda record: record.received_at, reverse=True)
    first, *others = [_event_json(record, waiting_for) for record in newest_first]
    return {**first, "others": others}


def _event_json(
    record: EventRecord, waiting_for: Callable[[str, DeliveryRecord], str]
) -> JsonObject:
    return {
        "message_id": record.message_id,
        "source": record.source,
        "received_at": rfc3339(record.received_at),
        "deliveries": [
            {
                "id": delivery.id,
                "connection": delivery.connection,
                "state": delivery.state,
                "outcome": None if delivery.outcome is None else delivery.outcome.value,
                "attempts": delivery.attempts,
                "last_error": delivery.last_error,
                "waiting_for": (
                    waiting_for(delivery.connection, delivery)
                    if delivery.state == "pending"
                    else None
                ),
                "next_attempt_at": _moment(delivery.next_attempt_at),
            }
            for delivery in record.deliveries
        ],
    }


def _moment(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
