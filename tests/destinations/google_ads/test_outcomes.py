"""What Google Ads' answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.google_ads.outcomes import needs_token, pinged, token, uploaded
from destinations.kit import Delivered, Failed, Response, Retry, Split, Unsupported
from destinations.kit.tokens import Token

TYPE = "type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure"
DONE = {"gclid": "Cj0", "conversionDateTime": "2026-01-02 03:04:05+00:00"}


def response(said: Any, status: int = 200, **headers: str) -> Response:  # Any: JSON
    return Response(status, headers, json.dumps(said).encode())


def error(
    code: str, index: object = None, kind: str = "conversionUploadError", **more: Any
) -> dict[str, Any]:  # Any: JSON
    said: dict[str, Any] = {"errorCode": {kind: code}, "message": "why", **more}
    if index is not None:
        path = [{"fieldName": "conversions", "index": index}, {"fieldName": "gclid"}]
        said["location"] = {"fieldPathElements": path}
    return said


def partial(*errors: Any, results: Any) -> Response:  # Any: JSON
    details = [{"@type": TYPE, "errors": list(errors)}]
    return response(
        {
            "partialFailureError": {"code": 3, "message": "several", "details": details},
            "results": results,
            "jobId": "7",
        }
    )


def refused(status: int, name: str, *errors: Any, **headers: str) -> Response:  # Any: JSON
    said: dict[str, Any] = {"code": status, "message": "sorry", "status": name}
    if errors:
        said["details"] = [{"@type": TYPE, "errors": list(errors), "requestId": "r"}]
    return response({"error": said}, status, **headers)


def test_all_done() -> None:
    """Where there is no partial failure, every conversion was taken."""
    assert uploaded(response({"results": [DONE, DONE], "jobId": "7"}), 2) == [Delivered()] * 2


@pytest.mark.parametrize("index", [1, "1"])
def test_by_index(index: object) -> None:
    """An error is its conversion's, by index, and the others were taken."""
    said = uploaded(partial(error("UNPARSEABLE_GCLID", index), results=[DONE, {}, DONE]), 3)
    failed = Failed("Google Ads refused it: UNPARSEABLE_GCLID why")
    assert said == [Delivered(), failed, Delivered()]


def test_first_index() -> None:
    """An index of zero may be left out of JSON, and is the first conversion's all the same."""
    first = error("EXPIRED_EVENT")
    first["location"] = {"fieldPathElements": [{"fieldName": "conversions"}]}
    said = uploaded(partial(first, results=[{}, DONE]), 2)
    assert said == [Failed("Google Ads refused it: EXPIRED_EVENT why"), Delivered()]


FAILED_CODES = [
    "CONVERSION_PRECEDES_EVENT",
    "CONVERSION_NOT_COMPLIANT_WITH_ATT_POLICY",
    "CONVERSION_TRACKING_NOT_ENABLED_AT_IMPRESSION_TIME",
    "CUSTOMER_DATA_POLICY_PROHIBITS_ENHANCED_CONVERSIONS",
    "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS",
    "CUSTOMER_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS",
    "CUSTOM_VARIABLE_NOT_ENABLED",
    "EVENT_NOT_FOUND",
    "EXPIRED_EVENT",
    "EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION_NOT_PERMITTED_WITH_USER_IDENTIFIER",
    "EXTERNAL_ATTRIBUTION_DATA_NOT_SET_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION",
    "GBRAID_WBRAID_BOTH_SET",
    "INVALID_CONVERSION_ACTION_TYPE",
    "INVALID_CUSTOMER_FOR_CLICK",
    "INVALID_USER_IDENTIFIER",
    "NO_CONVERSION_ACTION_FOUND",
    "ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID",
    "ORDER_ID_CONTAINS_PII",
    "ORDER_ID_NOT_PERMITTED_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION",
    "UNAUTHORIZED_CUSTOMER",
    "UNKNOWN",
    "UNPARSEABLE_GBRAID",
    "UNPARSEABLE_GCLID",
    "UNPARSEABLE_WBRAID",
    "UNSUPPORTED_USER_IDENTIFIER",
    "SOMETHING_NEW",
]


@pytest.mark.parametrize("code", FAILED_CODES)
def test_failed(code: str) -> None:
    """What is wrong with a conversion, its account or its action is final."""
    said = uploaded(partial(error(code, 0), results=[{}]), 1)
    assert said == [Failed(f"Google Ads refused it: {code} why")]


