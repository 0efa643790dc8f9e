"""What suites of destinations share: events, answers, and a conversation carried on by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from destinations.kit import Event, Outcome, Request, Response, Steps


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """What suites that ask all destinations the same need to know of one.

    `settings` have a use for all its types, but for those that are `unused`;
    `answer` is what the vendor says to a request that is right. For events of
    the types in `any_body` the status of an answer alone decides, and for those
    in `any_but_html` a success may hold anything but an HTML page. With
    `is_verbatim` events are sent as they are stored. `journey_settings` are for
    the journey on the destination's page, where the suites' would show little;
    `sources` are the vendor's pages that document `answer`. Fields `as_sent` are
    those that the settings map from a sender's by its path alone, so that they
    have the sender's own form.
    """

    settings: Mapping[str, Any]  # Any: settings of any type
    answer: Callable[[Request], Response]
    unused: frozenset[str] = frozenset()
    any_body: frozenset[str] = frozenset()
    any_but_html: frozenset[str] = frozenset()
    is_verbatim: bool = False
    journey_settings: Mapping[str, Any] | None = None
    sources: tuple[str, ...] = ()
    as_sent: frozenset[str] = frozenset()


def event_of(**fields: Any) -> Event:  # Any: JSON
    """An event of these fields."""
    return Event(json.dumps(fields).encode())


def answer(status: int, said: Any = None, **headers: str) -> Response:  # Any: JSON
    """An answer with a JSON body, or none; `Retry_After` is the header `Retry-After`."""
    body = b"" if said is None else json.dumps(said).encode()
    return Response(status, {name.replace("_", "-"): v for name, v in headers.items()}, body)


def converse(steps: Steps | Outcome, answers: Iterable[Response]) -> tuple[list[Request], Outcome]:
    """Carries on a conversation with these answers: what was asked, and how it ended.

    Fails where it asks for more, or for less.
    """
    assert not isinstance(steps, Outcome), f"there is nothing to say: {steps}"
    left = list(answers)
    asked: list[Request] = []
    try:
        asked.append(next(steps))
        while left:
            asked.append(steps.send(left.pop(0)))
    except StopIteration as end:
        assert not left, f"{len(left)} answers more than were asked for"
        outcome: Outcome = end.value
        return asked, outcome
    raise AssertionError(f"one more was asked for: {asked[-1].method} {asked[-1].url}")


def call(request: Request) -> tuple[str, str]:
    """Method and path of a request, for comparisons; without scheme and host."""
    return request.method, "/" + request.url.split("/", 3)[3]


def is_token_request(request: Request) -> bool:
    """Whether a request asks for an access token, and carries no event."""
    return request.url.partition("?")[0].endswith("/token")
