"""From Segment's events to Mixpanel's. Pure.

Names follow Segment's Mixpanel destination, so that a project's reports go on:
https://segment.com/docs/connections/destinations/catalog/actions-mixpanel/
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import msgspec

from destinations.kit import JSON_HEADERS, Endpoint, Event, Failed, Item, Outcome, Unsupported
from destinations.kit.paths import normal

#: Limits of one `/import` request, the body uncompressed. The reference has said 2 MB and says
#: 10 MB now, while its sample of a 413 still names 2 097 152 bytes: the smaller one always holds.
IMPORT_EVENTS = 2000
IMPORT_BYTES = 2 * 1024 * 1024
#: One event may have 1 MB: https://docs.mixpanel.com/troubleshooting/errors/413-payload-too-large
EVENT_BYTES = 1024 * 1024
#: Updates of profiles in one request, and bytes of one of them; the pages of users and groups are
#: alike: https://docs.mixpanel.com/reference/user-profile-limits
UPDATES = 2000
UPDATE_BYTES = 1024 * 1024
#: Aliases in one request: no page limits them, and this is what Mixpanel's own libraries send.
ALIASES = 50

_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}")

#: Where a trait of Segment's has a reserved name in Mixpanel, by the trait's name in plain form.
#: https://docs.mixpanel.com/docs/data-structure/user-profiles#reserved-user-properties
_USER_TRAITS: Mapping[str, str] = {
    "created": "$created",
    "createdat": "$created",
    "email": "$email",
    "firstname": "$first_name",
    "lastname": "$last_name",
    "name": "$name",
    "username": "$username",
    "phone": "$phone",
    "avatar": "$avatar",
}
_GROUP_TRAITS: Mapping[str, str] = {"name": "$name"}

#: What of the context becomes a property.
#: https://docs.mixpanel.com/docs/data-structure/property-reference/default-properties
_CONTEXT: Mapping[str, str] = {
    "ip": "ip",
    "page.url": "$current_url",
    "page.referrer": "$referrer",
    "os.name": "$os",
    "os.version": "$os_version",
    "app.name": "$app_name",
    "app.version": "$app_version_string",
    "app.build": "$app_build_number",
    "app.namespace": "$app_namespace",
    "device.manufacturer": "$manufacturer",
    "device.model": "$model",
    "network.carrier": "$carrier",
    "network.wifi": "$wifi",
    "screen.width": "$screen_width",
    "screen.height": "$screen_height",
    "campaign.source": "utm_source",
    "campaign.medium": "utm_medium",
    "campaign.name": "utm_campaign",
    "campaign.term": "utm_term",
    "campaign.content": "utm_content",
}
_CONTEXT_PATHS = tuple((path.split("."), name) for path, name in _CONTEXT.items())

_encode = msgspec.json.Encoder().encode


class Endpoints(msgspec.Struct, frozen=True):
    """The four calls of Mixpanel's ingestion API that are made."""

    imports: Endpoint
    engage: Endpoint
    groups: Endpoint
    track: Endpoint


def endpoints(
    base: str, token: str, project_id: str | None, account: tuple[str, str] | None
) -> Endpoints:
    """The endpoints of a project; `account` is a service account's user name and secret."""
    user, password = account or (token, "")
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    project = f"&project_id={quote(project_id, safe='')}" if account and project_id else ""
    return Endpoints(
        # https://docs.mixpanel.com/reference/import-events
        imports=Endpoint(
            f"{base}/import?strict=1{project}",
            IMPORT_EVENTS,
            IMPORT_BYTES,
            {**JSON_HEADERS, "Accept": "application/json", "Authorization": f"Basic {credentials}"},
            gzip=True,
        ),
        # https://docs.mixpanel.com/reference/profile-batch-update; it does not take gzip
        engage=Endpoint(f"{base}/engage?verbose=1", UPDATES, IMPORT_BYTES),
        # https://docs.mixpanel.com/reference/group-batch-update
        groups=Endpoint(f"{base}/groups?verbose=1", UPDATES, IMPORT_BYTES),
        # https://docs.mixpanel.com/reference/identity-create-alias
        track=Endpoint(f"{base}/track?verbose=1", ALIASES, IMPORT_BYTES),
    )


