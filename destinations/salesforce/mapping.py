"""From Segment's events to Salesforce's records: Lead or Contact, Account, other objects. Pure.

Owns the one call that carries records, which record an event becomes, and the request for a token;
`fields.py` says from what each field is. Must not send anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urlencode

import msgspec

from destinations.kit import (
    Endpoint,
    Event,
    Failed,
    FieldMapper,
    FieldMapping,
    Item,
    MappingTable,
    Outcome,
    Request,
    Unsupported,
)
from destinations.kit.mapping import CustomEvents, Expression, text_of
from destinations.kit.paths import normal
from destinations.kit.tokens import Token
from destinations.salesforce.fields import ACCOUNT, OF_PEOPLE, Fields

#: Records in one request, see `endpoint`.
RECORDS = 200
#: Bytes in one request: the page of the call names no limit, and far more is taken elsewhere.
REQUEST_BYTES = 2 * 1024 * 1024

_encode = msgspec.json.Encoder().encode


class Session(Token, frozen=True):
    """A token, with the scheme and host of the org that it is for.

    `refresh_token` is there where the app's policy rotates them: the one before is spent then.
    """

    instance_url: str = ""
    refresh_token: str | None = None


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


class RecordRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events that become records of an object of their own.

    A rule is for events of its `type`, of a track for those in `events` if it
    names some, in any case style. `id` is an expression for what the external id field `id_field`
    of the `object` holds; an event without one is for the next rule. `fields`
    are expressions by field.
    """

    type: Literal["identify", "group", "track"]
    object: str
    id_field: str
    id: str
    fields: dict[str, Expression] = {}
    events: list[str] = []


class _Object(msgspec.Struct, frozen=True):
    """An object, its call, and what of an event goes into it."""

    name: str
    id_field: str
    endpoint: Endpoint
    fields: Fields


class _Rule(msgspec.Struct, frozen=True):
    """A rule, compiled."""

    into: _Object
    names: frozenset[str]
    """Of events, in plain form; none means all."""
    ids: FieldMapper


class Mapper:
    """The mapping for one connection. Holds settings only."""

    def __init__(
        self,
        api_version: str,
        person: tuple[str, str, Mapping[str, str]],
        account: tuple[str, Mapping[str, str]] | None,
        track: TrackObject | None,
        mapping: FieldMapping | None = None,
        custom_events: CustomEvents = "all",
        records: Sequence[RecordRule] = (),
    ) -> None:
        mapping = mapping or {}
        endpoints: dict[tuple[str, str], Endpoint] = {}

        def made(name: str, id_field: str, fields: Fields) -> _Object:
            # Records of an object share requests, whatever event they are of.
            place = name, id_field
            if place not in endpoints:
                endpoints[place] = endpoint(api_version, name, id_field)
            return _Object(name, id_field, endpoints[place], fields)

        name, id_field, paths = person
        defaults = OF_PEOPLE.get(name, {})
        of_person = Fields("identify", defaults, mapping, paths, "traits")
        self._person = made(name, id_field, of_person)
        self._account = self._track = None
        if account is not None:
            id_field, paths = account
            of_account = Fields("group", ACCOUNT, mapping, paths, "traits")
            self._account = made("Account", id_field, of_account)
        if track is not None:
            of_track = Fields("track", {}, mapping, track.fields, custom_events=custom_events)
            self._track = made(track.object, track.id_field, of_track)
        self._rules: dict[str, list[_Rule]] = {}
        for rule in records:
            into = made(rule.object, rule.id_field, Fields(rule.type, {}, dict(rule.fields)))
            ids = MappingTable().mapper({"id": rule.id})
            self._rules.setdefault(rule.type, []).append(
                _Rule(into, frozenset(map(normal, rule.events)), ids)
            )

    def item(self, event: Event) -> Item | Outcome:
        """What an event becomes: what the first rule for it says, else its type's record."""
        for rule in self._rules.get(event.type or "", ()):
            if rule.names and normal(event.event or "") not in rule.names:
                continue
            record_id = (text_of(rule.ids.fields(event).get("id")) or "").strip()
            if record_id:
                return _item(rule.into, record_id, event)
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
        return _item(self._person, user_id, event)

    def _grouped(self, event: Event) -> Item | Outcome:
        if self._account is None:
            return Unsupported()
        group_id = event.group_id
        if group_id is None:
            return Failed("the event has no groupId: there is no account to find by it")
        return _item(self._account, group_id, event)

    def _tracked(self, event: Event) -> Item | Outcome:
        if self._track is None or event.event is None:
            return Unsupported()
        message_id = event.message_id
        if message_id is None:
            return Failed("the event has no messageId: a repeat of it would make a second record")
        return _item(self._track, message_id, event)


def _item(into: _Object, record_id: str, event: Event) -> Item:
    record = into.fields.of(event)
    record[into.id_field] = record_id
    body = _encode({"attributes": {"type": into.name}, **record})
    # External ids may be compared without case: two that differ in it only keep apart too.
    return Item(into.endpoint, body, record_id.casefold())


def completed(item: Item, missing: Sequence[str], values: Mapping[str, str]) -> Item:
    """The item of a record that Salesforce did not make, with these values in missing fields."""
    record = msgspec.json.decode(item.body)
    return Item(
        item.endpoint, _encode({**record, **{field: values[field] for field in missing}}), item.key
    )
