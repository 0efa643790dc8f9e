"""What suites of destinations share: events, answers, and a conversation carried on by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from destinations.kit import Event, Outcome, Request, Response, Steps


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