@pytest.mark.parametrize(
    ("kind", "code", "after_s"),
    [
        ("conversionUploadError", "TOO_RECENT_EVENT", 21600.0),
        ("conversionUploadError", "TOO_RECENT_CONVERSION_ACTION", 21600.0),
        ("conversionUploadError", "DUPLICATE_ORDER_ID", None),
        ("conversionUploadError", "DUPLICATE_CLICK_CONVERSION_IN_REQUEST", None),
        ("conversionUploadError", "DUPLICATE_CALL_CONVERSION_IN_REQUEST", None),
        ("conversionUploadError", "TOO_RECENT_CALL", 21600.0),
        ("conversionAdjustmentUploadError", "DUPLICATE_ADJUSTMENT_IN_REQUEST", None),
        ("conversionAdjustmentUploadError", "DUPLICATE_ENHANCEMENT_IN_REQUEST", None),
        ("conversionAdjustmentUploadError", "TOO_RECENT_CONVERSION_ACTION", 21600.0),
        ("conversionAdjustmentUploadError", "TOO_RECENT_CONVERSION", 86400.0),
        ("quotaError", "RESOURCE_EXHAUSTED", None),
        ("quotaError", "RESOURCE_TEMPORARILY_EXHAUSTED", None),
        ("internalError", "INTERNAL_ERROR", None),
        ("internalError", "TRANSIENT_ERROR", None),
        ("internalError", "DEADLINE_EXCEEDED", None),
        ("databaseError", "CONCURRENT_MODIFICATION", None),
    ],
)
def test_to_try_again(kind: str, code: str, after_s: float | None) -> None:
    """What passes by itself is tried again, after the time that the page names."""
    said = uploaded(partial(error(code, 0, kind), results=[{}, DONE]), 2)
    assert said == [Retry(f"Google Ads refused it: {code} why", after_s), Delivered()]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("conversionUploadError", "ORDER_ID_ALREADY_IN_USE"),
        ("conversionUploadError", "CLICK_CONVERSION_ALREADY_EXISTS"),
        ("conversionUploadError", "CALL_CONVERSION_ALREADY_EXISTS"),
        ("conversionAdjustmentUploadError", "CONVERSION_ALREADY_RETRACTED"),
        ("conversionAdjustmentUploadError", "CONVERSION_ALREADY_ENHANCED"),
        ("conversionAdjustmentUploadError", "RESTATEMENT_ALREADY_EXISTS"),
    ],
)
def test_known(kind: str, code: str) -> None:
    """What Google has already, as from a try whose answer was lost, is delivered."""
    assert uploaded(partial(error(code, 0, kind), results=[{}]), 1) == [Delivered()]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("conversionUploadError", "CLICK_NOT_FOUND"),
        ("conversionAdjustmentUploadError", "CONVERSION_NOT_FOUND"),
    ],
)
def test_not_by_an_ad(kind: str, code: str) -> None:
    """A user who has clicked no ad is no failure: there is nothing for Google Ads in it."""
    said = uploaded(partial(error(code, 0, kind), results=[{}]), 1)
    assert said == [Unsupported()]


def test_adjustments_by_index() -> None:
    """An error's path has its own name for a request's adjustments."""
    gone = error("CONVERSION_EXPIRED", kind="conversionAdjustmentUploadError")
    for name in ("conversion_adjustments", "conversionAdjustments"):
        gone["location"] = {"fieldPathElements": [{"fieldName": name, "index": 1}]}
        said = uploaded(partial(gone, results=[DONE, {}]), 2)
        assert said == [Delivered(), Failed("Google Ads refused it: CONVERSION_EXPIRED why")]


def test_several_errors() -> None:
    """Another try helps only where each of a conversion's errors may pass."""
    both = [error("TRANSIENT_ERROR", 0, "internalError"), error("EXPIRED_EVENT", 0)]
    assert uploaded(partial(*both, results=[{}]), 1) == [
        Failed("Google Ads refused it: TRANSIENT_ERROR why; EXPIRED_EVENT why")
    ]


def test_errors_without_an_index() -> None:
    """An error that names no conversion is that of those without a result."""
    said = uploaded(partial(error("SOMETHING"), results=[{}, DONE]), 2)
    assert said == [Failed("Google Ads refused it: SOMETHING why"), Delivered()]
    far = uploaded(partial(error("SOMETHING", 7), results=[{}]), 1)
    assert far == [Failed("Google Ads refused it: SOMETHING why")]


