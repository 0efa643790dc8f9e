"""From Google Ads' answers to outcomes. Pure.

An upload that was read is answered with 200: `results` has an entry for each
conversion, an empty one where it was refused, and `partialFailureError` the
errors, each with the index of its conversion. Any other answer is an `error`.
https://developers.google.com/google-ads/api/docs/best-practices/partial-failures
https://developers.google.com/google-ads/api/docs/best-practices/understand-api-errors

| status | outcome |
| --- | --- |
| 200 | each conversion's own, see `_RETRY_AFTER_S`, `_KNOWN` and `_NOT_BY_AN_AD`; all other codes failed |
| 400, 413 | each conversion alone, unless the errors are about the request |
| 401 | token renewed, sent once more; then unauthorized |
| any, with errors of the kinds in `_OF_THE_ACCOUNT` alone | unauthorized |
| 409 `ABORTED`, 429, 5xx | retry, after the delay that the error names |
| others | by the kit's table |
"""  # noqa: E501 - a table's row cannot be broken

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
    Unsupported,
)
from destinations.kit.tokens import Token

#: Errors that another try may change, by kind and code, with the seconds to wait where told.
#: https://developers.google.com/google-ads/api/reference/rpc/latest/ConversionUploadErrorEnum.ConversionUploadError
#: https://developers.google.com/google-ads/api/reference/rpc/latest/ConversionAdjustmentUploadErrorEnum.ConversionAdjustmentUploadError
#: https://developers.google.com/google-ads/api/reference/rpc/latest/QuotaErrorEnum.QuotaError
#: https://developers.google.com/google-ads/api/reference/rpc/latest/InternalErrorEnum.InternalError
#: https://developers.google.com/google-ads/api/reference/rpc/latest/DatabaseErrorEnum.DatabaseError
_RETRY_AFTER_S: Mapping[tuple[str, str], float | None] = {
    # Six hours, says the page. A retry window that is shorter, as the default is, ends before.
    ("conversionUploadError", "TOO_RECENT_EVENT"): 6 * 3600.0,
    ("conversionUploadError", "TOO_RECENT_CONVERSION_ACTION"): 6 * 3600.0,
    # Two in one request; in requests of their own the first counts.
    ("conversionUploadError", "DUPLICATE_ORDER_ID"): None,
    ("conversionUploadError", "DUPLICATE_CLICK_CONVERSION_IN_REQUEST"): None,
    ("conversionUploadError", "DUPLICATE_CALL_CONVERSION_IN_REQUEST"): None,
    ("conversionUploadError", "TOO_RECENT_CALL"): 6 * 3600.0,
    ("conversionAdjustmentUploadError", "DUPLICATE_ADJUSTMENT_IN_REQUEST"): None,
    ("conversionAdjustmentUploadError", "DUPLICATE_ENHANCEMENT_IN_REQUEST"): None,
    ("conversionAdjustmentUploadError", "TOO_RECENT_CONVERSION_ACTION"): 6 * 3600.0,
    # The conversion has to be a day old.
    ("conversionAdjustmentUploadError", "TOO_RECENT_CONVERSION"): 24 * 3600.0,
    ("quotaError", "RESOURCE_EXHAUSTED"): None,
    ("quotaError", "RESOURCE_TEMPORARILY_EXHAUSTED"): None,
    ("internalError", "INTERNAL_ERROR"): None,
    ("internalError", "TRANSIENT_ERROR"): None,
    ("internalError", "DEADLINE_EXCEEDED"): None,
    ("databaseError", "CONCURRENT_MODIFICATION"): None,
}
#: Google has the conversion already: from a try whose answer was lost, or from an equal event.
_KNOWN = frozenset(
    {
        ("conversionUploadError", "ORDER_ID_ALREADY_IN_USE"),
        ("conversionUploadError", "CLICK_CONVERSION_ALREADY_EXISTS"),
        ("conversionUploadError", "CALL_CONVERSION_ALREADY_EXISTS"),
        ("conversionAdjustmentUploadError", "CONVERSION_ALREADY_RETRACTED"),
        ("conversionAdjustmentUploadError", "CONVERSION_ALREADY_ENHANCED"),
        ("conversionAdjustmentUploadError", "RESTATEMENT_ALREADY_EXISTS"),
    }
)
#: No ad led to it, which "you can safely ignore": all conversions are to be uploaded, and only
#: Google can tell which of their users had clicked. Nor does an ad lead to most orders that are
#: given back.
_NOT_BY_AN_AD = frozenset(
    {
        ("conversionUploadError", "CLICK_NOT_FOUND"),
        ("conversionAdjustmentUploadError", "CONVERSION_NOT_FOUND"),
    }
)
#: Kinds of errors that no single conversion can be to blame for.
_OF_THE_REQUEST = frozenset(
    {
        "authenticationError",
        "authorizationError",
        "headerError",
        "partialFailureError",
        "requestError",
    }
)
#: Of them, those that say who may not: the user, the developer token or the account.
_OF_THE_ACCOUNT = frozenset({"authenticationError", "authorizationError"})
#: Codes of gRPC that pass by themselves, for an error that has no details: cancelled, unknown,
#: deadline exceeded, resource exhausted, aborted, internal, unavailable.
_PASSING = frozenset({1, 2, 4, 8, 10, 13, 14})
#: Where the ping sends a browser on to.
_GOOGLE = ("google.com", "googleadservices.com", "doubleclick.net")
#: What a request's conversions, calls or adjustments are called in the path of an error.
_SEVERAL = frozenset({"conversions", "conversion_adjustments", "conversionAdjustments"})
_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)s", re.ASCII)
#: What may stand in a header: a token with a line break would end it.
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")

