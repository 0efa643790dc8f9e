"""From Segment's events to Salesforce's records: Lead or Contact, Account, a custom object. Pure.

Owns the one call that carries records, the mapping of traits to standard
fields, and the request for a token. Must not send anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from destinations.kit import Endpoint, Event, Failed, Item, Outcome, Request, Unsupported
from destinations.kit.paths import normal
from destinations.kit.times import to_datetime
from destinations.kit.tokens import Token

#: Records in one request, see `endpoint`.
RECORDS = 200
#: Bytes in one request: the page of the call names no limit, and far more is taken elsewhere.
REQUEST_BYTES = 2 * 1024 * 1024

Person = Literal["Lead", "Contact"]

#: Where a trait has a standard field, by the trait's name without case, dashes and spaces.
#: https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_lead.htm
#: https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_contact.htm
#: https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_account.htm
_EITHER: Mapping[str, str] = {
    "firstname": "FirstName",
    "lastname": "LastName",
    "email": "Email",
    "phone": "Phone",
    "mobile": "MobilePhone",
    "mobilephone": "MobilePhone",
    "fax": "Fax",
    "title": "Title",
    "description": "Description",
    "leadsource": "LeadSource",
}
_TRAITS: Mapping[str, Mapping[str, str]] = {
    "Lead": {
        **_EITHER,
        "company": "Company",
        "website": "Website",
        "industry": "Industry",
        "employees": "NumberOfEmployees",
    },
    "Contact": {**_EITHER, "department": "Department"},
    "Account": {
        "name": "Name",
        "phone": "Phone",
        "fax": "Fax",
        "website": "Website",
        "industry": "Industry",
        "employees": "NumberOfEmployees",
        "description": "Description",
    },
}
#: What the fields of an object's address begin with.
_ADDRESS_PREFIX: Mapping[str, str] = {"Lead": "", "Contact": "Mailing", "Account": "Billing"}
#: The parts of the trait `address`; `region` and `zip` are other names that are met for them.
_ADDRESS: Mapping[str, str] = {
    "street": "Street",
    "city": "City",
    "state": "State",
    "region": "State",
    "postalcode": "PostalCode",
    "zip": "PostalCode",
    "country": "Country",
}

_encode = msgspec.json.Encoder().encode


class Session(Token, frozen=True):
    """A token, with the scheme and host of the org that it is for."""

    instance_url: str = ""


class TrackObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The custom object that track events become records of.

    `object` is its API name; `id_field` the external id that takes the event's
    message id, so that a repeat changes nothing; `fields` are paths in the
    event (`event`, `properties.total`), each with the API name of its field.
    """

    object: str
    id_field: str
    fields: dict[str, str]


def endpoint(api_version: str, object_name: str, id_field: str) -> Endpoint:
    """The upsert of up to 200 records of an object, each on its own (`allOrNone` false).

    The URL is a path: the host is known with the token only.
    https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-sobjects-collections-upsert.html
    """
    return Endpoint(
        f"/services/data/v{api_version}/composite/sobjects/{object_name}/{id_field}",
        RECORDS,
        REQUEST_BYTES,
        opening=b'{"allOrNone":false,"records":[',
        closing=b"]}",
    )


