"""What Salesforce's answers mean, record by record and for whole requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.kit import Delivered, Failed, Outcome, Response, Retry, Split
from destinations.salesforce.outcomes import needs_token, session, upserted

DONE = {"id": "00Q", "success": True, "errors": [], "created": True}


def response(
    said: Any,  # Any: JSON
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    return Response(status, headers or {}, json.dumps(said).encode())


def of_record(code: str, message: str = "why", fields: tuple[str, ...] = ()) -> Outcome:
    """The outcome of a record that was refused, beside one that was done."""
    error = {"statusCode": code, "message": message, "fields": list(fields)}
    refused = {"success": False, "errors": [error], "created": False}
    said = upserted(response([DONE, refused]), 2, "User_Id__c")
    assert isinstance(said, list)
    assert said[0] == Delivered()
    outcome: Outcome = said[1]
    return outcome


def of_request(status: int, code: str) -> object:
    """What a refusal of the whole request means."""
    return upserted(response([{"errorCode": code, "message": "why"}], status), 2, "User_Id__c")


def test_all_done() -> None:
    """Records that were created or updated are delivered."""
    said = upserted(response([DONE, {**DONE, "created": False}]), 2, "User_Id__c")
    assert said == [Delivered()] * 2


@pytest.mark.parametrize(
    ("code", "after_s"),
    [
        ("UNABLE_TO_LOCK_ROW", None),
        ("REQUEST_LIMIT_EXCEEDED", 60.0),
        ("API_CURRENTLY_DISABLED", 60.0),
        ("FUNCTIONALITY_TEMPORARILY_UNAVAILABLE", 60.0),
        ("SERVER_UNAVAILABLE", None),
        ("REQUEST_RUNNING_TOO_LONG", None),
        ("UNKNOWN_EXCEPTION", None),
        ("ALL_OR_NONE_OPERATION_ROLLED_BACK", None),
        ("PROCESSING_HALTED", None),
    ],
)
def test_records_to_try_again(code: str, after_s: float | None) -> None:
    """What passes by itself is tried again, and not at once where it takes a while."""
    assert of_record(code) == Retry(f"Salesforce refused it: {code} why", after_s)


@pytest.mark.parametrize(
    "code",
    [
        "DUPLICATE_VALUE",
        "DUPLICATES_DETECTED",
        "REQUIRED_FIELD_MISSING",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "INVALID_EMAIL_ADDRESS",
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        "STRING_TOO_LONG",
        "NUMBER_OUTSIDE_VALID_RANGE",
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
        "CANNOT_UPDATE_CONVERTED_LEAD",
        "DUPLICATE_EXTERNAL_ID",
        "ENTITY_IS_DELETED",
        "STORAGE_LIMIT_EXCEEDED",
        "NEW_IN_THE_NEXT_RELEASE",
    ],
)
def test_records_that_failed(code: str) -> None:
    """Everything else has failed, with the code, the message and the fields."""
    assert of_record(code, fields=("Email", "Phone")) == Failed(
        f"Salesforce refused it: {code} why (Email, Phone)"
    )


def test_race_for_a_new_record() -> None:
    """A duplicate of the id that is upserted by was made meanwhile: the next try updates it."""
    message = "duplicate value found: User_Id__c duplicates value on record with id: 00Q"
    assert isinstance(of_record("DUPLICATE_VALUE", message), Retry)
    other = "duplicate value found: Email__c duplicates value on record with id: 00Q"
    assert isinstance(of_record("DUPLICATE_VALUE", other), Failed)


def test_refused_without_a_reason() -> None:
    """A record that was refused and says nothing has failed all the same."""
    said = upserted(response([{"success": False, "errors": []}]), 1, "User_Id__c")
    assert said == [Failed("Salesforce refused it, and gave no reason")]


def test_odd_errors_of_a_record() -> None:
    """Errors that are no objects are quoted as they are."""
    said = upserted(response([{"success": False, "errors": ["x", 1]}]), 1, "User_Id__c")
    assert said == [Failed("Salesforce refused it: x; 1")]


def test_several_errors() -> None:
    """Another try helps only where each of several errors may pass."""
    lock, limit, missing = (
        {"statusCode": code, "message": "why"}
        for code in ("UNABLE_TO_LOCK_ROW", "REQUEST_LIMIT_EXCEEDED", "REQUIRED_FIELD_MISSING")
    )
    results = [{"success": False, "errors": both} for both in ([lock, limit], [lock, missing])]
    said = upserted(response(results), 2, "User_Id__c")
    assert isinstance(said, list)
    assert isinstance(said[0], Retry)
    assert said[0].after_s == 60.0
    assert isinstance(said[1], Failed)


def test_limit_of_the_org() -> None:
    """403 with REQUEST_LIMIT_EXCEEDED is throttling, though other 403s have failed."""
    said = of_request(403, "REQUEST_LIMIT_EXCEEDED")
    assert said == Retry("Salesforce refused it: 403 REQUEST_LIMIT_EXCEEDED why", 60.0)
    assert isinstance(of_request(403, "INSUFFICIENT_ACCESS"), Failed)


def test_retry_after_is_obeyed() -> None:
    """Where the answer says how long to wait, that holds."""
    errors = [{"errorCode": "SERVER_UNAVAILABLE", "message": "why"}]
    said = upserted(response(errors, 503, {"Retry-After": "7"}), 2, "User_Id__c")
    assert said == Retry("Salesforce refused it: 503 SERVER_UNAVAILABLE why", 7.0)


def test_session_expired() -> None:
    """401 asks for a new token; where that did not help, it is tried again later."""
    expired = response([{"errorCode": "INVALID_SESSION_ID", "message": "Session expired"}], 401)
    assert needs_token(expired)
    assert isinstance(upserted(expired, 2, "User_Id__c"), Retry)
    assert not needs_token(response([DONE]))


@pytest.mark.parametrize("code", ["JSON_PARSER_ERROR", "INVALID_FIELD", "MALFORMED_ID"])
def test_request_that_a_record_may_have_spoilt(code: str) -> None:
    """A 400 names no record: it is found out one by one."""
    assert of_request(400, code) == Split(f"Salesforce refused it: 400 {code} why")


@pytest.mark.parametrize("status", [404, 405, 409, 410, 412, 414, 415, 420, 428, 431])
def test_requests_that_failed(status: int) -> None:
    """What is wrong with every request fails all of its events."""
    assert of_request(status, "NOT_FOUND") == Failed(
        f"Salesforce refused it: {status} NOT_FOUND why"
    )


@pytest.mark.parametrize("status", [408, 423, 425, 429, 500, 502, 503, 504])
def test_statuses_to_try_again(status: int) -> None:
    """A status that passes by itself is tried again, whatever the code or the body says."""
    assert isinstance(of_request(status, "SOMETHING_ELSE"), Retry)
    page = Response(status, {}, b"<html>down for maintenance")
    assert isinstance(upserted(page, 2, "User_Id__c"), Retry)


def test_too_large_is_split() -> None:
    """413 is found out one by one, also where it is no JSON."""
    assert isinstance(upserted(Response(413, {}, b"<html>"), 2, "User_Id__c"), Split)
    assert isinstance(of_request(413, "EXCEEDED_MAX_SIZE_REQUEST"), Split)


@pytest.mark.parametrize(
    "said", [{}, "ok", [], [DONE], [DONE] * 3, [DONE, None], [DONE, {"success": "true"}]]
)
def test_answers_that_are_none(said: Any) -> None:
    """A 200 that does not say what became of each record is no delivery."""
    outcome = upserted(response(said), 2, "User_Id__c")
    assert isinstance(outcome, Retry)
    assert "is not what the API documents" in outcome.reason


def test_page_and_cut_answers() -> None:
    """HTML with a 200, and an answer cut off or too large, is tried again with the reason."""
    html = upserted(Response(200, {}, b"<html>Login</html>"), 2, "User_Id__c")
    assert isinstance(html, Retry)
    assert "HTML" in html.reason
    cut = upserted(Response(200, {}, b'[{"id"', "larger than 1048576 bytes"), 2, "User_Id__c")
    assert isinstance(cut, Retry)
    assert "larger than" in cut.reason


KEYS = st.sampled_from(
    ["success", "errors", "statusCode", "errorCode", "message", "fields", "access_token"]
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)
RESULTS = st.lists(
    st.builds(lambda odd: {"success": False, **odd}, st.dictionaries(KEYS, JSON, max_size=3)),
    min_size=2,
    max_size=2,
)


@settings(max_examples=60, deadline=None)
@given(JSON | RESULTS, st.sampled_from([200, 400, 401, 413, 503]))
def test_no_answer_is_too_odd(said: Any, status: int) -> None:
    """Whatever is answered, it has outcomes, as many as events, and nothing is raised."""
    answer = response(said, status)
    outcomes = upserted(answer, 2, "User_Id__c")
    assert not isinstance(outcomes, list) or len(outcomes) == 2
    assert outcomes is not None
    assert session(answer, "https://login.salesforce.com") is not None