_DELIVERED = Delivered()


def needs_token(response: Response) -> bool:
    """Whether the token has expired, or is not valid (any more)."""
    return response.status == 401


def token(response: Response) -> Token | Outcome:
    """The token in the answer of Google's token endpoint; `expires_in` is seconds, mostly 3 599.

    Nothing of a 200 is quoted: it may hold a token. A refresh token that was
    revoked is a 400 with `invalid_grant`: the user has to allow it anew.
    https://developers.google.com/identity/protocols/oauth2/web-server#offline
    """
    if not response.is_success:
        return response.outcome()
    said = response.json()
    fields = said if isinstance(said, dict) else {}
    value, lifetime_s = fields.get("access_token"), fields.get("expires_in")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        return Retry("Google's answer to the request for a token holds none")
    if isinstance(lifetime_s, (int, float)) and not isinstance(lifetime_s, bool):
        return Token(value, float(lifetime_s))
    return Token(value)


def pinged(response: Response) -> Outcome:
    """What the ping answers: an image, or the way to one for the browser's cookies.

    Neither says that the conversion was counted. That a redirect to another
    host of Google's comes after the ping was taken is not documented.
    """
    if response.status in (302, 303, 307) and _is_google(response.headers.get("Location")):
        return _DELIVERED
    if response.is_success and response.is_html:
        return response.not_json()
    return response.outcome()


def uploaded(response: Response, count: int) -> Sequence[Outcome] | Outcome | Split:
    """What the upload answers: an outcome a conversion."""
    said = response.json()
    if response.is_success:
        return _read(response, said, count) if isinstance(said, dict) else response.not_json()
    error = said.get("error") if isinstance(said, dict) else None
    return _of_request(response, error if isinstance(error, dict) else {})


def _read(
    response: Response,
    said: dict[str, Any],  # Any: the server's JSON
    count: int,
) -> Sequence[Outcome] | Outcome:
    results, partial = said.get("results"), said.get("partialFailureError")
    rows = results if isinstance(results, list) else []
    if not isinstance(partial, dict):
        return [_DELIVERED] * count if len(rows) == count else response.not_json()
    located: dict[int, list[Any]] = {}
    others: list[Any] = []
    for error in _errors(partial):
        index = _index(error)
        if index is None or index >= count:
            others.append(error)
        else:
            located.setdefault(index, []).append(error)
    outcomes: list[Outcome] = []
    for index in range(count):
        if index in located:
            outcomes.append(_outcome(located[index]))
        elif index < len(rows) and isinstance(rows[index], dict) and rows[index]:
            outcomes.append(_DELIVERED)
        elif others:
            outcomes.append(_outcome(others))
        elif located:
            outcomes.append(Retry("Google Ads did not say what became of the conversion"))
        else:
            outcomes.append(_bare(partial))
    return outcomes


