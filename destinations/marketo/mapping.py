"""From Segment's events to Marketo's people and custom activities. Pure.

Owns the two calls that carry events, the mapping of traits and properties, and
the request for a token. Must not send anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

import msgspec

from destinations.kit import Endpoint, Event, Failed, Item, Outcome, Request, Unsupported
from destinations.kit.paths import normal
from destinations.kit.times import to_datetime
from destinations.kit.tokens import Token

#: Records in one request, and its bytes ("1MB"; the smaller reading of it always holds).
#: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/marketo-integration-best-practices
RECORDS = 300
REQUEST_BYTES = 1_000_000

#: Where a trait has a standard field of the person, by the trait's name without case and dashes.
#: Fields of the company (`company`, `industry`, ...) are left out: a note on the page of the upsert
#: (see `endpoints`) says that it does not support them; settings may name them all the same.
#: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/list-of-standard-fields
_TRAITS: Mapping[str, str] = {
    "firstname": "firstName",
    "lastname": "lastName",
    "middlename": "middleName",
    "salutation": "salutation",
    "title": "title",
    "department": "department",
    "phone": "phone",
    "mobilephone": "mobilePhone",
    "mobile": "mobilePhone",
    "fax": "fax",
    "city": "city",
    "state": "state",
    "country": "country",
    "postalcode": "postalCode",
    "leadsource": "leadSource",
}
#: The same for the parts of the trait `address`; `region` is what Segment's spec once called it.
_ADDRESS: Mapping[str, str] = {
    "street": "address",
    "city": "city",
    "state": "state",
    "region": "state",
    "country": "country",
    "postalcode": "postalCode",
    "zip": "postalCode",
}

_encode = msgspec.json.Encoder().encode


class ActivityType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The custom activity that a track event of one name becomes.

    `type_id` is the activity type's; `primary` is the path in the properties
    of its primary attribute, the event's own name if left out; `attributes`
    are paths in the properties, each with the attribute's API name.
    """

    type_id: int
    primary: str | None = None
    attributes: dict[str, str] = {}


class Endpoints(msgspec.Struct, frozen=True):
    """The two calls of Marketo's REST API that carry events.

    `lookups` is the call of `leads` once more, for people whose id is wanted.
    """

    leads: Endpoint
    lookups: Endpoint
    activities: Endpoint


class Activity(msgspec.Struct, frozen=True):
    """A custom activity that still needs the id of its person, which only Marketo knows.

    `person` is the record that the person is found or created by, and `key`
    tells people apart.
    """

    person: Item
    key: str
    fields: dict[str, Any]  # Any: JSON

    def item(self, endpoint: Endpoint, lead_id: int) -> Item:
        """The activity of a known person."""
        return Item(endpoint, _encode({"leadId": lead_id, **self.fields}))


def endpoints(base: str, lookup_field: str) -> Endpoints:
    """The calls at `base`, the scheme and host of the subscription."""

    # https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/leads#create-and-update
    def leads() -> Endpoint:
        return Endpoint(
            f"{base}/rest/v1/leads.json",
            RECORDS,
            REQUEST_BYTES,
            opening=b'{"action":"createOrUpdate","lookupField":%b,"input":['
            % _encode(lookup_field),
            closing=b"]}",
        )

    return Endpoints(
        leads=leads(),
        lookups=leads(),
        # https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/activities#add-custom-activities
        activities=Endpoint(
            f"{base}/rest/v1/activities/external.json",
            RECORDS,
            REQUEST_BYTES,
            opening=b'{"input":[',
            closing=b"]}",
        ),
    )


def token_request(base: str, client_id: str, client_secret: str) -> Request:
    """Asks for an access token. The secret is in the query, where Marketo documents it.

    https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/authentication
    """
    query = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
    }
    return Request(f"{base}/identity/oauth/token?{urlencode(query)}", method="GET")


def authorized(request: Request, token: Token) -> Request:
    """The request with the token in its header; in the query it is no longer taken."""
    headers = {**request.headers, "Authorization": f"Bearer {token.value}"}
    return Request(request.url, request.body, headers, request.method)


