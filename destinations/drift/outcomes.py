"""From Drift's answers to outcomes. Pure.

https://devdocs.drift.com/docs/data-and-errors
https://devdocs.drift.com/docs/contact-errors

| status | documented as | outcome |
| --- | --- | --- |
| 2xx | `data` | delivered |
| 2xx that is not JSON, cut short, or an HTML page | | retry: a proxy has answered, or nobody knows what Drift said |
| 400 | `validation_error`, CONTACT-4, -7 to -11 | failed |
| 401, 403 | `authentication_error`, CONTACT-2 | token renewed, sent once more; then, or without a refresh token, unauthorized |
| 404 | `not_found`, CONTACT-1 | to a look-up: there is none; to an update: looked up anew; to an event: the contact is made |
| 409 | CONTACT-6 | looked up once more, and changed; then failed |
| 429 | `rate_limit` | retry; no page says how many calls are allowed, or for how long they are not |
| 500 | `internal_error`, CONTACT-5 | retry |
| others | | by the kit's table |
"""  # noqa: E501 - a table's row cannot be broken

from __future__ import annotations

import re
from typing import Any

from destinations.drift.mapping import Access
from destinations.kit import Cause, Delivered, Failed, Outcome, Response, Retry, Unauthorized
from destinations.kit.contacts import Found, Person, chosen
from destinations.kit.paths import find

#: What may stand in a header: a token with a line break would end it.
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
#: Types of errors that pass by themselves, whatever the status.
_PASSING = {"rate_limit": Cause.THROTTLED, "internal_error": Cause.SERVER}

DELIVERED = Delivered()


def needs_token(response: Response) -> bool:
    """Whether the token has expired, or is not valid (any more)."""
    if response.status == 401:
        return True
    return response.status == 403 and _error(response).get("type") == "authentication_error"


def token(response: Response) -> Access | Outcome:
    """The token in Drift's answer; its lifetime is seconds, two hours mostly, 0 for no end.

    The page names no fields; both spellings of OAuth's are taken. Nothing of a
    200 is quoted: it may hold a token.
    https://devdocs.drift.com/docs/authentication-and-scopes
    """
    if not response.is_success:
        return response.outcome()
    said = response.json()
    value, lifetime_s = find(said, "access_token"), find(said, "expires_in")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        return Retry("Drift's answer to the request for a token holds none")
    refresh_token = find(said, "refresh_token")
    if not isinstance(refresh_token, str) or not refresh_token:
        refresh_token = None
    if isinstance(lifetime_s, (int, float)) and not isinstance(lifetime_s, bool) and lifetime_s > 0:
        return Access(value, float(lifetime_s), refresh_token)
    return Access(value, None, refresh_token)


def outcome(response: Response) -> Outcome:
    """What an answer means where its words do not matter."""
    if response.is_success:
        if response.is_html:
            return response.not_json()
        return DELIVERED
    by_status = response.outcome()
    error = _error(response)
    if not error or not isinstance(by_status, (Failed, Retry)):
        return by_status
    kind = str(error.get("type") or error.get("code") or "")
    reason = f"Drift refused it: {response.status} {kind} {error.get('message') or ''}"
    reason = " ".join(reason.split())[:500]
    if isinstance(by_status, Retry):
        return Retry(reason, by_status.after_s, by_status.cause)
    if kind in _PASSING:
        return Retry(reason, None, _PASSING[kind])
    # CONTACT-2: "Unauthorized"; the pages have it for tokens that are missing, wrong or over.
    if needs_token(response) or kind in ("authentication_error", "CONTACT-2"):
        return Unauthorized(reason)
    return Failed(reason)


def made(response: Response) -> str | Outcome:
    """The id in the answer to a contact that was made or changed."""
    if not response.is_success:
        return outcome(response)
    said = response.json()
    data = said.get("data") if isinstance(said, dict) else None
    return (_id(data) if isinstance(data, dict) else None) or response.not_json()


def found(response: Response, person: Person) -> str | Outcome | None:
    """The id of the contact in a look-up's answer that is the person; None where there is none."""
    if response.status == 404:
        return None
    if not response.is_success:
        return outcome(response)
    said = response.json()
    data = said.get("data") if isinstance(said, dict) else None
    # The page says that an address gives a list, and shows an object.
    contacts = [data] if isinstance(data, dict) else data
    if not isinstance(contacts, list):
        return response.not_json()
    candidates = []
    for contact in contacts:
        contact_id = _id(contact) if isinstance(contact, dict) else None
        if contact_id is None:
            return response.not_json()
        attributes = contact.get("attributes")
        external_id = attributes.get("externalId") if isinstance(attributes, dict) else None
        # Drift has looked the address up itself, and may write it in another way.
        candidates.append(Found(contact_id, str(external_id) if external_id else None, True))
    return chosen(candidates, person, "Drift")


def _id(contact: dict[str, Any]) -> str | None:  # Any: the server's JSON
    """Drift's own id, which is a whole number."""
    contact_id = contact.get("id")
    if isinstance(contact_id, int) and not isinstance(contact_id, bool) and contact_id >= 0:
        return str(contact_id) if contact_id < 2**63 else None
    return None


def _error(response: Response) -> dict[str, Any]:  # Any: the server's JSON
    said = response.json()
    error = said.get("error") if isinstance(said, dict) else None
    return error if isinstance(error, dict) else {}
