"""What holds for every built-in destination and every answer: statuses, bodies, nonsense.

Each destination's own documented answers are in its `test_outcomes.py`; here is
what all of them share, and what each of them makes of answers that no vendor
documents. Destinations are found from their folder.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destinations.kit import Cause, Delivered, Failed, Outcome, Request, Response, Retry
from destinations.kit.loading import load
from tests.harness.destinations import NAMES, answered_by, delivered, destination, vendor
from tests.harness.usual import NOW, usual
from tests.harness.vendors import is_token_request

RETRIED = (408, 423, 425, 429, 500, 502, 503, 504, 507, 599)
FINAL = (
    300, 301, 302, 304, 307, 308,
    400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422,
    424, 426, 428, 431, 451, 499, 501, 505,
)  # fmt: skip


def event_types(name: str) -> list[str]:
    """The types that the suite's settings have a use for."""
    return sorted(load(name, None).types - vendor(name).unused)


CASES = [(name, event_type) for name in NAMES for event_type in event_types(name)]


async def said(name: str, event_type: str, response: Response) -> Outcome:
    """What becomes of a usual event where the vendor says the same to everything."""

    def answer(request: Request) -> Response:
        return vendor(name).answer(request) if is_token_request(request) else response

    with time_machine.travel(NOW, tick=False):
        (outcome,) = await delivered(name, [usual(event_type)], answer)
    return outcome


@pytest.mark.parametrize("body", [b"", b"<html>gateway</html>", b'{"message":"no"}', b"\xff\x00"])
@pytest.mark.parametrize(("name", "event_type"), CASES)
async def test_statuses(name: str, event_type: str, body: bytes) -> None:
    """By status alone: what passes is tried again, `Retry-After` obeyed, the rest has failed."""
    for status in RETRIED:
        outcome = await said(name, event_type, Response(status, {"Retry-After": "17"}, body))
        assert isinstance(outcome, Retry), (status, outcome)
        assert outcome.after_s == 17.0, status
        assert str(status) in outcome.reason
    for status in FINAL:
        outcome = await said(name, event_type, Response(status, {}, body))
        assert isinstance(outcome, Failed), (status, outcome)
        assert outcome.reason


@pytest.mark.parametrize(("name", "event_type"), CASES)
async def test_throttling_is_told(name: str, event_type: str) -> None:
    """A 429 says that it is too much, so that fewer requests are made at once."""
    outcome = await said(name, event_type, Response(429))
    assert isinstance(outcome, Retry)
    assert outcome.cause is Cause.THROTTLED


#: Bodies that come with a 200 and are not what any vendor documents.
ODD_BODIES = {
    "an HTML page": Response(200, {}, b"<!DOCTYPE html><title>Sign in</title>"),
    "an HTML page without a doctype": Response(200, {}, b"\n <HTML><body>x"),
    "text": Response(200, {}, b"OK"),
    "nothing": Response(200),
    "half of JSON": Response(200, {}, b'{"id":"1","data":['),
    "cut off": Response(200, {}, b'{"id":"1"}', "cut off in the middle"),
    "too large": Response(200, {}, b"[" * 1000, "larger than 1048576 bytes"),
    "too slow": Response(200, {}, b"", "not finished within 10 s"),
    "a number": Response(200, {}, b"7"),
    "null": Response(200, {}, b"null"),
    "an empty list": Response(200, {}, b"[]"),
    "an empty object": Response(200, {}, b"{}"),
    "too deep": Response(200, {}, b"[" * 100_000),
    "no UTF-8": Response(200, {}, b'{"id":"\xff"}'),
}


@pytest.mark.parametrize("body", ODD_BODIES)
@pytest.mark.parametrize(("name", "event_type"), CASES)
async def test_successes_that_are_none(name: str, event_type: str, body: str) -> None:
    """A 200 that does not say what it should is tried again, unless the status alone decides."""
    outcome = await said(name, event_type, ODD_BODIES[body])
    if is_enough(name, event_type, body):
        assert outcome == Delivered()
    else:
        assert isinstance(outcome, Retry)
        flaw = ODD_BODIES[body].flaw
        assert flaw in outcome.reason
        assert "HTML" in outcome.reason or "HTML" not in body


def is_enough(name: str, event_type: str, body: str) -> bool:
    """Whether such a body does no harm, as the tables in `outcomes.py` say."""
    known = vendor(name)
    if event_type in known.any_body:
        return True
    return event_type in known.any_but_html and "HTML" not in body


#: Words of vendors' answers, so that odd answers take the paths of real ones.
KEYS = st.sampled_from([
    "errors", "error", "code", "message", "success", "result", "results", "records", "status",
    "reasons", "failed_records", "index", "num_records_imported", "data", "id", "attributes",
    "externalId", "external_id", "email", "type", "partialFailureError", "details", "errorCode",
    "location", "fieldPathElements", "fieldName", "conversions", "statusCode", "fields",
    "quotaErrorDetails", "retryDelay", "access_token", "instance_url",
])  # fmt: skip
WORDS = st.sampled_from([
    "", "606", "601", "1004", "skipped", "updated", "created", "conflict", "rate_limit", "OK",
    "rate_limit_exceeded", "QUOTA", "INVALID_SESSION_ID", "REQUEST_LIMIT_EXCEEDED", "1e9s", "30s",
    "A contact matching those details already exists with id=1", "u", "ann@example.com",
    "\ud800", "x" * 5000, "conversions", "ABORTED",
])  # fmt: skip
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from([606, 601, 2**70, 1e300, -0.0])
    | WORDS
)
ANSWERS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=14,
)
STATUSES = st.sampled_from([200, 200, 200, 202, 204, 400, 401, 403, 404, 409, 413, 422, 429, 500])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Retry-After": st.sampled_from(["", "5", "soon", "-1", "9" * 50]),
        "X-RateLimit-Reset": st.sampled_from(["", "5", "soon", "9" * 50]),
        "Date": st.sampled_from(["", "Fri, 17 Feb 2017 11:55:10 GMT", "today"]),
        "Location": st.sampled_from(["", "https://[::1", "https://google.com/", "/x"]),
    },
)


@pytest.mark.parametrize("name", NAMES)
def test_odd_answers(name: str) -> None:
    """No answer, however odd, makes the reading of it raise, tokens' answers included."""
    answers: list[Response] = []

    def answer(request: Request) -> Response:
        return answers.pop() if answers else vendor(name).answer(request)

    types = event_types(name)
    with (
        asyncio.Runner() as runner,
        answered_by(answer),
        time_machine.travel(NOW, tick=True),
    ):

        @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            st.sampled_from(types),
            st.lists(st.tuples(STATUSES, HEADERS, ANSWERS), min_size=1, max_size=5),
        )
        def check(event_type: str, script: list[tuple[int, dict[str, str], Any]]) -> None:
            answers[:] = [
                Response(status, headers, json.dumps(body).encode())
                for status, headers, body in script
            ]
            one = destination(name)
            for outcome in runner.run(one.deliver([usual(event_type)] * 2)):
                assert isinstance(outcome, Outcome)
                if isinstance(outcome, (Failed, Retry)):
                    assert outcome.reason
                    assert len(outcome.reason) < 1000
                    assert " raised " not in outcome.reason, outcome.reason
                if isinstance(outcome, Retry) and outcome.after_s is not None:
                    assert 0 <= outcome.after_s <= 24 * 3600

        check()
