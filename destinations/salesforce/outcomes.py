"""From Salesforce's answers to outcomes. Pure.

A well-formed request is answered with 200 and a result a record, in order,
each with `success` and `errors`; any other answer is a list of errors.
https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-sobjects-collections-upsert.html
https://developer.salesforce.com/docs/platform/api-rest/guide/errorcodes.html

| answer | outcome |
| --- | --- |
| 200, record with `success` | delivered |
| 200, record with errors | retry where each code may pass, see `_RETRY_AFTER_S`; else failed |
| 200, record with REQUIRED_FIELD_MISSING | sent once more with `placeholders`, if they have all of them; else failed |
| 200, record with DUPLICATE_VALUE of the external id | retry: another request has just made it |
| 401 | token renewed, sent once more; then retry with INVALID_SESSION_ID, and held where all get it; else unauthorized |
| 403 with a code of `_OF_THE_ORG` | unauthorized |
| 403 REQUEST_LIMIT_EXCEEDED | retry after a minute |
| 400, 413 | in smaller parts, then failed |
| 404 and other 4xx | failed |
| 200 that says nothing of this, is cut short, or no JSON | retry |
| 5xx | retry |
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from yarl import URL

from destinations.kit import (
    Cause,
    Delivered,
    Failed,
    Outcome,
    Response,
    Retry,
    Split,
    Unauthorized,
)
from destinations.salesforce.mapping import Session

#: Codes that another try may change, with the seconds to wait where a moment would be too soon.
#: REST shares them with the SOAP API, whose page leaves the full list to the org's WSDL, where they
#: have no descriptions: which of them pass by themselves is read from their names and messages.
#: https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
_RETRY_AFTER_S: Mapping[str, float | None] = {
    # Over the org's limit of calls in 24 hours, a window that moves, or of long calls at once.
    "REQUEST_LIMIT_EXCEEDED": 60.0,
    "API_CURRENTLY_DISABLED": 60.0,  # a problem of the system
    "FUNCTIONALITY_TEMPORARILY_UNAVAILABLE": 60.0,
    "SERVER_UNAVAILABLE": None,  # too busy
    "REQUEST_RUNNING_TOO_LONG": None,
    "UNABLE_TO_LOCK_ROW": None,  # someone else is changing the record
    "UNKNOWN_EXCEPTION": None,  # an error within Salesforce
    "INVALID_SESSION_ID": None,  # expired, and again after the token was renewed
    # Nothing is wrong with this record: another one of the request took it along.
    "ALL_OR_NONE_OPERATION_ROLLED_BACK": None,
    "PROCESSING_HALTED": None,
}

#: Of them, those that fewer calls at once would help.
_TOO_MUCH = frozenset({"REQUEST_LIMIT_EXCEEDED", "SERVER_UNAVAILABLE"})

#: Codes by which the org refuses whoever asks: the app, its user or the org has to be let in again.
#: INSUFFICIENT_ACCESS is none: it may be about one object or record of many.
_OF_THE_ORG = frozenset(
    {
        "API_DISABLED_FOR_ORG",
        "INVALID_AUTH_HEADER",
        "INVALID_LOGIN",
        "INVALID_OPERATION_WITH_EXPIRED_PASSWORD",
        "LOGIN_DURING_RESTRICTED_DOMAIN",
        "LOGIN_DURING_RESTRICTED_TIME",
        "ORG_LOCKED",
        "PASSWORD_LOCKOUT",
        "USER_DISABLED",
    }
)

#: Statuses of a request that a single record may have spoilt.
_ABOUT_THE_BODY = frozenset({400, 413})

#: Seconds to wait where too many logins were tried; the documentation names no time.
_LOGIN_LIMIT_S = 60.0

#: What may stand in a header: a token with a line break would end it.
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")

_DELIVERED = Delivered()


class Incomplete(Failed, frozen=True):
    """The record is not there yet, and fields that a new one needs are missing."""

    fields: tuple[str, ...] = ()


def needs_token(response: Response) -> bool:
    """Whether the session has expired, or the token is not valid (any more)."""
    return response.status == 401


def session(response: Response, login_url: str) -> Session | Outcome:
    """The token in the answer of the login host, and the org's host that comes with it.

    A token has no documented lifetime: the org's session settings decide, and
    401 tells its end. It goes to a host of Salesforce's, or back to the one that
    gave it, and nowhere else. Nothing of a 200 is quoted: it may hold a token.
    https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_refresh_token_flow.htm
    """
    said = response.json()
    fields = said if isinstance(said, dict) else {}
    if not response.is_success:
        outcome = response.outcome()
        if isinstance(outcome, Failed) and fields.get("error") == "rate_limit_exceeded":
            return Retry(outcome.reason, _LOGIN_LIMIT_S)
        return outcome  # `invalid_grant` and the like: the app or user has to be allowed anew
    value, instance_url = fields.get("access_token"), fields.get("instance_url")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        return Retry("Salesforce's answer to the request for a token holds none")
    if not isinstance(instance_url, str) or not _is_instance(instance_url, login_url):
        return Failed("Salesforce's answer to the request for a token names no host of its own")
    refresh_token = fields.get("refresh_token")
    if not isinstance(refresh_token, str) or not refresh_token:
        refresh_token = None  # the one that was sent goes on
    return Session(value, None, instance_url.rstrip("/"), refresh_token)


def _is_instance(instance_url: str, login_url: str) -> bool:
    try:
        url, login = URL(instance_url), URL(login_url)
        if url.path != "/" or url.query_string or url.user is not None:
            return False
        return url.origin() == login.origin() or (
            url.scheme == "https" and (url.host or "").endswith(".salesforce.com")
        )
    except ValueError:
        return False  # no URL, or none with a host


def upserted(
    response: Response, count: int, id_field: str, fillable: Container[str] = ()
) -> Sequence[Outcome] | Outcome | Split:
    """What the upsert answers: an outcome a record.

    Incomplete where all that is missing are `fillable` fields.
    """
    said = response.json()
    if response.is_success:
        if isinstance(said, list) and len(said) == count and all(map(_is_result, said)):
            return [_of_record(result, id_field, fillable) for result in said]
        return response.not_json()
    errors = [error for error in said if _code(error)] if isinstance(said, list) else []
    if not errors:
        # 413, too, may come from something in front of Salesforce that speaks no JSON.
        outcome = response.outcome()
        if response.status in _ABOUT_THE_BODY and isinstance(outcome, Failed):
            return Split(outcome.reason)
        return outcome
    return _of_request(response, errors)


def _is_result(result: Any) -> bool:  # Any: the server's JSON
    return isinstance(result, dict) and isinstance(result.get("success"), bool)


def _of_request(response: Response, errors: Sequence[Any]) -> Outcome | Split:
    said = response.outcome()
    outcome = _outcome(f"{response.status} ", errors)
    if isinstance(outcome, Retry):
        if isinstance(said, Retry):
            # `Retry-After` knows better, and a status may tell more of the cause.
            after_s = outcome.after_s if said.after_s is None else said.after_s
            cause = said.cause if outcome.cause is Cause.OTHER else outcome.cause
            return Retry(outcome.reason, after_s, cause)
        return outcome
    if isinstance(outcome, Failed) and (
        isinstance(said, Unauthorized) or all(_code(error) in _OF_THE_ORG for error in errors)
    ):
        return Unauthorized(outcome.reason)
    if response.status in _ABOUT_THE_BODY:
        return Split(outcome.reason)
    return said if isinstance(said, Retry) else outcome


def _of_record(
    result: dict[str, Any],  # Any: the server's JSON
    id_field: str,
    fillable: Container[str],
) -> Outcome:
    if result["success"]:
        return _DELIVERED
    listed = result.get("errors")
    errors = listed if isinstance(listed, list) else []
    if not errors:
        return Failed("Salesforce refused it, and gave no reason")
    outcome = _outcome("", errors)
    if all(_is_race(error, id_field) for error in errors):
        return Retry(outcome.reason)
    missing = [field for error in errors for field in _missing(error)]
    if missing and all(field in fillable for field in missing):
        return Incomplete(outcome.reason, tuple(missing))
    return outcome


def _missing(error: Any) -> Sequence[Any]:  # Any: the server's JSON
    """The fields that a new record needs and has not; None among them for another error."""
    fields = error.get("fields") if isinstance(error, dict) else None
    if _code(error) != "REQUIRED_FIELD_MISSING" or not isinstance(fields, list) or not fields:
        return [None]
    return [field if isinstance(field, str) else None for field in fields]


def _is_race(error: Any, id_field: str) -> bool:  # Any: the server's JSON
    """Whether the record was made by another request between this one's look and its insert.

    An upsert by a field that is unique meets its own value in no other way;
    the next try finds the record, and updates it. Not on a page of Salesforce's,
    but what its support has said: https://salesforce.stackexchange.com/questions/197382
    """
    return _code(error) == "DUPLICATE_VALUE" and f"{id_field} duplicates value" in str(
        error.get("message")
    )


def _outcome(prefix: str, errors: Sequence[Any]) -> Retry | Failed:  # Any: the server's JSON
    """Another try helps where each of the errors may pass."""
    codes = [_code(error) for error in errors]
    reason = f"Salesforce refused it: {prefix}{'; '.join(_text(error) for error in errors)}"[:500]
    if not all(code in _RETRY_AFTER_S for code in codes):
        return Failed(reason)
    waits_s = [wait_s for code in codes if (wait_s := _RETRY_AFTER_S[code]) is not None]
    cause = Cause.OTHER
    if _TOO_MUCH.intersection(codes):
        cause = Cause.THROTTLED
    elif set(codes) == {"INVALID_SESSION_ID"}:
        cause = Cause.SETUP  # a session that was made a moment ago is refused like the old one
    return Retry(reason, max(waits_s, default=None), cause)


def _code(error: Any) -> str:  # Any: the server's JSON
    """`statusCode` in a record's result, `errorCode` in a list of errors."""
    if not isinstance(error, dict):
        return ""
    code = error.get("statusCode") or error.get("errorCode")
    return code if isinstance(code, str) else ""


def _text(error: Any) -> str:  # Any: the server's JSON
    if not isinstance(error, dict):
        return str(error)
    fields = error.get("fields")
    named = f" ({', '.join(map(str, fields))})" if isinstance(fields, list) and fields else ""
    return f"{_code(error)} {error.get('message')}{named}"
