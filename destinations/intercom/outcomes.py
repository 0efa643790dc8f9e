"""From Intercom's answers to outcomes. Pure.

https://developers.intercom.com/docs/references/2.17/rest-api/errors/http-responses
https://developers.intercom.com/docs/references/2.17/rest-api/errors/error-codes
https://developers.intercom.com/docs/references/rest-api/errors/rate-limiting

| status | outcome |
| --- | --- |
| 2xx with what was asked for, 202 to a data event | delivered |
| 2xx that is not JSON, cut short, or an HTML page | retry: a proxy has answered, or nobody knows what Intercom said |
| 404 to a data event | the contact is made, and the event sent once more; without `create_contacts` failed |
| 404 to an update | the contact is looked up anew |
| 404 to a company that is left, or to leaving it | delivered: there is nothing to leave |
| 409 to a new contact | the contact that it names is changed, if it is the same person; else failed |
| 408, 429, 5xx | retry, 429 when `X-RateLimit-Reset` says so |
| any, with a code of `_PASSING` | retry |
| 401, or any 4xx with a code of `_OF_THE_TOKEN` | unauthorized |
| other 4xx | failed: 403 is about the plan, or what the token may not do |
"""  # noqa: E501 - a table's row cannot be broken

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any

from destinations.kit import Cause, Delivered, Failed, Outcome, Response, Retry, Unauthorized
from destinations.kit.contacts import Found, Person, chosen, is_same
from destinations.kit.outcomes import MAX_VENDOR_WAIT_S, retry_after_s

#: Codes of errors that pass by themselves, whatever the status.
_PASSING = frozenset(
    {
        "rate_limit_exceeded",
        "too_many_requests",
        "request_timeout",
        "service_unavailable",
        "server_error",
        "retry_after",
    }
)
#: Of them, those that fewer calls would help.
_TOO_MUCH = frozenset({"rate_limit_exceeded", "too_many_requests"})
#: Codes of errors that are about the access token, whatever the status.
_OF_THE_TOKEN = frozenset(
    {
        "unauthorized",
        "missing_authorization",
        "token_not_found",
        "token_unauthorized",
        "token_expired",
        "token_revoked",
        "token_blocked",
    }
)
#: What the page of the call gives as its answer to a contact that exists already.
_EXISTING = re.compile(r"already exists with id=([0-9A-Za-z-]+)")

DELIVERED = Delivered()


def outcome(response: Response) -> Outcome:
    """What an answer means where its words do not matter: that of a data event is empty."""
    if response.is_success:
        if response.is_html:
            return response.not_json()
        return DELIVERED
    by_status = response.outcome()
    errors = _errors(response)
    reason = f"Intercom refused it: {response.status} {_text(errors)}" if errors else ""
    codes = {str(error.get("code")) for error in errors}
    if isinstance(by_status, Retry) or codes & _PASSING:
        cause = by_status.cause if isinstance(by_status, Retry) else Cause.OTHER
        if codes & _TOO_MUCH:
            cause = Cause.THROTTLED
        return Retry(reason[:500] or _reason(by_status), _wait_s(response), cause)
    reason = reason[:500] or _reason(by_status)
    if isinstance(by_status, Unauthorized) or codes & _OF_THE_TOKEN:
        return Unauthorized(reason)
    return Failed(reason)


def made(response: Response) -> str | Outcome:
    """The id in the answer to a contact or company that was made or changed."""
    if not response.is_success:
        return outcome(response)
    said = response.json()
    found = said.get("id") if isinstance(said, dict) else None
    return found if isinstance(found, str) and found else response.not_json()


def found(response: Response, person: Person) -> str | Outcome | None:
    """The id of the contact in a search's answer that is the person; None where there is none."""
    if not response.is_success:
        return outcome(response)
    said = response.json()
    contacts = said.get("data") if isinstance(said, dict) else None
    if not isinstance(contacts, list):
        return response.not_json()
    candidates = []
    for contact in contacts:
        candidate = _candidate(contact, person)
        if candidate is None:
            return response.not_json()
        candidates.append(candidate)
    return chosen(candidates, person, "Intercom")


def shown(response: Response, person: Person) -> str | Outcome | None:
    """The id of the contact that is shown, if it is the person; None if not, or if it is gone."""
    if response.status == 404:
        return None
    if not response.is_success:
        return outcome(response)
    candidate = _candidate(response.json(), person)
    if candidate is None:
        return response.not_json()
    return candidate.id if is_same(candidate, person) else None


def found_company(response: Response, company_id: str) -> str | Outcome | None:
    """Intercom's id of a company that was asked for by the sender's; None where there is none.

    The page shows the company itself; a list of companies is read as well.
    """
    if response.status == 404:
        return None
    if not response.is_success:
        return outcome(response)
    said = response.json()
    companies = said.get("data") if isinstance(said, dict) and "id" not in said else None
    if not isinstance(companies, list):
        return made(response)
    for company in companies:
        if isinstance(company, dict) and company.get("company_id") == company_id:
            found = company.get("id")
            return found if isinstance(found, str) and found else response.not_json()
    return None


def _candidate(contact: Any, person: Person) -> Found | None:  # Any: the server's JSON
    if not isinstance(contact, dict) or not isinstance(contact.get("id"), str):
        return None
    external_id, email = contact.get("external_id"), contact.get("email")
    has_address = (
        person.email is not None
        and isinstance(email, str)
        and email.casefold() == person.email.casefold()
    )
    return Found(contact["id"], external_id if isinstance(external_id, str) else None, has_address)


def conflicting_id(response: Response) -> str | None:
    """The id of the contact that a new one was refused for."""
    if response.status != 409:
        return None
    matches = [_EXISTING.search(str(error.get("message"))) for error in _errors(response)]
    return next((match[1] for match in matches if match), None)


def _errors(response: Response) -> list[dict[str, Any]]:  # Any: the server's JSON
    said = response.json()
    errors = said.get("errors") if isinstance(said, dict) else None
    return [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []


def _text(errors: list[dict[str, Any]]) -> str:  # Any: the server's JSON
    return "; ".join(f"{error.get('code')} {error.get('message')}" for error in errors)


def _reason(by_status: Outcome) -> str:
    return by_status.reason if isinstance(by_status, (Failed, Retry)) else ""


def _wait_s(response: Response) -> float | None:
    """Seconds until the window of the rate limit ends, by the server's own clock, or as it asks.

    The reset is seconds since the epoch, and `Date` of the same answer is what
    the time was there, so that our clock does not matter.
    """
    asked = retry_after_s(response.headers.get("Retry-After"))
    if asked is not None or response.status != 429:
        return asked
    reset, date = response.headers.get("X-RateLimit-Reset"), response.headers.get("Date")
    if reset is None or date is None or not (reset.isascii() and reset.isdigit()):
        return None
    try:
        wait_s = int(reset[:12]) - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None  # no date: the usual back-off is as good as a guess
    return min(max(wait_s, 0.0), MAX_VENDOR_WAIT_S)
