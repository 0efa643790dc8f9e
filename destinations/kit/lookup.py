"""How values are found in an event: decoding, paths in any case style, traits and where they live.

Owns the decoding, lazily and once, and the rules that all accessors share.
Never raises: what is missing or of the wrong type is None, or an empty mapping.

Each event decodes for itself, so what a destination does to a nested value
reaches no other connection and no other attempt. Nested values are plain dicts
and lists: freezing them would cost more than decoding them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from destinations.kit.paths import find, normal, plain_keys

_decode = msgspec.json.Decoder().decode


class Lookup(Mapping[str, Any]):  # Any: decoded JSON
    """An event's JSON as a read-only mapping. `raw` is the JSON as it was stored."""

    __slots__ = ("_fields", "_places", "_plain_properties", "_properties", "_traits", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._fields: dict[str, Any] | None = None
        self._properties: dict[str, Any] | None = None
        #: Where traits are looked for, each object with its plain keys; see `trait`.
        self._traits: list[tuple[Mapping[str, Any], dict[str, Any]]] | None = None
        #: Where parts of an address are looked for: traits, and properties. `person.py` fills it.
        self._places: tuple[list[dict[str, Any]], list[dict[str, Any]]] | None = None
        self._plain_properties: dict[str, Any] | None = None

    # --- mapping ---

    def __getitem__(self, key: str) -> Any:
        return self._decoded()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default; faster than what Mapping would do."""
        return self._decoded().get(key, default)

    def _decoded(self) -> dict[str, Any]:
        fields = self._fields
        if fields is None:
            try:
                decoded = _decode(self.raw)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                decoded = None  # intake stores JSON objects only; an event of nothing is harmless
            fields = self._fields = decoded if isinstance(decoded, dict) else {}
        return fields

    # --- objects ---

    @property
    def fields(self) -> Mapping[str, Any]:
        """The whole event."""
        return self._decoded()

    @property
    def type(self) -> str | None:
        """`identify`, `track`, `page`, `screen`, `group` or `alias`."""
        value = self._decoded().get("type")
        return value if isinstance(value, str) else None

    @property
    def traits(self) -> Mapping[str, Any]:
        """The event's traits, else those of its context, which are always the user's.

        A group's are the group's own, or what the oldest SDKs call its properties.
        """
        fields = self._decoded()
        own = fields.get("traits")
        if isinstance(own, dict) and own:
            return own
        return self.properties if fields.get("type") == "group" else self.user_traits

    @property
    def user_traits(self) -> Mapping[str, Any]:
        """The traits of the event's context: the user's, whatever the event is about."""
        value = self.context.get("traits")
        return value if isinstance(value, dict) else {}

    @property
    def properties(self) -> Mapping[str, Any]:
        """The event's properties; of a page or screen with its name and category.

        All server SDKs put those two beside the properties, browsers into both. As in the facade,
        what stands beside them counts (https://github.com/segmentio/facade lib/page.js).
        """
        found = self._properties
        if found is None:
            fields = self._decoded()
            value = fields.get("properties")
            found = value if isinstance(value, dict) else {}
            if fields.get("type") in ("page", "screen"):
                beside = {
                    key: text.strip()
                    for key in ("name", "category")
                    if isinstance(text := find(fields, key), str) and text.strip()
                }
                found = {**found, **beside}
            self._properties = found
        return found

    @property
    def plain_properties(self) -> Mapping[str, Any]:
        """The properties by their keys in plain form (`kit.paths.plain_keys`), without nulls.

        For who asks for many: each key is made plain once an event.
        """
        found = self._plain_properties
        if found is None:
            found = self._plain_properties = plain_keys(self.properties)
        return found

    @property
    def context(self) -> Mapping[str, Any]:
        """The event's context; `options` is what the oldest SDKs call it."""
        fields = self._decoded()
        value = fields.get("context")
        if not isinstance(value, dict):
            value = fields.get("options")
        return value if isinstance(value, dict) else {}

    @property
    def integrations(self) -> Mapping[str, Any]:
        """The event's `integrations` object."""
        value = self._decoded().get("integrations")
        return value if isinstance(value, dict) else {}

    # --- paths ---

    def proxy(self, path: str) -> Any:
        """The value at a dotted path in any case style (`properties.order.id`), else None.

        `traits`, `properties`, `context` and `options` at its start mean what
        the accessors `traits`, `properties` and `context` give.
        """
        head, dot, rest = path.partition(".")
        match normal(head):
            case "traits":
                value: Any = self.traits
            case "context" | "options":
                value = self.context
            case "properties":
                value = self.properties
            case _:
                return find(self._decoded(), path)
        return find(value, rest) if dot else value

    def trait(self, path: str) -> Any:
        """The value at a path in the traits, else in those of the context, but for a group."""
        places = self._traits
        if places is None:
            traits = self.traits
            wholes = [traits]
            if self._decoded().get("type") != "group":
                users = self.user_traits
                if users is not traits:
                    wholes.append(users)
            # Most accessors ask for traits, and most of those are not there.
            places = self._traits = [(one, plain_keys(one)) for one in wholes if one]
        name = "" if "." in path else normal(path)
        for whole, plain in places:
            value = whole.get(path)
            if value is None:
                value = plain.get(name) if name else find(whole, path)
            if value is not None:
                return value
        return None

    def _trait_text(self, *paths: str) -> str | None:
        return _first_text(self.trait, paths)

    def _property_text(self, *paths: str) -> str | None:
        properties = self.properties
        return _first_text(lambda path: find(properties, path), paths) if properties else None

    def _context_text(self, *paths: str) -> str | None:
        context = self.context
        return _first_text(lambda path: find(context, path), paths) if context else None

    def _id(self, *paths: str) -> str | None:
        fields = self._decoded()
        for path in paths:
            value = plain_text(find(fields, path))
            if value:
                return value
        return None


def plain_text(value: object) -> str | None:
    """Text as it is, and whole numbers as text; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return _digits(value)
    return None


def _digits(number: int) -> str | None:
    try:
        return str(number)
    except ValueError:
        return None  # beyond the digits that CPython converts


# Any: decoded JSON
def _first_text(look: Callable[[str], Any], paths: tuple[str, ...]) -> str | None:
    for path in paths:
        text = plain_text(look(path))
        if text is not None and (text := text.strip()):
            return text
    return None
