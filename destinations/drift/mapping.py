"""From Segment's events to Drift's contacts and timeline events. Pure.

Owns what of an event goes where, the calls, and the request for a token. Which
of the calls are made in which order is `steps.py`'s.
https://devdocs.drift.com/docs/contact-model

| part | from |
| --- | --- |
| contact | the table `DEFAULTS`; all other traits under their own names, but Drift's own |
| | an object in a trait: each value below it, `quiz.score`; a list: as JSON text |
| | the parts of `address` that the table does not take, without `address.` before them |
| contact of a track | the same of `context.traits`, where the contact has to be made |
| timeline event | the event's name, time and user; its properties as text, objects as JSON text |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from destinations.kit import (
    JSON_HEADERS,
    Event,
    Failed,
    FieldMapping,
    MappingTable,
    Outcome,
    Request,
    Unsupported,
    to_datetime,
)
from destinations.kit.contacts import Person
from destinations.kit.paths import normal
from destinations.kit.tokens import Token

#: What an event's `integrations` object may call this destination.
NAMES = ("Drift", "Drift (Actions)")

#: Attributes by trait; Segment's own destination has the last two under these names.
#: https://www.twilio.com/docs/segment/connections/destinations/catalog/drift
DEFAULTS = MappingTable(
    identify={
        "externalId": "@user_id",
        "email": "@user_email",
        "name": "@name",
        "phone": "@phone",
        "company": "@company_name",
        "street": "@street",
        "city": "@city",
        "state": "@state",
        "postalCode": "@postal_code",
        "country": "@country",
        "employmentTitle": "@position",
        "bio": "@description",
    },
)
#: Attributes that Drift sets itself, in plain form.
_DRIFTS_OWN = frozenset(
    {"id", "tags", "events", "socialprofiles", "externalid", "startdate", "lastactive"}
    | {"enduserversion", "calculatedversion"}
)
#: Traits that are sent as fields of the table, in plain form.
_SENT = frozenset(
    {"email", "name", "firstname", "lastname", "phone", "phones", "company", "companies"}
)
#: Parts of an address that are, in plain form.
_ADDRESS = frozenset(
    {"street", "streetaddress", "line1", "address1", "city", "town", "locality"}
    | {"state", "region", "province", "postalcode", "zip", "zipcode", "postcode"}
    | {"country", "countrycode"}
)
#: Levels of objects in objects that get names of their own.
MOST_LEVELS = 8
#: Longest path that more is put below, in characters.
MOST_PATH = 200

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
    """The mapping. Without `attributes` timeline events have those of the mapping only."""

    def __init__(
        self,
        *,
        attributes: bool,
        mapping: FieldMapping | None = None,
        custom_events: Literal["all", "none"] | Sequence[str] = "all",
    ) -> None:
        self._has_attributes = attributes
        self._mapper = DEFAULTS.mapper(mapping or {}, custom_events)
        self._taken = _DRIFTS_OWN | _SENT | self._mapper.reads("identify", "traits")
        self._taken_properties = self._mapper.reads("track", "properties")

    def plan(self, event: Event) -> Plan | Outcome:
        """What an event becomes.

        Drift knows contacts by an id or address; who has neither, as most
        visitors of a site, is no mistake of the sender's.
        """
        match event.type:
            case "identify":
                person = self._person(event)
                return Unsupported() if person is None else Identified(person)
            case "track":
                return self._tracked(event)
            case _:
                return Unsupported()

    def _tracked(self, event: Event) -> Tracked | Outcome:
        mapped = self._mapper.fields(event)
        person = self._user(event, mapped)
        if person is None:
            return Unsupported()
        # By hand: without a name and a user there is no event, whatever `custom_events` says.
        name = _text(mapped.pop("event", None)) or event.event
        if name is None:
            return Failed("the event has no name: Drift needs one")
        # https://devdocs.drift.com/docs/posting-timeline-events
        fields: Fields = {"event": name}
        at = _milliseconds(to_datetime(mapped.pop("createdAt", None)))
        if at is None:
            at = _milliseconds(event.timestamp or event.received_at)
        if at is not None:
            fields["createdAt"] = at  # without one, Drift takes the time of receipt
        # "Deprecated" says the page, and still shows them on the timeline: "each value is
        # stringified". What is deprecated is only lost, and refuses nothing.
        attributes = {
            target.removeprefix("attributes."): _text(value) for target, value in mapped.items()
        }
        if self._has_attributes and self._mapper.passes_others(event):
            for key, value in event.properties.items():
                if key not in attributes and normal(key) not in self._taken_properties:
                    attributes[key] = _text(value)
        attributes = {key: value for key, value in attributes.items() if value is not None}
        if attributes:
            fields["attributes"] = attributes
        _encode(fields)  # what cannot be sent is known before the first call
        return Tracked(person, fields)

    def _user(self, event: Event, mapped: Fields) -> Person | None:
        """The contact of a track, as an identify with the traits of its context would make it."""
        user_id = _text(mapped.pop("externalId", None)) or event.user_id
        email = _text(mapped.pop("email", None))
        traits = {**event.traits, "email": email} if email else event.traits
        return self._person(
            Event(_encode({"type": "identify", "userId": user_id, "traits": traits}))
        )

    def _person(self, event: Event) -> Person | None:
        """The contact. Any attribute may be set; None without an id or address.

        https://devdocs.drift.com/docs/contact-model
        """
        mapped = self._mapper.fields(event)
        external_id, email = (_text(mapped.pop(key, None)) for key in ("externalId", "email"))
        if external_id is None and email is None:
            return None
        attributes: Fields = {}
        for key, value in self._other_traits(event.traits):
            attributes.setdefault(key, value)
        for key, value in mapped.items():
            fit = value if isinstance(value, (str, int, float)) else _text(value)
            if fit is not None and fit != "":
                attributes[key.removeprefix("attributes.")] = fit
        for key, text in (("externalId", external_id), ("email", email)):
            if text is not None:
                attributes[key] = text
        return Person(external_id, email, _encode({"attributes": attributes}))

    def _other_traits(self, traits: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:  # Any: JSON
        """Traits that no field takes, the values in objects each by the path to it."""
        for key, value in traits.items():
            plain = normal(key)
            if plain in self._taken or value is None or value == "":
                continue
            if isinstance(value, (str, int, float)):
                yield key, value
            elif plain == "address" and isinstance(value, dict):
                for name, part in _flat("", value):
                    if normal(name) not in _ADDRESS:
                        yield name, part
            else:
                yield from _flat(key, value)


def _flat(path: str, value: Any, level: int = 1) -> Iterator[tuple[str, Any]]:  # Any: JSON
    """The values in an object with their paths; lists, and what is too deep, as JSON text.

    So is what stands under a long path, which would be written out for each value below it.
    """
    if isinstance(value, dict) and level < MOST_LEVELS and len(path) <= MOST_PATH:
        for key in sorted(value):
            yield from _flat(f"{path}.{key}" if path else key, value[key], level + 1)
    elif isinstance(value, (str, int, float)):
        if value != "":
            yield path, value
    elif value:
        yield path, _encode(value).decode()


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
