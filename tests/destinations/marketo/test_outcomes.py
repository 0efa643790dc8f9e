"""What Marketo's answers mean, each code of its page on errors included."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.kit import Delivered, Failed, Response, Retry, Split
from destinations.kit.tokens import Token
from destinations.marketo.outcomes import Found, activities, leads, lookups, needs_token, token


def response(said: Any, status: int = 200) -> Response:  # Any: JSON
    return Response(status, {}, json.dumps(said).encode())


def refused(code: object, message: str = "why") -> Response:
    """A request that was not executed."""
    errors = [{"code": code, "message": message}]
    return response({"requestId": "e42b#14272d07d78", "success": False, "errors": errors})


def skipped(code: str, key: str = "reasons") -> Response:
    """A request of two records, of which the second was not done."""
    reasons = [{"code": code, "message": "why"}]
    result = [{"id": 50, "status": "created"}, {"status": "skipped", key: reasons}]
    return response({"requestId": "e42b#14272d07d78", "success": True, "result": result})


def test_all_done() -> None:
    """Records that were created, updated or added are delivered."""
    done = [{"id": 50, "status": "created"}, {"id": 51, "status": "updated"}]
    assert leads(response({"success": True, "result": done}), 2) == [Delivered()] * 2
    added = [{"id": 50, "marketoGUID": "50", "status": "added"}]
    assert activities(response({"success": True, "result": added}), 1) == [Delivered()]


def test_lookups_give_ids() -> None:
    """Of a person that was found or made, the id is known; else the next try may tell it."""
    result = [
        {"id": 50, "status": "updated"},
        {"status": "created"},
        {"id": True, "status": "created"},
    ]
    said = lookups(response({"success": True, "result": result}), 3)
    unknown = Retry("Marketo did not say the id of the person")
    assert said == [Found(50), unknown, unknown]


@pytest.mark.parametrize(
    ("code", "after_s"),
    [
        ("500", None),
        ("502", None),
        ("600", None),
        ("601", None),
        ("602", None),
        ("604", None),
        ("606", 20.0),
        ("607", 3600.0),
        ("608", None),
        ("611", None),
        ("614", None),
        ("615", 5.0),
        ("713", None),
        ("719", None),
        (606, 20.0),
    ],
)
def test_requests_to_try_again(code: object, after_s: float | None) -> None:
    """What passes by itself is tried again, after the window that the page names."""
    expected = Retry(f"Marketo refused it: {code} why", after_s)
    assert leads(refused(code), 2) == expected
    assert activities(refused(code), 2) == expected


@pytest.mark.parametrize("code", ["603", "605", "610", "612", "613", "616", "703"])
def test_requests_that_no_record_spoilt(code: str) -> None:
    """What is wrong with every request fails all of its events."""
    assert leads(refused(code), 2) == Failed(f"Marketo refused it: {code} why")


@pytest.mark.parametrize(
    "code",
    ["609", "701", "702", "704", "709", "710", "711", "712", "714", "718", "1001", "1003", "1006"],
)
def test_requests_that_a_record_may_have_spoilt(code: str) -> None:
    """What may be wrong with one record is found out one by one."""
    assert leads(refused(code), 2) == Split(f"Marketo refused it: {code} why")


FAILED_CODES = [
    *range(1001, 1023),
    *range(1025, 1030),
    *(1035, 1036, 1037, 1042, 1048, 1049, 1076, 1077, 1078, 1079),
]


@pytest.mark.parametrize("code", [str(code) for code in FAILED_CODES])
def test_skipped_records(code: str) -> None:
    """A record that was skipped has failed with its reason, and the others were done."""
    failed = Failed(f"Marketo refused it: {code} why")
    assert leads(skipped(code), 2) == [Delivered(), failed]
    if code != "1004":
        assert activities(skipped(code, "errors"), 2) == [Delivered(), failed]


def test_activity_of_a_person_who_has_gone() -> None:
    """An activity whose person was deleted meanwhile is tried again, with the person made anew."""
    retry = Retry("Marketo refused it: 1004 why")
    assert activities(skipped("1004", "errors"), 2) == [Delivered(), retry]


def test_record_to_try_again() -> None:
    """A record that was skipped for what passes by itself is tried again."""
    assert leads(skipped("713"), 2) == [Delivered(), Retry("Marketo refused it: 713 why")]


def test_skipped_without_a_reason() -> None:
    """A record that was skipped and says nothing has failed all the same."""
    said = leads(response({"success": True, "result": [{"status": "skipped"}]}), 1)
    assert said == [Failed("Marketo skipped it, and gave no reason")]


def test_several_reasons() -> None:
    """Another try helps only where each of several reasons may pass."""
    errors = [{"code": "606", "message": "a"}, {"code": "615", "message": "b"}]
    both = response({"success": False, "errors": errors})
    assert leads(both, 1) == Retry("Marketo refused it: 606 a; 615 b", 20.0)
    one = response({"success": False, "errors": [errors[0], {"code": "603", "message": "c"}]})
    assert isinstance(leads(one, 1), Split)


def test_success_with_errors() -> None:
    """`success` true with errors and no result is a refusal like any other."""
    errors = [{"code": "1006", "message": "why"}]
    said = leads(response({"success": True, "errors": errors}), 2)
    assert said == Split("Marketo refused it: 1006 why")


def test_success_with_errors_and_records() -> None:
    """Beside errors, a record that says that it was done was done; the errors hold for others."""
    errors = [{"code": "611", "message": "why"}]
    result = [{"id": 1, "status": "updated"}, {}, None]
    said = leads(response({"success": True, "errors": errors, "result": result}), 3)
    assert said == [Delivered(), *[Retry("Marketo refused it: 611 why")] * 2]


@pytest.mark.parametrize("code", ["601", "602", 601])
def test_token_is_renewed(code: object) -> None:
    """601 and 602 ask for a new token, whatever the type of the code."""
    assert needs_token(refused(code))


def test_token_is_kept() -> None:
    """No other answer asks for a new token."""
    assert not needs_token(refused("603"))
    assert not needs_token(skipped("1004"))
    assert not needs_token(Response(200, {}, b"<html>"))
    assert not needs_token(response([1]))


@pytest.mark.parametrize(
    "said",
    [
        [],
        "ok",
        {},
        {"success": True},
        {"success": True, "result": "all"},
        {"success": True, "result": []},
        {"success": False, "errors": "all"},
        {"success": "true", "result": [{"status": "created"}] * 2},
    ],
)
def test_answers_that_are_none(said: Any) -> None:
    """A 200 that does not say what became of each record is no delivery."""
    outcome = leads(response(said), 2)
    assert isinstance(outcome, Retry)
    assert "is not what the API documents" in outcome.reason


def test_page_and_cut_answers() -> None:
    """HTML, and an answer cut off or too large, is tried again with the reason."""
    html = leads(Response(200, {}, b"<!DOCTYPE html><html>Login</html>"), 2)
    assert isinstance(html, Retry)
    assert "HTML" in html.reason
    cut = leads(Response(200, {}, b'{"success":true', "cut off in the middle"), 2)
    assert isinstance(cut, Retry)
    assert "cut off" in cut.reason


@pytest.mark.parametrize("status", [408, 423, 425, 429, 500, 502, 503, 504])
def test_statuses_to_try_again(status: int) -> None:
    """A status that passes by itself is tried again."""
    assert isinstance(leads(Response(status), 2), Retry)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 414, 501, 505])
def test_statuses_that_failed(status: int) -> None:
    """A status that does not has failed."""
    assert isinstance(leads(Response(status), 2), Failed)


def test_too_large_is_split() -> None:
    """413 is found out one by one: the limit is on the request."""
    assert leads(Response(413, {}, b"too large"), 2) == Split("Marketo refused it: 413 too large")


def test_token() -> None:
    """The answer of the identity call gives the token and what is left of its hour."""
    said = {"access_token": "cdf01657:int", "token_type": "bearer", "expires_in": 3599}
    assert token(response(said)) == Token("cdf01657:int", 3599.0)
    assert token(response({"access_token": "t"})) == Token("t")


@pytest.mark.parametrize(
    "said",
    [
        {},
        [],
        "secret",
        {"token": "secret"},
        {"access_token": ""},
        {"access_token": 5},
        {"access_token": "secret\r\nX: y"},
    ],
)
def test_no_token(said: Any) -> None:
    """An answer without a token that a header can hold is tried again, and never quoted."""
    outcome = token(response(said))
    assert isinstance(outcome, Retry)
    assert "secret" not in outcome.reason


def test_credentials_refused() -> None:
    """401 for a wrong client id or secret is final; a server's error is not."""
    said = {"error": "unauthorized", "error_description": "Bad client credentials"}
    refused = token(response(said, 401))
    assert isinstance(refused, Failed)
    assert "Bad client credentials" in refused.reason
    assert isinstance(token(Response(502)), Retry)


KEYS = st.sampled_from(
    ["success", "result", "errors", "reasons", "status", "code", "message", "id", "access_token"]
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)
ANSWERS = st.builds(
    lambda odd, result: {"success": True, "result": result, **odd},
    st.dictionaries(KEYS, JSON, max_size=2),
    st.lists(JSON, min_size=2, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(JSON | ANSWERS, st.sampled_from([200, 400, 413, 503]))
def test_no_answer_is_too_odd(said: Any, status: int) -> None:
    """Whatever is answered, it has outcomes, as many as events, and nothing is raised."""
    answer = response(said, status)
    for read in (leads, lookups, activities):
        outcomes = read(answer, 2)
        assert not isinstance(outcomes, list) or len(outcomes) == 2
        assert outcomes is not None
    assert needs_token(answer) in (True, False)
    assert token(answer) is not None