class Mapper:
    """The mapping for one subscription. Holds settings only."""

    def __init__(
        self,
        endpoints: Endpoints,
        lookup_field: str,
        fields: Mapping[str, str],
        activities: Mapping[str, ActivityType],
    ) -> None:
        self._endpoints = endpoints
        self._lookup_field = lookup_field
        self._fields = [(f"traits.{path}", field) for path, field in fields.items()]
        self._activities = activities

    def mapped(self, event: Event) -> Item | Activity | Outcome:
        """What an event becomes: a person, or an activity of one."""
        match event.type:
            case "identify":
                return self._person(event)
            case "track":
                return self._activity(event)
            case _:
                return Unsupported()

    def _person(self, event: Event) -> Item | Outcome:
        key = self._key(event)
        if not isinstance(key, str):
            return key
        record = _standard_fields(event)
        for path, field in self._fields:
            value = event.proxy(path)
            if value is not None:
                record[field] = _value(value)
        email = event.email
        if email is not None and email.isascii():
            record["email"] = email
        record[self._lookup_field] = key
        return Item(self._endpoints.leads, _encode(record), key.casefold())

    def _activity(self, event: Event) -> Activity | Outcome:
        name = event.event
        activity = self._activities.get(name) if name is not None else None
        if name is None or activity is None:
            return Unsupported()
        key = self._key(event)
        if not isinstance(key, str):
            return key
        primary = name if activity.primary is None else _property(event, activity.primary)
        if primary is None:
            return Failed(
                f"the event has no property {activity.primary}, "
                "which is the primary attribute of its activity"
            )
        date = _date(event)
        if date is None:
            return Failed("the event has no valid timestamp: an activity needs one")
        attributes = []
        for path, api_name in activity.attributes.items():
            value = _property(event, path)
            if value is not None:
                attributes.append({"apiName": api_name, "value": value})
        fields = {
            "activityDate": date,
            "activityTypeId": activity.type_id,
            "primaryAttributeValue": primary if isinstance(primary, str) else _text(primary),
            "attributes": attributes,
        }
        person = Item(self._endpoints.lookups, _encode({self._lookup_field: key}))
        return Activity(person, key.casefold(), fields)

    def _key(self, event: Event) -> str | Failed:
        """The value of the lookup field."""
        if self._lookup_field != "email":
            return event.user_id or Failed(
                f"the event has no userId: there is no person to find by {self._lookup_field}"
            )
        email = event.email
        if email is None:
            return Failed("the event has no e-mail address: there is no person to find by it")
        if not email.isascii():
            # A note in the documentation of the call, see `endpoints`.
            return Failed("Marketo takes e-mail addresses of ASCII characters only")
        return email


def _standard_fields(event: Event) -> dict[str, Any]:  # Any: JSON
    """The standard fields that traits name; a trait of null leaves its field as it is."""
    record: dict[str, Any] = {}  # Any: JSON
    for key, value in event.traits.items():
        name = normal(key)
        if (field := _TRAITS.get(name)) is not None:
            if isinstance(value, (str, int, float)) and value != "":
                record.setdefault(field, value)
        elif name == "address":
            if isinstance(value, dict):
                for part, below in value.items():
                    field = _ADDRESS.get(normal(part))
                    if field is not None and isinstance(below, (str, int, float)) and below != "":
                        record[field] = below
            elif isinstance(value, str) and value:
                record["address"] = value
        elif name == "birthday" and (born := to_datetime(value)) is not None:
            record["dateOfBirth"] = born.date().isoformat()
    if "firstName" not in record and (first := event.first_name) is not None:
        record["firstName"] = first
    if "lastName" not in record and (last := event.last_name) is not None:
        record["lastName"] = last
    return record


def _property(event: Event, path: str) -> Any:  # Any: JSON
    value = event.proxy(f"properties.{path}")
    return None if value is None else _value(value)


def _value(value: Any) -> Any:  # Any: JSON
    """A value as a field may hold it: objects and lists as their JSON text."""
    return _text(value) if isinstance(value, (dict, list)) else value


def _text(value: Any) -> str:  # Any: JSON
    return _encode(value).decode()


def _date(event: Event) -> str | None:
    """The event's time as Marketo's page on field types has it, in UTC.

    https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/field-types
    """
    at = event.timestamp or event.received_at
    if at is None:
        return None
    try:
        return at.astimezone(UTC).isoformat(timespec="seconds")
    except OverflowError:
        return None  # a time of the first or last day that a datetime can hold
