"""From Marketo's answers to outcomes. Pure.

Nearly every error comes with status 200: `success` says whether the request
was done, and each record's `status` whether it was.
https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/error-codes

| answer | outcome |
| --- | --- |
| `success` true, record `created`, `updated`, `added` | delivered |
| record `skipped`, or with errors | retry where each code may pass, see `_RETRY_AFTER_S`; else failed: 1003, 1006, 1007, ... |
| activity with 1004 | retry: its person has gone, and is made anew |
| `success` false with 601, 602 | token renewed, sent once more; then retry, and held where all get it |
| with 606, 607, 615 | retry after 20 s, an hour, 5 s |
| with 500, 502, 604, 608, 611, 614, 713, 719 | retry |
| with 603 | unauthorized: the service's user may not do it |
| with 605, 610, 612, 613, 616, 703 | failed, all of the request |
| with 609, 1xxx, other 7xx | each record alone, in the end; then failed |
| 413 | in smaller parts, then failed |
| 200 that says nothing of this, is cut short, or no JSON | retry |
| others | by the kit's table |
"""  # noqa: E501 - a table's row cannot be broken

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from destinations.kit.tokens import Token

#: "601: access token invalid", "602: access token expired": renewed, and the request sent again.
TOKEN_CODES = frozenset({"601", "602"})

#: Codes that another try may change, with the seconds to wait where the page tells them.
_RETRY_AFTER_S: Mapping[str, float | None] = {
    "500": None,  # internal server error
    "502": None,  # bad gateway
    "600": None,  # empty access token; no longer on the page
    "601": None,  # access token invalid, and again after it was renewed
    "602": None,  # access token expired, the same
    "604": None,  # request time-out
    "606": 20.0,  # over 100 calls in 20 seconds: by then they are out of the window
    # Daily quota reached; it is reset at midnight CST. Not waited for until then: the quota may
    # be raised at any time, and a retry window of hours has room for several looks.
    "607": 3600.0,
    "608": None,  # API temporarily unavailable
    "611": None,  # system error
    "614": None,  # subscription cannot be reached, usually for a while
    "615": 5.0,  # ten requests at once are under way already
    "713": None,  # transient error
    "719": None,  # lock wait time-out
}

#: Of them, those that fewer calls would help.
_TOO_MUCH = frozenset({"606", "607", "615"})

#: Of them, those that say that tokens are not accepted, as where a new one was refused too.
_OF_THE_TOKEN = frozenset({"600", "601", "602"})

#: "Access denied": the token is good, but the API user's role lacks the permission for the call, or
#: the address that it comes from is not on the list. An administrator has to mend either.
_DENIED = "603"

#: Codes of whole requests that no single record can be to blame for.
_OF_THE_REQUEST = frozenset(
    {
        "603",  # access denied
        "605",  # method not supported
        "610",  # resource not found
        "612",  # invalid content type
        "613",  # invalid multipart request
        "616",  # invalid subscription type
        "703",  # feature not enabled
    }
)

#: What a record's `status` says that was done.
_DONE = frozenset({"created", "updated", "added"})

#: What may stand in a header: a token with a line break would end it.
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")

_DELIVERED = Delivered()


class Found(Delivered, frozen=True):
    """The person is there, with the id that their activities need."""

    lead_id: int


def needs_token(response: Response) -> bool:
    """Whether the request was refused, and not executed, for its token."""
    return any(_code(error) in TOKEN_CODES for error in _errors(response.json()))


def token(response: Response) -> Token | Outcome:
    """The token in the answer of the identity call; `expires_in` is what is left of it.

    Nothing of a 200 is quoted: it may hold a token.
    https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/authentication
    """
    if not response.is_success:
        # 401 for a wrong client id or secret: https://developer.adobe.com/marketo-apis/api/identity/
        return response.outcome()
    said = response.json()
    fields = said if isinstance(said, dict) else {}
    value, lifetime_s = fields.get("access_token"), fields.get("expires_in")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        return Retry("Marketo's answer to the request for a token holds none")
    if isinstance(lifetime_s, (int, float)) and not isinstance(lifetime_s, bool):
        return Token(value, float(lifetime_s))
    return Token(value)


def leads(response: Response, count: int) -> Sequence[Outcome] | Outcome | Split:
    """What the upsert of people answers: an outcome a record."""
    return _read(response, count, lambda record: _DELIVERED)