class Mapper:
    """The mapping for one project. Holds settings only."""

    def __init__(
        self, endpoints: Endpoints, token: str, group_key: str, *, page_names: bool
    ) -> None:
        self._endpoints = endpoints
        self._token = token
        self._group_key = group_key
        self._page_names = page_names

    def item(self, event: Event) -> Item | Outcome:
        """What an event becomes."""
        match event.type:
            case "track":
                return self._imported(event, event.event)
            case "page":
                return self._imported(event, self._page_name(event, "Page"))
            case "screen":
                return self._imported(event, self._page_name(event, "Screen"))
            case "identify":
                return self._profile(event)
            case "group":
                return self._group(event)
            case "alias":
                return self._alias(event)
            case _:
                return Unsupported()

    def _imported(self, event: Event, name: str | None) -> Item | Outcome:
        at = event.timestamp or event.received_at
        if name is None:
            return Failed("the event has no name: Mixpanel needs one")
        if at is None:
            return Failed("the event has no valid timestamp: Mixpanel needs one")
        properties = self._context_properties(event)
        properties.update(event.properties)
        # Ours after theirs: a property called "time" must not move the event.
        properties["time"] = int(at.timestamp() * 1000)
        properties["distinct_id"] = event.user_id or event.anonymous_id or ""
        properties["$insert_id"] = insert_id(event)
        # https://docs.mixpanel.com/docs/tracking-methods/id-management
        if event.user_id:
            properties["$user_id"] = event.user_id
        if event.anonymous_id:
            properties["$device_id"] = event.anonymous_id
        body = _encode({"event": name, "properties": properties})
        if len(body) > EVENT_BYTES:
            return Failed(f"{len(body)} bytes: Mixpanel takes events of at most {EVENT_BYTES}")
        return Item(self._endpoints.imports, body)

    def _context_properties(self, event: Event) -> dict[str, Any]:
        found: dict[str, Any] = {}  # Any: JSON
        context = event.context
        for path, name in _CONTEXT_PATHS:
            value: Any = context
            for key in path:
                value = value.get(key) if isinstance(value, Mapping) else None
            if isinstance(value, (str, int, float)):
                found[name] = value
        if event.group_id:
            found[self._group_key] = event.group_id
        return found

    def _page_name(self, event: Event, kind: str) -> str:
        if self._page_names:
            category = event.proxy("category") or event.proxy("properties.category")
            names = [name for name in (category, event.name) if isinstance(name, str) and name]
            if names:
                return f"Viewed {' '.join(names)} {kind}"
        return f"Loaded a {kind}"

    def _profile(self, event: Event) -> Item | Outcome:
        distinct_id = event.user_id or event.anonymous_id
        if distinct_id is None:
            return Failed("the event has no userId and no anonymousId: there is no profile to set")
        update: dict[str, Any] = {  # Any: JSON
            "$token": self._token,
            "$distinct_id": distinct_id,
            # Without an address Mixpanel would take ours for the user's, says
            # https://docs.mixpanel.com/docs/tracking-best-practices/geolocation; that "0" tells it
            # not to is what its client libraries send, and on no page that is there now.
            "$ip": event.ip or "0",
            "$set": _user(event),
        }
        return _update(self._endpoints.engage, update)

    def _group(self, event: Event) -> Item | Outcome:
        named = event.traits.get(self._group_key)
        group_id = str(named) if isinstance(named, (str, int)) and named else event.group_id
        if group_id is None:
            return Failed("the event has no groupId: there is no group to set")
        traits = {key: value for key, value in event.traits.items() if key != self._group_key}
        update: dict[str, Any] = {  # Any: JSON
            "$token": self._token,
            "$group_key": self._group_key,
            "$group_id": group_id,
            "$set": _renamed(traits, _GROUP_TRAITS),
        }
        return _update(self._endpoints.groups, update)

    def _alias(self, event: Event) -> Item | Outcome:
        if event.user_id is None or event.previous_id is None:
            return Failed("the event has no userId or no previousId: there is nothing to merge")
        properties = {
            "distinct_id": event.previous_id,
            "alias": event.user_id,
            "token": self._token,
        }
        body = _encode({"event": "$create_alias", "properties": properties})
        return Item(self._endpoints.track, body)


def _update(endpoint: Endpoint, update: dict[str, Any]) -> Item | Outcome:  # Any: JSON
    body = _encode(update)
    if len(body) > UPDATE_BYTES:
        return Failed(f"{len(body)} bytes: Mixpanel takes updates of at most {UPDATE_BYTES}")
    return Item(endpoint, body)


def insert_id(event: Event) -> str:
    """What Mixpanel drops repeats by: the message id, or its hash where it does not fit.

    At most 36 letters, digits and dashes; equal events have equal ids, so that
    a retry is never counted twice.
    """
    message_id = event.message_id
    if message_id is not None and _INSERT_ID.fullmatch(message_id):
        return message_id
    material = message_id.encode("utf-8", "surrogatepass") if message_id else event.raw
    return blake2b(material, digest_size=18).hexdigest()


def _user(event: Event) -> dict[str, Any]:  # Any: JSON
    """A user's traits; a missing name is made of first and last, the time is ISO 8601."""
    traits = _renamed(event.traits, _USER_TRAITS)
    if "$name" not in traits and (name := event.name) is not None:
        traits["$name"] = name
    if "$created" in traits and (created := event.created) is not None:
        traits["$created"] = _iso(created) or traits["$created"]
    return traits


def _renamed(traits: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:  # Any: JSON
    return {names.get(normal(key), key): value for key, value in traits.items()}


def _iso(at: datetime) -> str | None:
    try:
        return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except OverflowError:
        return None  # a time of the first or last day that a datetime can hold
