"""From Segment's events to Drift's contacts and timeline events. Pure.

Owns what of an event goes where, the calls, and the request for a token. Which
of the calls are made in which order is `steps.py`'s.
https://devdocs.drift.com/docs/contact-model
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from destinations.kit import JSON_HEADERS, Event, Failed, Outcome, Request, Unsupported
from destinations.kit.contacts import Person
from destinations.kit.paths import normal
from destinations.kit.tokens import Token

#: What an event's `integrations` object may call this destination.
NAMES = ("Drift", "Drift (Actions)")
#: Attributes that Drift sets itself, and traits that are sent under another name, in plain form.
_NOT_SENT = frozenset(
    {"id", "tags", "events", "socialprofiles", "externalid", "startdate", "lastactive"}
    | {"email", "name", "firstname", "lastname", "phone", "phones", "company"}
    | {"enduserversion", "calculatedversion"}
)

_encode = msgspec.json.Encoder().encode
Fields = dict[str, Any]  # Any: JSON


class Identified(msgspec.Struct, frozen=True):
    """What an identify becomes: a contact."""

    person: Person


class Tracked(msgspec.Struct, frozen=True):
    """What a track becomes: an event on a contact's timeline, still without the contact."""

    person: Person
    fields: Fields

    def body(self, contact_id: str | None) -> bytes:
        """The event of a contact: by Drift's own id, else by the external one."""
        if contact_id is not None:
            return _encode({"contactId": int(contact_id), **self.fields})
        return _encode({"externalId": self.person.external_id, **self.fields})


Plan = Identified | Tracked


class Mapper:
    """The mapping. Without `attributes` timeline events have a name and a time only."""

    def __init__(self, *, attributes: bool) -> None:
        self._has_attributes = attributes

    def plan(self, event: Event) -> Plan | Outcome:
        """What an event becomes.

        Drift knows contacts by an id or address; who has neither, as most
        visitors of a site, is no mistake of the sender's.
        """
        match event.type:
            case "identify":
                if event.user_id is None and event.user_email is None:
                    return Unsupported()
                return Identified(_person(event))
            case "track":
                return self._tracked(event)
            case _:
                return Unsupported()

    def _tracked(self, event: Event) -> Tracked | Outcome:
        if event.user_id is None and event.user_email is None:
            return Unsupported()
        if event.event is None:
            return Failed("the event has no name: Drift needs one")
        # https://devdocs.drift.com/docs/posting-timeline-events
        fields: Fields = {"event": event.event}
        at = _milliseconds(event.timestamp or event.received_at)
        if at is not None:
            fields["createdAt"] = at  # without one, Drift takes the time of receipt
        if self._has_attributes:
            # "Deprecated" says the page, and still shows them on the timeline: "each value is
            # stringified". What is deprecated is only lost, and refuses nothing.
            attributes = {key: _text(value) for key, value in event.properties.items()}
            attributes = {key: value for key, value in attributes.items() if value is not None}
            if attributes:
                fields["attributes"] = attributes
        _encode(fields)  # what cannot be sent is known before the first call
        return Tracked(_person(event), fields)


def _person(event: Event) -> Person:
    """The contact. Any attribute may be set; what is no text, number or flag is left out.

    https://devdocs.drift.com/docs/contact-model
    """
    external_id, email = event.user_id, event.user_email
    traits = event.traits
    attributes: Fields = {
        key: value
        for key, value in traits.items()
        if isinstance(value, (str, int, float)) and value != "" and normal(key) not in _NOT_SENT
    }
    for name, said in (
        ("externalId", external_id),
        ("email", email),
        ("name", event.name or event.first_name),
        ("phone", event.phone),
        ("company", event.company_name),
    ):
        if said is not None:
            attributes[name] = said
    return Person(external_id, email, _encode({"attributes": attributes}))


def _text(value: Any) -> str | None:  # Any: JSON
    if value is None or isinstance(value, str):
        return value
    return _encode(value).decode()


def _milliseconds(at: datetime | None) -> int | None:
    if at is None:
        return None
    try:
        milliseconds = int(at.timestamp() * 1000)
    except (OverflowError, ValueError):
        return None  # a time of the first or last day that a datetime can hold
    return milliseconds if milliseconds >= 0 else None


class Api:
    """The calls of Drift's API; tokens are added by `authorized`."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def by_external_id(self, external_id: str) -> Request:
        """The contact with an external id.

        https://devdocs.drift.com/docs/retrieving-contact
        """
        query = urlencode({"idType": "external", "id": external_id}, errors="replace")
        return Request(f"{self._base_url}/contacts?{query}", b"", JSON_HEADERS, "GET")

    def by_email(self, email: str) -> Request:
        """The contacts with an address, which may be several.

        https://devdocs.drift.com/docs/retrieving-contact
        """
        query = urlencode({"email": email}, errors="replace")
        return Request(f"{self._base_url}/contacts?{query}", b"", JSON_HEADERS, "GET")

    def create(self, body: bytes) -> Request:
        """A new contact, which needs an address.

        https://devdocs.drift.com/docs/creating-a-contact
        """
        return Request(f"{self._base_url}/contacts", body, JSON_HEADERS)

    def update(self, contact_id: str, body: bytes) -> Request:
        """Sets attributes of a contact; others stay as they are.

        https://devdocs.drift.com/docs/updating-a-contact
        """
        url = f"{self._base_url}/contacts/{quote(contact_id, safe='')}"
        return Request(url, body, JSON_HEADERS, "PATCH")

    def timeline(self, body: bytes) -> Request:
        """An event on a contact's timeline; there is no call for several.

        https://devdocs.drift.com/docs/posting-timeline-events
        """
        return Request(f"{self._base_url}/contacts/timeline", body, JSON_HEADERS)

    def token(self, client_id: str, client_secret: str, refresh_token: str) -> Request:
        """Asks for an access token by the refresh token.

        https://devdocs.drift.com/docs/authentication-and-scopes
        """
        form = {
            "grant_type": "refresh_token",
            "client_id": client_id,
            "client_secret": client_secret,
            "refresh_token": refresh_token,
        }
        return Request(
            f"{self._base_url}/oauth2/token",
            urlencode(form).encode(),
            {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        )


class Access(Token, frozen=True):
    """An access token, with the refresh token that comes with it, where it is a new one."""

    refresh_token: str | None = None


def authorized(request: Request, token: Token) -> Request:
    """The request with the token in its header."""
    headers = {**request.headers, "Authorization": f"Bearer {token.value}"}
    return Request(request.url, request.body, headers, request.method)
