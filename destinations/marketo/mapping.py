"""From Segment's events to Marketo's people and custom activities. Pure.

Owns the two calls that carry events, the mapping of traits and properties, and
the request for a token. Must not send anything.

| event | becomes |
| --- | --- |
| identify | a person: fields of `fields.py`, of the settings, and the values that people are found by |
| track that the settings name | a custom activity of the person that it is about |
| others | unsupported |

| found by, the first that the event has | in the field |
| --- | --- |
| e-mail address: the user's own, else a property's | `email`, where `lookup_field` is that |
| user id | `lookup_field`, where it is another; else `user_id_field`, where that is set |
| anonymous id | `anonymous_id_field`, where that is set |

An event that has none of them is about nobody whom Marketo could know, as most visitors of a site:
it is unsupported, and no mistake of the sender's.
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

import msgspec

from destinations.kit import (
    Endpoint,
    Event,
    Failed,
    FieldMapping,
    Item,
    MappingTable,
    Outcome,
    Request,
    Unsupported,
)
from destinations.kit.paths import normal
from destinations.kit.tokens import Token
from destinations.marketo.fields import DEFAULTS

#: Records in one request, and its bytes ("1MB"; the smaller reading of it always holds).
#: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/marketo-integration-best-practices
RECORDS = 300
REQUEST_BYTES = 1_000_000

_encode = msgspec.json.Encoder().encode


class ActivityType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The custom activity that a track event of one name, in any case style, becomes.

    `type_id` is the activity type's; `primary` is the path in the properties
    of its primary attribute, the event's own name if left out; `attributes`
    are paths in the properties, each with the attribute's API name; `mapping`
    has expressions over the event by the attribute's API name.
    """

    type_id: int
    primary: str | None = None
    attributes: dict[str, str] = {}
    mapping: dict[str, str | bool | int | float] = {}


class Endpoints(msgspec.Struct, frozen=True):
    """The two calls of Marketo's REST API that carry events.

    `lookups` is the call of `leads` once more, for people whose id is wanted. `others` has both
    for people who are found by another field, which a request names once for all its records.
    """

    leads: Endpoint
    lookups: Endpoint
    activities: Endpoint
    others: Mapping[str, tuple[Endpoint, Endpoint]] = {}

    def people(self, field: str) -> tuple[Endpoint, Endpoint]:
        """The calls for people who are found by a field: to change them, and to look them up."""
        return self.others.get(field, (self.leads, self.lookups))

    def is_lookup(self, endpoint: Endpoint) -> bool:
        """Whether its answers are asked for people's ids."""
        return endpoint is self.lookups or any(endpoint is one for _, one in self.others.values())


class Key(msgspec.Struct, frozen=True):
    """What a person is found by: a field, and its value."""

    field: str
    value: str


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


def endpoints(
    base: str, lookup_field: str, others: Iterable[str] = (), partition: str | None = None
) -> Endpoints:
    """The calls at `base`, the scheme and host of the subscription.

    `others` are further fields that people are found by, `partition` is the one of new people.
    """
    into = b"" if partition is None else b'"partitionName":%b,' % _encode(partition)

    # https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/leads
    def leads(field: str) -> Endpoint:
        return Endpoint(
            f"{base}/rest/v1/leads.json",
            RECORDS,
            REQUEST_BYTES,
            opening=b'{"action":"createOrUpdate","lookupField":%b,%b"input":['
            % (_encode(field), into),
            closing=b"]}",
        )

    return Endpoints(
        leads=leads(lookup_field),
        lookups=leads(lookup_field),
        # https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/activities
        activities=Endpoint(
            f"{base}/rest/v1/activities/external.json",
            RECORDS,
            REQUEST_BYTES,
            opening=b'{"input":[',
            closing=b"]}",
        ),
        others={field: (leads(field), leads(field)) for field in others if field != lookup_field},
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
        *,
        mapping: FieldMapping | None = None,
        user_id_field: str | None = None,
        anonymous_id_field: str | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._lookup_field = lookup_field
        # By hand, since it is the older form of `mapping`, and settings that have it go on.
        self._fields = [(f"traits.{path}", field) for path, field in fields.items()]
        self._mapper = DEFAULTS.mapper(mapping or {})
        self._own = self._mapper.own("identify")
        self._user_id_field = user_id_field if lookup_field == "email" else lookup_field
        self._anonymous_id_field = anonymous_id_field
        table = MappingTable()
        self._activities = {
            name: (activity, table.mapper({"track": dict(activity.mapping)}))
            for name, activity in activities.items()
        }
        # Names in another case style; of several that are one so, the first by its characters.
        self._plain_names = {normal(name): name for name in sorted(activities, reverse=True)}

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
        if not isinstance(key, Key):
            return key
        record: dict[str, Any] = {}  # Any: JSON
        for field, value in self._mapper.fields(event).items():
            if field in self._own:
                record[field] = _value(value)
            elif not isinstance(value, (dict, list)) and value != "":
                record[field] = value  # nothing leaves a field as it is
        for path, field in self._fields:
            value = event.proxy(path)
            if value is not None:
                record[field] = _value(value)
        # What people are found by, here or the next time.
        email = event.user_email or event.email
        if email is not None and email.isascii():
            record["email"] = email
        if self._user_id_field is not None and event.user_id is not None:
            record[self._user_id_field] = event.user_id
        # Not the anonymous id: the visitor may be a person already, and two who have one id are
        # none that Marketo finds by it (1007).
        record[key.field] = key.value
        endpoint, _ = self._endpoints.people(key.field)
        return Item(endpoint, _encode(record), key.value.casefold())

    def _activity(self, event: Event) -> Activity | Outcome:
        name = event.event
        if name is None:
            return Unsupported()
        known = self._activities.get(name) or self._activities.get(
            self._plain_names.get(normal(name), "")
        )
        if known is None:
            return Unsupported()
        activity, mapper = known
        key = self._key(event)
        if not isinstance(key, Key):
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
        attributes = {
            api_name: value
            for path, api_name in activity.attributes.items()
            if (value := _property(event, path)) is not None
        }
        attributes |= {field: _value(value) for field, value in mapper.fields(event).items()}
        fields = {
            "activityDate": date,
            "activityTypeId": activity.type_id,
            "primaryAttributeValue": primary if isinstance(primary, str) else _text(primary),
            "attributes": [
                {"apiName": api_name, "value": value} for api_name, value in attributes.items()
            ],
        }
        _, endpoint = self._endpoints.people(key.field)
        person = Item(endpoint, _encode({key.field: key.value}))
        return Activity(person, f"{key.field}={key.value.casefold()}", fields)

    def _key(self, event: Event) -> Key | Outcome:
        """What the person is found by, by the table of this module."""
        email = None
        if self._lookup_field == "email":
            # A property may be a friend's address, and counts only where the user has none.
            email = event.user_email or event.email
            if email is not None and email.isascii():
                return Key("email", email)
        if self._user_id_field is not None and event.user_id is not None:
            return Key(self._user_id_field, event.user_id)
        if self._anonymous_id_field is not None and event.anonymous_id is not None:
            return Key(self._anonymous_id_field, event.anonymous_id)
        if email is not None:
            # A note in the documentation of the call, see `endpoints`.
            return Failed("Marketo takes e-mail addresses of ASCII characters only")
        return Unsupported()


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
