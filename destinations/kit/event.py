"""An event as destinations see it: a read-only mapping with the facade's accessors.

Owns the decoding of an event, lazily and once, and the accessors' fall-backs,
which follow Segment's facade (https://github.com/segmentio/facade). Accessors
never raise: what is missing or of the wrong type is None, or an empty mapping.

Each `Event` decodes for itself, so what a destination does to a nested value
reaches no other connection and no other attempt. Nested values are plain dicts
and lists: freezing them would cost more than decoding them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from destinations.kit import commerce
from destinations.kit.paths import find, normal

#: As facade does, numbers below this are seconds, above it milliseconds since the epoch.
_MILLISECONDS_FROM = 31_557_600_000
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_decode = msgspec.json.Decoder().decode


class Event(Mapping[str, Any]):  # Any: decoded JSON
    """One event. `raw` is its JSON as it was stored."""

    __slots__ = ("_fields", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._fields: dict[str, Any] | None = None

    # --- mapping ---

    def __getitem__(self, key: str) -> Any:
        return self._decoded()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return f"<Event {self.type} {self.message_id}>"  # no content: it is customers' data

    def _decoded(self) -> dict[str, Any]:
        fields = self._fields
        if fields is None:
            try:
                decoded = _decode(self.raw)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                decoded = None  # intake stores JSON objects only; an event of nothing is harmless
            fields = self._fields = decoded if isinstance(decoded, dict) else {}
        return fields

    # --- lookup ---

    def proxy(self, path: str) -> Any:
        """The value at a dotted path in any case style (`properties.order.id`), else None.

        `traits`, `context` and `options` at its start mean what the accessors
        `traits` and `context` give.
        """
        head, dot, rest = path.partition(".")
        match head:
            case "traits":
                value: Any = self.traits
            case "context" | "options":
                value = self.context
            case _:
                return find(self._decoded(), path)
        return find(value, rest) if dot else value

    def options(self, destination: str) -> Mapping[str, Any]:
        """What the event's `integrations` object says to a destination, its name in any case."""
        wanted = normal(destination)
        for name, value in self.integrations.items():
            if normal(name) == wanted and isinstance(value, dict):
                return value
        return {}

    def _text(self, *paths: str) -> str | None:
        for path in paths:
            value = self.proxy(path)
            if isinstance(value, str) and (value := value.strip()):
                return value
        return None

    def _object(self, *paths: str) -> dict[str, Any]:
        for path in paths:
            value = find(self._decoded(), path)
            if isinstance(value, dict):
                return value
        return {}

    def _id(self, *paths: str) -> str | None:
        for path in paths:
            value = find(self._decoded(), path)
            if isinstance(value, str) and value:
                return value
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
        return None

    # --- who and what ---

    @property
    def type(self) -> str | None:
        """`identify`, `track`, `page`, `screen`, `group` or `alias`."""
        value = self._decoded().get("type")
        return value if isinstance(value, str) else None

    @property
    def message_id(self) -> str | None:
        """The event's own id."""
        return self._id("messageId")

    @property
    def user_id(self) -> str | None:
        """The user's id; numbers become text."""
        return self._id("userId")

    @property
    def anonymous_id(self) -> str | None:
        """The anonymous id, or what old SDKs call the session's."""
        return self._id("anonymousId", "sessionId")

    @property
    def group_id(self) -> str | None:
        """The group that the event is about, or that its user acts for."""
        return self._id("groupId", "context.groupId")

    @property
    def previous_id(self) -> str | None:
        """Of an alias: the id that is merged into `user_id`."""
        return self._id("previousId")

    @property
    def event(self) -> str | None:
        """Of a track: the name of what happened."""
        return self._text("event")

    @property
    def name(self) -> str | None:
        """Of a page or screen its name; else the user's or group's, or first and last together."""
        if self.type in ("page", "screen"):
            return self._text("name", "properties.name")
        name = self._text("traits.name")
        if name is not None:
            return name
        first, last = self._text("traits.firstName"), self._text("traits.lastName")
        return f"{first} {last}" if first and last else None

    @property
    def first_name(self) -> str | None:
        """The user's first name, or the first word of the name."""
        first = self._text("traits.firstName")
        if first is not None:
            return first
        name = self._text("traits.name")
        return name.split(" ", 1)[0] if name else None

    @property
    def last_name(self) -> str | None:
        """The user's last name, or what follows the first word of the name."""
        last = self._text("traits.lastName")
        if last is not None:
            return last
        name = self._text("traits.name")
        return (name.partition(" ")[2].strip() or None) if name else None

    @property
    def email(self) -> str | None:
        """The user's e-mail address; the user id, where it is one."""
        email = self._text("traits.email", "properties.email", "context.traits.email")
        if email is not None:
            return email
        user_id = self.user_id
        return user_id if user_id and _EMAIL.fullmatch(user_id) else None

    # --- objects ---

    @property
    def traits(self) -> Mapping[str, Any]:
        """The event's traits, else those of its context."""
        return self._object("traits", "context.traits")

    @property
    def properties(self) -> Mapping[str, Any]:
        """The event's properties."""
        return self._object("properties")

    @property
    def context(self) -> Mapping[str, Any]:
        """The event's context; `options` is what the oldest SDKs call it."""
        return self._object("context", "options")

    @property
    def integrations(self) -> Mapping[str, Any]:
        """The event's `integrations` object."""
        return self._object("integrations")

    # --- commerce: https://github.com/segmentio/facade/blob/master/lib/track.js ---

    @property
    def products(self) -> list[Any]:  # Any: decoded JSON
        """The products of an order or a list; what the sender put there, in any shape."""
        value = self.proxy("properties.products")
        return value if isinstance(value, list) else []

    @property
    def order_id(self) -> str | None:
        """The order's id; as in the facade, a property `id` comes before `order_id`."""
        return self._id("properties.id", "properties.order_id")

    @property
    def currency(self) -> str:
        """The currency's code as sent; USD where there is none."""
        return self._text("properties.currency") or "USD"

    @property
    def revenue(self) -> float | None:
        """What the event earned, in `currency`; of a completed order its total, if not given."""
        return commerce.revenue(self._object("properties"), self.event)

    @property
    def subtotal(self) -> float:
        """`total` without tax, shipping and discount, in `currency`; 0 if unknown."""
        return commerce.subtotal(self._object("properties"), self.event)

    # --- address: https://github.com/segmentio/facade/blob/master/lib/address.js ---

    @property
    def street(self) -> str | None:
        """The street, as the traits or properties have it."""
        return self._address("street")

    @property
    def city(self) -> str | None:
        """The city, as the traits or properties have it."""
        return self._address("city")

    @property
    def region(self) -> str | None:
        """The region, as the traits or properties have it."""
        return self._address("region")

    @property
    def state(self) -> str | None:
        """The state, as the traits or properties have it."""
        return self._address("state")

    @property
    def postal_code(self) -> str | None:
        """The postal code, under that name or as `zip`; numbers become text."""
        return self._address("postalCode", "zip")

    @property
    def country(self) -> str | None:
        """The country, as the traits or properties have it: a code or a name."""
        return self._address("country")

    def _address(self, *keys: str) -> str | None:
        for parts in (self.traits, self._object("properties")):
            for key in keys:
                for path in (f"address.{key}", key):
                    value = find(parts, path)
                    if isinstance(value, int) and not isinstance(value, bool):
                        return str(value)
                    if isinstance(value, str) and (value := value.strip()):
                        return value
        return None

    # --- circumstances ---

    @property
    def timestamp(self) -> datetime | None:
        """When it happened, corrected for the sender's clock; with a time zone."""
        return to_datetime(self._decoded().get("timestamp"))

    @property
    def received_at(self) -> datetime | None:
        """When the service took it."""
        return to_datetime(self._decoded().get("receivedAt"))

    @property
    def sent_at(self) -> datetime | None:
        """When it was sent, by the sender's clock."""
        return to_datetime(self._decoded().get("sentAt"))

    @property
    def original_timestamp(self) -> datetime | None:
        """When it happened, by the sender's clock."""
        return to_datetime(self._decoded().get("originalTimestamp"))

    @property
    def ip(self) -> str | None:
        """The user's address."""
        return self._text("context.ip")

    @property
    def user_agent(self) -> str | None:
        """The user's browser."""
        return self._text("context.userAgent")

    @property
    def locale(self) -> str | None:
        """The user's language and country."""
        return self._text("context.locale")

    @property
    def timezone(self) -> str | None:
        """The user's time zone, as the sender names it."""
        return self._text("context.timezone")

    @property
    def referrer(self) -> str | None:
        """The page that led to this one: https://github.com/segmentio/facade lib/track.js."""
        return self._text("context.referrer.url", "context.page.referrer", "properties.referrer")


def to_datetime(value: object) -> datetime | None:
    """A time from ISO 8601 text, or from seconds or milliseconds since the epoch; else None.

    Text without a time zone is UTC.
    """
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value.strip())
            return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            seconds = value if abs(value) < _MILLISECONDS_FROM else value / 1000
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None  # not a time that a datetime can hold
    return None