def test_neither_error_nor_result() -> None:
    """A conversion of which nothing is said is tried again: it is told if it was taken."""
    said = uploaded(partial(error("EXPIRED_EVENT", 0), results=[{}, {}]), 2)
    assert said == [
        Failed("Google Ads refused it: EXPIRED_EVENT why"),
        Retry("Google Ads did not say what became of the conversion"),
    ]


@pytest.mark.parametrize(("code", "is_retry"), [(3, False), (8, True), (14, True), (None, False)])
def test_partial_failure_without_details(code: object, is_retry: bool) -> None:
    """Without details the message and gRPC's code are all there is."""
    said = uploaded(
        response({"partialFailureError": {"code": code, "message": "m"}, "results": [{}, DONE]}), 2
    )
    reason = "Google Ads refused it: m"
    assert said == [Retry(reason) if is_retry else Failed(reason), Delivered()]


@pytest.mark.parametrize(
    "said", [[], "ok", {}, {"results": []}, {"results": [DONE]}, {"results": "all"}]
)
def test_answers_that_are_none(said: Any) -> None:
    """A 200 that does not say what became of each conversion is no delivery."""
    outcome = uploaded(response(said), 2)
    assert isinstance(outcome, Retry)
    assert "is not what the API documents" in outcome.reason