def token_request(
    login_url: str, client_id: str, client_secret: str | None, refresh_token: str | None
) -> Request:
    """Asks for an access token, by refresh token where there is one, else for the client itself.

    https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_refresh_token_flow.htm
    https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm
    """
    form = {
        "grant_type": "refresh_token" if refresh_token else "client_credentials",
        "client_id": client_id,
    }
    if client_secret:
        form["client_secret"] = client_secret
    if refresh_token:
        form["refresh_token"] = refresh_token
    return Request(
        f"{login_url}/services/oauth2/token",
        urlencode(form).encode(),
        {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
    )


def patch(request: Request) -> Request:
    """The request with the method of an upsert."""
    return Request(request.url, request.body, request.headers, "PATCH")


def authorized(request: Request, session: Session) -> Request:
    """The request at the org's own host, with the token in its header."""
    headers = {**request.headers, "Authorization": f"Bearer {session.value}"}
    return Request(session.instance_url + request.url, request.body, headers, request.method)


class _Object(msgspec.Struct, frozen=True):
    """An object, its call, and what of an event goes into it."""

    name: str
    id_field: str
    endpoint: Endpoint
    fields: list[tuple[str, str]]
    """Paths in the event, and fields."""


class Mapper:
    """The mapping for one connection. Holds settings only; each field map is path to field."""

    def __init__(
        self,
        api_version: str,
        person: tuple[Person, str, Mapping[str, str]],
        account: tuple[str, Mapping[str, str]] | None,
        track: TrackObject | None,
    ) -> None:
        def made(name: str, id_field: str, fields: Mapping[str, str], root: str) -> _Object:
            paths = [(root + path, field) for path, field in fields.items()]
            return _Object(name, id_field, endpoint(api_version, name, id_field), paths)

        self._person = made(*person, "traits.")
        self._account = made("Account", *account, "traits.") if account else None
        self._track = made(track.object, track.id_field, track.fields, "") if track else None

    def item(self, event: Event) -> Item | Outcome:
        """What an event becomes."""
        match event.type:
            case "identify":
                return self._identified(event)
            case "group":
                return self._grouped(event)
            case "track":
                return self._tracked(event)
            case _:
                return Unsupported()

    def _identified(self, event: Event) -> Item | Outcome:
        user_id = event.user_id
        if user_id is None:
            return Failed("the event has no userId: there is no record to find by it")
        record = _standard_fields(event, self._person.name)
        if "Email" not in record and (email := event.email) is not None:
            record["Email"] = email
        # The last name is required of either object, and a name of one word is one.
        if "LastName" not in record:
            last = event.last_name or (event.name if "FirstName" not in record else None)
            if last is not None:
                record["LastName"] = last
                if last != event.name and (first := event.first_name) is not None:
                    record.setdefault("FirstName", first)
        if self._person.name == "Contact":
            born = to_datetime(event.traits.get("birthday"))
            if born is not None:
                record["Birthdate"] = born.date().isoformat()
        return _item(self._person, user_id, record, event)

    def _grouped(self, event: Event) -> Item | Outcome:
        if self._account is None:
            return Unsupported()
        group_id = event.group_id
        if group_id is None:
            return Failed("the event has no groupId: there is no account to find by it")
        return _item(self._account, group_id, _standard_fields(event, "Account"), event)

    def _tracked(self, event: Event) -> Item | Outcome:
        if self._track is None or event.event is None:
            return Unsupported()
        message_id = event.message_id
        if message_id is None:
            return Failed("the event has no messageId: a repeat of it would make a second record")
        return _item(self._track, message_id, {}, event)


def _item(into: _Object, record_id: str, record: dict[str, Any], event: Event) -> Item:  # Any: JSON
    for path, field in into.fields:
        value = _time(event) if path == "timestamp" else event.proxy(path)
        if value is not None:
            # A field holds no objects and lists: their JSON text is the most that it can have.
            is_nested = isinstance(value, (dict, list))
            record[field] = _encode(value).decode() if is_nested else value
    record[into.id_field] = record_id
    body = _encode({"attributes": {"type": into.name}, **record})
    # External ids may be compared without case: two that differ in it only keep apart too.
    return Item(into.endpoint, body, record_id.casefold())


def _standard_fields(event: Event, object_name: str) -> dict[str, Any]:  # Any: JSON
    """The standard fields that traits name; a trait of null leaves its field as it is."""
    fields = _TRAITS[object_name]
    record: dict[str, Any] = {}  # Any: JSON
    for key, value in event.traits.items():
        name = normal(key)
        if name == "address":
            _add_address(record, value, _ADDRESS_PREFIX[object_name])
        elif (field := fields.get(name)) is not None:
            # Segment's spec has the user's company as an object with a name.
            said = value.get("name") if isinstance(value, dict) else value
            if isinstance(said, (str, int, float)) and said != "":
                record.setdefault(field, said)
    return record


def _add_address(record: dict[str, Any], address: Any, prefix: str) -> None:  # Any: JSON
    if isinstance(address, str) and address:
        record[f"{prefix}Street"] = address
    elif isinstance(address, dict):
        for part, value in address.items():
            field = _ADDRESS.get(normal(part))
            if field is not None and isinstance(value, (str, int, float)) and value != "":
                record[prefix + field] = value


def _time(event: Event) -> str | None:
    """The event's time as fields of type dateTime take it, in UTC.

    https://developer.salesforce.com/docs/platform/api-rest/guide/intro-valid-date-formats.html
    """
    at = event.timestamp
    if at is None:
        return None
    try:
        return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        return None  # a time of the first or last day that a datetime can hold
