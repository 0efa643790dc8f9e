"""From Segment's events to Mixpanel's. Pure.

| event | call | becomes |
| --- | --- | --- |
| track | `/import` | an event: context's fields, then properties, then fields of settings |
| of a completed order | `/import` | besides, an event "Product Purchased" for each product |
| that `increment_*` name, of a known user | `/engage` | besides, `$add`, once the event is there |
| page, screen | `/import` | the same as a track, called "Loaded a Page" or "Loaded a Screen" |
| identify | `/engage` | `$set` of fields and of all other traits; `$set_once`, `$union`, `$append` by settings |
| with user id and anonymous id, original ID merge | `/import` | besides, `$identify`, or `$merge` where the anonymous id is no UUID |
| group | `/groups` | `$set` |
| alias | `/track` | `$create_alias` |

Names follow Segment's Mixpanel destination, so that a project's reports go on:
https://www.twilio.com/docs/segment/connections/destinations/catalog/actions-mixpanel
The fields are those of `fields.py`. By hand are set what an event is and whose (`time`,
`$insert_id`, `distinct_id`, `$user_id`, `$device_id`), since nothing may change it, and the group,
since its name is a setting.
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from destinations.kit import (
    JSON_HEADERS,
    Endpoint,
    Event,
    Failed,
    FieldMapping,
    Item,
    LineItem,
    Outcome,
    Unsupported,
)
from destinations.kit.commerce import is_completed
from destinations.kit.lookup import plain_text
from destinations.kit.paths import find, normal
from destinations.kit.products import KNOWN
from destinations.mixpanel.fields import DEFAULTS
from destinations.mixpanel.others import Others
from destinations.mixpanel.profiles import Counters, Operations, Update, circumstances

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
#: Products of one order that get events of their own; Mixpanel takes no longer lists in one either.
PRODUCTS = 255

_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
#: What `$identify` takes as an anonymous id: https://docs.mixpanel.com/reference/create-identity
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.I)
#: What stands before the ids of devices where they are used as those of users.
_DEVICE = "$device:"

#: Traits of the context that have a reserved name on events, by their names in plain form.
_RESERVED: Mapping[str, str] = {
    "email": "$email",
    "firstname": "$first_name",
    "lastname": "$last_name",
    "name": "$name",
    "username": "$username",
    "phone": "$phone",
    "avatar": "$avatar",
}

_encode = msgspec.json.Encoder().encode
#: The same for equal objects, whatever the order of their keys.
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Endpoints(msgspec.Struct, frozen=True):
    """The calls of Mixpanel's ingestion API that are made.

    `merges` is the call of `imports` once more, for merges of ids travel alone: they may be refused
    where events are not.
    """

    imports: Endpoint
    merges: Endpoint
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

    # https://docs.mixpanel.com/reference/import-events
    def imports() -> Endpoint:
        return Endpoint(
            f"{base}/import?strict=1{project}",
            IMPORT_EVENTS,
            IMPORT_BYTES,
            {**JSON_HEADERS, "Accept": "application/json", "Authorization": f"Basic {credentials}"},
            gzip=True,
        )

    return Endpoints(
        imports=imports(),
        # https://docs.mixpanel.com/reference/identity-merge
        merges=imports(),
        # https://docs.mixpanel.com/reference/profile-batch-update; it does not take gzip
        engage=Endpoint(f"{base}/engage?verbose=1", UPDATES, IMPORT_BYTES),
        # https://docs.mixpanel.com/reference/group-batch-update
        groups=Endpoint(f"{base}/groups?verbose=1", UPDATES, IMPORT_BYTES),
        # https://docs.mixpanel.com/reference/identity-create-alias
        track=Endpoint(f"{base}/track?verbose=1", ALIASES, IMPORT_BYTES),
    )


class Several(msgspec.Struct, frozen=True):
    """What an event becomes, where that is more than one item.

    `first` and `more` may be sent twice, and count once. What is in `then` counts twice if it is
    sent twice, and waits until the others are there: of an event that is refused nothing counts.
    """

    first: Item
    more: tuple[Item, ...] = ()
    then: tuple[Item, ...] = ()


class Mapper:
    """The mapping for one project. Holds settings only."""

    def __init__(
        self,
        endpoints: Endpoints,
        token: str,
        group_key: str,
        *,
        page_names: bool = False,
        mapping: FieldMapping | None = None,
        custom_events: Literal["all", "none"] | Sequence[str] = "all",
        id_merge: Literal["simplified", "original"] = "simplified",
        product_events: bool = True,
        context_traits: bool = False,
        operations: Operations | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._token = token
        self._group_key = group_key
        self._page_names = page_names
        self._fields = DEFAULTS.mapper(mapping or {}, custom_events)
        self._others = {
            event_type: Others(mapping or {}, event_type) for event_type in ("identify", "group")
        } | {
            event_type: Others(mapping or {}, event_type, is_event=True)
            for event_type in ("track", "page", "screen")
        }
        self._merges_by_event = id_merge == "simplified"
        self._product_events = product_events
        self._context_traits = context_traits
        self._operations = operations or Operations()
        self._counters = counters or Counters()

    def item(self, event: Event) -> Item | Several | Outcome:
        """What an event becomes."""
        match event.type:
            case "track":
                return self._imported(event, event.event)
            case "page":
                return self._imported(event, self._page_name(event, "Page"))
            case "screen":
                return self._imported(event, self._page_name(event, "Screen"))
            case "identify":
                return self._identified(event)
            case "group":
                return self._group(event)
            case "alias":
                return self._alias(event)
            case _:
                return Unsupported()

    # --- events ---

    def _imported(self, event: Event, name: str | None) -> Item | Several | Outcome:
        at = event.timestamp or event.received_at
        if name is None:
            return Failed("the event has no name: Mixpanel needs one")
        if at is None:
            return Failed("the event has no valid timestamp: Mixpanel needs one")
        fields = self._event_fields(event)
        said = self._whose(event, at)
        properties = {**fields, **self._properties(event, fields), **said}
        item = self._event(name, properties, insert_id(event))
        if not isinstance(item, Item):
            return item
        products = self._products(event, name, fields, said)
        counts = self._counts(event, name, at)
        if not products and not counts:
            return item
        return Several(item, products, counts)

    def _event_fields(self, event: Event) -> Update:
        """The fields of an event beside its properties."""
        others = self._others[event.type or ""]
        found: Update = {}
        if self._context_traits:
            traits = event.user_traits
            found = {
                _RESERVED.get(normal(key), key): traits[key]
                for key in sorted(traits)
                if traits[key] is not None
            }
        for name, value in self._fields.fields(event).items():
            # The context's parts of the wrong type are senders' mistakes, and no use in a report.
            if not isinstance(value, (dict, list)) or name in others.own:
                found[name] = value
        group_id = plain_text(self._of_group(event.properties)) or event.group_id
        if group_id:
            found[self._group_key] = group_id
        return found

    def _properties(self, event: Event, fields: Update) -> Update:
        """The sender's properties, under their own names, but for those that settings map."""
        if not self._fields.passes_others(event):
            return {}
        others = self._others[event.type or ""]
        passed = others.passed(event.properties)
        if None in passed.values():
            # Null says nothing, so that it takes the place of nothing.
            passed = {k: v for k, v in passed.items() if v is not None or k not in fields}
        if others.own:
            passed |= {name: fields[name] for name in others.own if name in fields}
        return passed

    def _whose(self, event: Event, at: datetime) -> Update:
        """When an event happened, and to whom. After theirs: no property may move an event.

        https://docs.mixpanel.com/docs/tracking-methods/id-management
        """
        said: Update = {
            "time": int(at.timestamp() * 1000),
            "distinct_id": event.user_id or event.anonymous_id or "",
        }
        if event.user_id:
            said["$user_id"] = event.user_id
        if event.anonymous_id:
            said["$device_id"] = event.anonymous_id
        return said

    def _event(self, name: str, properties: Update, insert: str) -> Item | Failed:
        properties["$insert_id"] = insert
        body = _encode({"event": name, "properties": properties})
        if len(body) > EVENT_BYTES:
            return Failed(f"{len(body)} bytes: Mixpanel takes events of at most {EVENT_BYTES}")
        return Item(self._endpoints.imports, body)

    def _products(self, event: Event, name: str, fields: Update, said: Update) -> tuple[Item, ...]:
        """An event for each product of a completed order, with the product's own fields.

        As Segment's destination does; what is bought cannot be reported on inside of a list.
        """
        if not self._product_events or event.type != "track" or not is_completed(name):
            return ()
        order = {
            key: value
            for key in ("order_id", "checkout_id")
            if (value := find(event.properties, key)) is not None
        }
        if "order_id" not in order and event.order_id is not None:
            order["order_id"] = event.order_id  # under another of its names
        # What settings add is of the order: its value on each product would be counted each time.
        added = self._others["track"].added
        common = {key: value for key, value in fields.items() if key not in added}
        items = []
        for index, product in enumerate(event.line_items[:PRODUCTS]):
            properties = {**_product(product, event), **common, **said, **order}
            item = self._event(
                "Product Purchased", properties, insert_id(event, f"product {index}")
            )
            if isinstance(item, Item):
                items.append(item)  # none is larger than the order, which has fitted
        return tuple(items)

    def _counts(self, event: Event, name: str, at: datetime) -> tuple[Item, ...]:
        if self._counters.is_empty or not event.user_id:
            return ()
        counted = self._counters.counted(event, name)
        if not counted:
            return ()
        head = {"$token": self._token, "$distinct_id": event.user_id, "$ip": "0"}
        updates: list[Update] = [{**head, "$add": counted}]
        last, moment = self._counters.last(name), _iso(at)
        if last is not None and moment is not None:
            updates.append({**head, "$set": {last: moment}})
        return tuple(Item(self._endpoints.engage, _encode(update)) for update in updates)

    def _page_name(self, event: Event, kind: str) -> str:
        if self._page_names:
            names = [name for name in (event.category, event.name) if name]
            if names:
                return f"Viewed {' '.join(names)} {kind}"
        return f"Loaded a {kind}"

    # --- profiles ---

    def _identified(self, event: Event) -> Item | Several | Outcome:
        distinct_id = self._profile_id(event)
        if distinct_id is None:
            return Failed("the event has no userId and no anonymousId: there is no profile to set")
        head: Update = {
            "$token": self._token,
            "$distinct_id": distinct_id,
            **circumstances(event),
        }
        values = {
            **self._others["identify"].passed(event.traits),
            **self._fields.fields(event),
        }
        updated = self._updated(self._endpoints.engage, head, values)
        merged = self._merged(event)
        if merged is None or isinstance(updated, Failed):
            return updated
        if isinstance(merged, Failed):
            return merged
        if isinstance(updated, Item):
            return Several(updated, (merged,))
        return Several(updated.first, (*updated.more, merged), updated.then)

    def _profile_id(self, event: Event) -> str | None:
        """The distinct id that events of the user have.

        Projects with the simplified ID merge call anonymous users `$device:` and their device id;
        with the original one they are called by it alone.
        https://docs.mixpanel.com/docs/tracking-methods/id-management/identifying-users-simplified
        """
        anonymous_id = event.anonymous_id
        if event.user_id or not anonymous_id:
            return event.user_id
        if self._merges_by_event and not anonymous_id.startswith(_DEVICE):
            return f"{_DEVICE}{anonymous_id}"
        return anonymous_id

    def _merged(self, event: Event) -> Item | Failed | None:
        """Of the original ID merge: what makes one user of a user id and an anonymous id."""
        user_id, anonymous_id = event.user_id, event.anonymous_id
        if self._merges_by_event or not user_id or not anonymous_id or user_id == anonymous_id:
            return None
        at = event.timestamp or event.received_at
        if at is None:
            return Failed("the event has no valid timestamp: Mixpanel needs one")
        properties: Update = {
            "token": self._token,
            "time": int(at.timestamp() * 1000),
            "distinct_id": user_id,
            "$insert_id": insert_id(event, "merge"),
        }
        if _UUID.fullmatch(anonymous_id.removeprefix(_DEVICE)):
            # https://docs.mixpanel.com/reference/create-identity; it may go to /import as well
            properties |= {"$identified_id": user_id, "$anon_id": anonymous_id}
            body = _encode({"event": "$identify", "properties": properties})
        else:
            # https://docs.mixpanel.com/reference/identity-merge takes ids of any form
            properties["$distinct_ids"] = [user_id, anonymous_id]
            body = _encode({"event": "$merge", "properties": properties})
        return Item(self._endpoints.merges, body)

    def _group(self, event: Event) -> Item | Several | Outcome:
        group_id = plain_text(self._of_group(event.traits)) or event.group_id
        if group_id is None:
            return Failed("the event has no groupId: there is no group to set")
        key = self._group_key
        traits = {
            name: value
            for name, value in event.traits.items()
            if name != key and (key.startswith("$") or normal(name) != normal(key))
        }
        head: Update = {
            "$token": self._token,
            "$group_key": self._group_key,
            "$group_id": group_id,
        }
        values = {**self._others["group"].passed(traits), **self._fields.fields(event)}
        return self._updated(self._endpoints.groups, head, values)

    def _of_group(self, given: Mapping[str, Any]) -> Any:  # Any: JSON
        """The property or trait that is called like the group key.

        In any case style, but for reserved names: `group_id` may be anybody's.
        """
        key = self._group_key
        return given.get(key) if key.startswith("$") else find(given, key)

    def _updated(self, endpoint: Endpoint, head: Update, values: Update) -> Item | Several | Failed:
        """Updates of one profile, one an operation; what is appended is so once the rest is set."""
        first: list[Item] = []
        then: list[Item] = []
        for operation, changes in self._operations.sorted(values).items():
            if operation == "$append" and endpoint is self._endpoints.groups:
                operation, changes = "$union", {key: [value] for key, value in changes.items()}
            body = _encode({**head, operation: changes})
            if len(body) > UPDATE_BYTES:
                return Failed(
                    f"{len(body)} bytes: Mixpanel takes updates of at most {UPDATE_BYTES}"
                )
            (then if operation == "$append" else first).append(Item(endpoint, body))
        if len(first) == 1 and not then:
            return first[0]
        return Several(first[0], tuple(first[1:]), tuple(then))

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


def insert_id(event: Event, part: str = "") -> str:
    """What Mixpanel drops repeats by: the message id, or its hash where it does not fit.

    At most 36 letters, digits and dashes; equal events have equal ids, so that
    a retry is never counted twice. `part` tells those apart that are made of one event.
    """
    message_id = event.message_id
    if not part and message_id is not None and _INSERT_ID.fullmatch(message_id):
        return message_id
    try:
        material = (
            message_id.encode("utf-8", "surrogatepass")
            if message_id
            else _encode_sorted(dict(event.fields))
        )
    except (ValueError, RecursionError, OverflowError):
        material = event.raw
    return blake2b(material + part.encode(), digest_size=18).hexdigest()


def _product(product: LineItem, event: Event) -> dict[str, Any]:  # Any: JSON
    """A product's fields as sent; where it stands among an order's properties, its own of them."""
    if product.fields is not event.properties:
        return {key: value for key, value in product.fields.items() if value is not None}
    return {
        key: value
        for key, value in product.fields.items()
        if value is not None and normal(key) in KNOWN
    }


def _iso(at: datetime) -> str | None:
    try:
        return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except OverflowError:
        return None  # a time of the first or last day that a datetime can hold