def test_page_and_cut_answers() -> None:
    """HTML, and an answer that is cut off, is tried again with the reason."""
    html = uploaded(Response(200, {}, b"<!DOCTYPE html><html>Login</html>"), 2)
    cut = uploaded(Response(200, {}, b'{"results":[', "cut off in the middle"), 2)
    assert isinstance(html, Retry)
    assert isinstance(cut, Retry)
    assert "HTML" in html.reason
    assert "cut off" in cut.reason


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (409, "ABORTED"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (500, "UNKNOWN"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_requests_to_try_again(status: int, name: str) -> None:
    """A request that the server could not do now is tried again."""
    outcome = uploaded(refused(status, name, **{"Retry-After": "9"}), 2)
    assert isinstance(outcome, Retry)
    assert "sorry" in outcome.reason
    if name != "ABORTED":
        assert outcome.after_s == 9.0


def test_quota_tells_its_delay() -> None:
    """A quota's error tells how long to wait, unless `Retry-After` does."""
    details = {"quotaErrorDetails": {"rateName": "r", "retryDelay": "30.5s"}}
    quota = error("RESOURCE_EXHAUSTED", None, "quotaError", details=details)
    said = refused(429, "RESOURCE_EXHAUSTED", quota)
    assert uploaded(said, 2) == Retry("Google Ads refused it: RESOURCE_EXHAUSTED why", 30.5)
    header = refused(429, "RESOURCE_EXHAUSTED", quota, **{"Retry-After": "60"})
    assert uploaded(header, 2) == Retry("Google Ads refused it: RESOURCE_EXHAUSTED why", 60.0)
    odd = {"quotaErrorDetails": {"retryDelay": "soon"}}
    soon = error("RESOURCE_EXHAUSTED", None, "quotaError", details=odd)
    assert uploaded(refused(429, "RESOURCE_EXHAUSTED", soon), 2) == Retry(
        "Google Ads refused it: RESOURCE_EXHAUSTED why"
    )


@pytest.mark.parametrize(
    ("status", "name", "kind", "code"),
    [
        (400, "INVALID_ARGUMENT", "requestError", "INVALID_CUSTOMER_ID"),
        (400, "INVALID_ARGUMENT", "headerError", "INVALID_LOGIN_CUSTOMER_ID"),
        (401, "UNAUTHENTICATED", "authenticationError", "OAUTH_TOKEN_EXPIRED"),
        (401, "UNAUTHENTICATED", "authenticationError", "NOT_ADS_USER"),
        (403, "PERMISSION_DENIED", "authorizationError", "USER_PERMISSION_DENIED"),
        (403, "PERMISSION_DENIED", "authorizationError", "DEVELOPER_TOKEN_NOT_APPROVED"),
        (403, "PERMISSION_DENIED", "authorizationError", "CUSTOMER_NOT_ENABLED"),
        (403, "PERMISSION_DENIED", "quotaError", "ACCESS_PROHIBITED"),
    ],
)
def test_requests_that_no_conversion_spoilt(status: int, name: str, kind: str, code: str) -> None:
    """What is wrong with every request fails all of its conversions."""
    said = uploaded(refused(status, name, error(code, None, kind)), 2)
    assert said == Failed(f"Google Ads refused it: {code} why")


@pytest.mark.parametrize("status", [404, 409, 501])
def test_statuses_that_failed(status: int) -> None:
    """A version or account that does not exist, and what is not implemented, has failed."""
    assert isinstance(uploaded(refused(status, "X"), 2), Failed)
    assert isinstance(uploaded(Response(status, {}, b"<html>Error"), 2), Failed)


def test_requests_that_a_conversion_may_have_spoilt() -> None:
    """What may be wrong with one conversion is found out one by one."""
    wrong = error("INVALID_VALUE", 0, "fieldError")
    said = uploaded(refused(400, "INVALID_ARGUMENT", wrong), 2)
    assert said == Split("Google Ads refused it: INVALID_VALUE why")
    # The JSON itself was wrong, as the value of a field's type:
    assert isinstance(uploaded(refused(400, "INVALID_ARGUMENT"), 2), Split)
    assert isinstance(uploaded(Response(413, {}, b"too large"), 2), Split)


def test_token_is_renewed() -> None:
    """401 asks for a new token, and nothing else does."""
    assert needs_token(refused(401, "UNAUTHENTICATED"))
    assert not needs_token(refused(403, "PERMISSION_DENIED"))
    assert not needs_token(response({"results": []}))


def test_token() -> None:
    """The token endpoint's answer gives the token and its lifetime."""
    said = {"access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer", "scope": "s"}
    assert token(response(said)) == Token("ya29.x", 3599.0)
    assert token(response({"access_token": "t"})) == Token("t")


@pytest.mark.parametrize(
    "said",
    [{}, [], "secret", {"access_token": ""}, {"access_token": 5}, {"access_token": "secret\r\nX:"}],
)
def test_no_token(said: Any) -> None:
    """An answer without a token that a header can hold is tried again, and never quoted."""
    outcome = token(response(said))
    assert isinstance(outcome, Retry)
    assert "secret" not in outcome.reason


def test_credentials_refused() -> None:
    """A refresh token that was revoked, or a wrong client, is final; an overload is not."""
    revoked = token(response({"error": "invalid_grant", "error_description": "revoked"}, 400))
    assert isinstance(revoked, Failed)
    assert "revoked" in revoked.reason
    assert isinstance(token(response({"error": "invalid_client"}, 401)), Failed)
    assert isinstance(token(Response(503)), Retry)
    assert isinstance(token(Response(429)), Retry)


def test_ping() -> None:
    """A ping is delivered by an image, or by the way to one at Google's."""
    assert pinged(Response(200, {"Content-Type": "image/gif"}, b"GIF89a")) == Delivered()
    for host in ("www.google.com", "googleads.g.doubleclick.net", "www.googleadservices.com"):
        assert pinged(Response(302, {"Location": f"https://{host}/x"})) == Delivered()


@pytest.mark.parametrize(
    "location", ["https://evilgoogle.com/", "/x", "", None, "http://[", "https://login.example/"]
)
def test_ping_elsewhere(location: str | None) -> None:
    """A redirect to anywhere else is none of Google's, and has failed."""
    headers = {} if location is None else {"Location": location}
    assert isinstance(pinged(Response(302, headers)), Failed)


def test_ping_refused() -> None:
    """A page, an overload and an unknown id are what they are everywhere."""
    assert isinstance(pinged(Response(200, {}, b"<html>Login")), Retry)
    assert isinstance(pinged(Response(503)), Retry)
    assert isinstance(pinged(Response(404)), Failed)


KEYS = st.sampled_from(
    [
        *("results", "partialFailureError", "details", "errors", "errorCode", "location", "code"),
        *("fieldPathElements", "fieldName", "index", "message", "error", "status", "quotaError"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("conversions"),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)
ERRORS = st.lists(
    st.dictionaries(KEYS, JSON, max_size=3)
    | st.builds(error, st.text(max_size=4), JSON, st.just("quotaError"), details=JSON),
    max_size=3,
)
ANSWERS = st.builds(
    lambda errors, results, odd: {
        "partialFailureError": {"details": [{"errors": errors}], **odd},
        "results": results,
    },
    ERRORS,
    st.lists(JSON, max_size=3),
    st.dictionaries(KEYS, JSON, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(JSON | ANSWERS, st.sampled_from([200, 302, 400, 401, 413, 429, 503]))
def test_no_answer_is_too_odd(said: Any, status: int) -> None:
    """Whatever is answered, it has outcomes, as many as conversions, and nothing is raised."""
    answer = response(said, status)
    outcomes = uploaded(answer, 2)
    assert not isinstance(outcomes, list) or len(outcomes) == 2
    assert pinged(answer) is not None
    assert token(answer) is not None