def lookups(response: Response, count: int) -> Sequence[Outcome] | Outcome | Split:
    """The same for people of whom only the id is wanted: `Found` for each that is there."""
    return _read(response, count, _found)


def activities(response: Response, count: int) -> Sequence[Outcome] | Outcome | Split:
    """What adding activities answers: an outcome a record."""
    # 1004: the person has gone since it was looked up, and the next try makes it anew.
    return _read(response, count, lambda record: _DELIVERED, retried=frozenset({"1004"}))


def _read(
    response: Response,
    count: int,
    done: Callable[[dict[str, Any]], Outcome],  # Any: the server's JSON
    retried: frozenset[str] = frozenset(),
) -> Sequence[Outcome] | Outcome | Split:
    if response.status == 413:
        return Split(f"Marketo refused it: 413 {response.excerpt()}".strip())
    if not response.is_success:
        return response.outcome()
    said = response.json()
    if not isinstance(said, dict):
        return response.not_json()
    errors = _errors(said)
    records = said.get("result")
    if said.get("success") is True and isinstance(records, list) and len(records) == count:
        return [_of_record(record, errors, done, retried, response) for record in records]
    if errors:
        return _of_request(errors)
    return response.not_json()


def _of_record(
    record: Any,  # Any: the server's JSON
    errors: Sequence[Any],
    done: Callable[[dict[str, Any]], Outcome],
    retried: frozenset[str],
    response: Response,
) -> Outcome:
    """A record's outcome; where it says nothing of itself, what is said of all holds."""
    if isinstance(record, dict):
        status = record.get("status")
        if isinstance(status, str) and status in _DONE:
            return done(record)
        # The upsert calls them reasons, the activities errors.
        reasons = _list(record.get("reasons")) or _list(record.get("errors"))
        if reasons:
            return _outcome(reasons, retried)
        if status == "skipped":
            return Failed("Marketo skipped it, and gave no reason")
    return _outcome(errors, retried) if errors else response.not_json()


def _of_request(errors: Sequence[Any]) -> Outcome | Split:  # Any: the server's JSON
    """The outcome of a request that was not executed."""
    outcome = _outcome(errors, frozenset())
    if isinstance(outcome, Failed) and not all(_code(error) in _OF_THE_REQUEST for error in errors):
        # 609, 7xx and 1xxx speak of what is in the body: a single record may have spoilt it.
        return Split(outcome.reason)
    return outcome


def _outcome(errors: Sequence[Any], retried: frozenset[str]) -> Outcome:  # Any: the server's JSON
    """Another try helps where each of the errors may pass."""
    codes = [_code(error) for error in errors]
    reason = f"Marketo refused it: {'; '.join(_text(error) for error in errors)}"[:500]
    if codes and all(code == _DENIED for code in codes):
        return Unauthorized(reason)
    if not all(code in _RETRY_AFTER_S or code in retried for code in codes):
        return Failed(reason)
    waits_s = [wait_s for code in codes if (wait_s := _RETRY_AFTER_S.get(code)) is not None]
    cause = Cause.OTHER
    if _TOO_MUCH.intersection(codes):
        cause = Cause.THROTTLED
    elif _OF_THE_TOKEN.issuperset(codes):
        cause = Cause.SETUP
    return Retry(reason, max(waits_s, default=None), cause)


def _found(record: dict[str, Any]) -> Outcome:  # Any: the server's JSON
    lead_id = record.get("id")
    if isinstance(lead_id, int) and not isinstance(lead_id, bool):
        return Found(lead_id)
    return Retry("Marketo did not say the id of the person")


def _errors(said: Any) -> list[Any]:  # Any: the server's JSON
    return _list(said.get("errors")) if isinstance(said, dict) else []


def _list(value: Any) -> list[Any]:  # Any: the server's JSON
    return value if isinstance(value, list) else []


def _code(error: Any) -> str:  # Any: the server's JSON
    """The code as text; the page has it quoted, and a number means the same."""
    return str(error.get("code")) if isinstance(error, dict) else ""


def _text(error: Any) -> str:  # Any: the server's JSON
    if not isinstance(error, dict):
        return str(error)
    return f"{error.get('code')} {error.get('message')}"