def _of_request(response: Response, error: dict[str, Any]) -> Outcome | Split:
    """The outcome of a request that was not executed."""
    by_status = response.outcome()
    errors = _errors(error)
    outcome = _outcome(errors) if errors else by_status
    if isinstance(outcome, Retry):
        after_s, cause = outcome.after_s, outcome.cause
        if isinstance(by_status, Retry):
            if by_status.after_s is not None:
                after_s = by_status.after_s  # `Retry-After` knows better
            if cause is Cause.OTHER:
                cause = by_status.cause
        return Retry(outcome.reason, after_s, cause)
    if isinstance(by_status, Retry) or error.get("status") == "ABORTED":
        return Retry(_reason(outcome, by_status))
    if isinstance(by_status, Unauthorized) or (
        errors and all(_code(error)[0] in _OF_THE_ACCOUNT for error in errors)
    ):
        return Unauthorized(_reason(outcome, by_status))
    if response.status in (400, 413) and not (
        errors and all(_code(error)[0] in _OF_THE_REQUEST for error in errors)
    ):
        # A single conversion may have spoilt the body.
        return Split(_reason(outcome, by_status))
    return Failed(_reason(outcome, by_status))


def _reason(*outcomes: Outcome) -> str:
    """The reason of the first outcome that has one."""
    return next(o.reason for o in outcomes if isinstance(o, (Failed, Retry)))


def _outcome(errors: Sequence[Any]) -> Outcome:  # Any: the server's JSON
    """Another try helps where each of the errors may pass."""
    codes = {_code(error) for error in errors}
    if codes <= _KNOWN:
        return _DELIVERED
    if codes <= _NOT_BY_AN_AD:
        return Unsupported()
    reason = f"Google Ads refused it: {'; '.join(map(_text, errors))}"[:500]
    if not all(code in _RETRY_AFTER_S for code in codes):
        return Failed(reason)
    waits_s = [_RETRY_AFTER_S[code] for code in codes] + [_delay_s(error) for error in errors]
    after_s = max((wait_s for wait_s in waits_s if wait_s is not None), default=None)
    is_quota = any(kind == "quotaError" for kind, _ in codes)
    return Retry(reason, after_s, Cause.THROTTLED if is_quota else Cause.OTHER)


def _bare(status: dict[str, Any]) -> Outcome:  # Any: the server's JSON
    """The outcome of an error without details."""
    reason = f"Google Ads refused it: {status.get('message')}"[:500]
    code = status.get("code")
    return Retry(reason) if isinstance(code, int) and code in _PASSING else Failed(reason)


def _errors(status: dict[str, Any]) -> list[Any]:  # Any: the server's JSON
    """The errors in a status' details: those of its `GoogleAdsFailure`.

    https://developers.google.com/google-ads/api/reference/rpc/latest/GoogleAdsFailure
    """
    return [
        error
        for detail in _list(status.get("details"))
        if isinstance(detail, dict)
        for error in _list(detail.get("errors"))
    ]


def _index(error: Any) -> int | None:  # Any: the server's JSON
    """Which of a request's an error is about, from `conversions[n]`; a number, or text of one."""
    location = error.get("location") if isinstance(error, dict) else None
    elements = location.get("fieldPathElements") if isinstance(location, dict) else None
    for element in _list(elements):
        if isinstance(element, dict) and element.get("fieldName") in _SEVERAL:
            index = element.get("index", 0)  # proto3's JSON may leave a zero out
            if isinstance(index, str) and index.isascii() and index.isdigit():
                return int(index[:9])
            if isinstance(index, int) and not isinstance(index, bool) and index >= 0:
                return index
    return None


def _code(error: Any) -> tuple[str, str]:  # Any: the server's JSON
    """Kind and code, as `("quotaError", "RESOURCE_EXHAUSTED")`."""
    codes = error.get("errorCode") if isinstance(error, dict) else None
    if isinstance(codes, dict):
        for kind, code in codes.items():
            return kind, str(code)
    return "", ""


def _text(error: Any) -> str:  # Any: the server's JSON
    if not isinstance(error, dict):
        return str(error)
    return f"{_code(error)[1]} {error.get('message')}".strip()


def _delay_s(error: Any) -> float | None:  # Any: the server's JSON
    """Seconds that a quota's error asks to wait, as `"30s"`.

    https://developers.google.com/google-ads/api/reference/rpc/latest/QuotaErrorDetails
    """
    details = error.get("details") if isinstance(error, dict) else None
    quota = details.get("quotaErrorDetails") if isinstance(details, dict) else None
    delay = quota.get("retryDelay") if isinstance(quota, dict) else None
    found = _DURATION.fullmatch(delay) if isinstance(delay, str) else None
    return float(found[1]) if found else None


def _is_google(location: str | None) -> bool:
    try:
        host = URL(location or "").host or ""
    except ValueError:
        return False  # no URL
    return any(host == known or host.endswith(f".{known}") for known in _GOOGLE)


def _list(value: Any) -> list[Any]:  # Any: the server's JSON
    return value if isinstance(value, list) else []
