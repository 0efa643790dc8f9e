"""An event as destinations see it: a read-only mapping with the facade's accessors.

Owns what an event says of itself and of destinations. `lookup.py` finds values,
`person.py`, `order.py` and `circumstances.py` have the other accessors; their
fall-backs follow Segment's facade (https://github.com/segmentio/facade).
Accessors never raise: what is missing or of the wrong type is None, or an empty
mapping or list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from destinations.kit.circumstances import Circumstances
from destinations.kit.lookup import plain_text
from destinations.kit.order import Order
from destinations.kit.paths import find, normal
from destinations.kit.person import Person


class Event(Person, Order, Circumstances):
    """One event. `raw` is its JSON as it was stored."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Event {self.type} {self.message_id}>"  # no content: it is customers' data

    @property
    def message_id(self) -> str | None:
        """The event's own id."""
        return self._id("messageId")

    @property
    def event(self) -> str | None:
        """Of a track: the name of what happened."""
        value = plain_text(find(self._decoded(), "event"))
        return (value.strip() or None) if value else None

    @property
    def full_name(self) -> str | None:
        """Of a page or screen its category and name, as far as there is a name."""
        if self.type not in ("page", "screen"):
            return None
        name, category = self.name, self.category
        return f"{category} {name}" if name and category else name

    def renamed(self, name: str) -> Self:
        """The same event under another name, where settings say what events of own names mean.

        `raw` stays what was stored.
        """
        other = type(self)(self.raw)
        other._fields = {**self._decoded(), "event": name}
        return other

    # https://segment.com/docs/connections/spec/common/#integrations

    def options(self, *destinations: str) -> Mapping[str, Any]:  # Any: decoded JSON
        """What the event's `integrations` object says to a destination, by any of its names.

        Names are taken in any case style, the first one with options wins.
        """
        integrations = self.integrations
        for destination in destinations if integrations else ():
            wanted = normal(destination)
            for name, value in integrations.items():
                if normal(name) == wanted and isinstance(value, dict):
                    return value
        return {}

    def enabled(self, *destinations: str) -> bool:
        """Whether `integrations` lets the event go to a destination, by any of its names.

        One name with `false` is enough to exclude it, with `true` or an object
        to include it; else `All` decides, which is true by default. The service
        has asked this already before it hands an event to a destination.
        """
        wanted = {normal(destination) for destination in destinations}
        said: bool | None = None
        every = True
        for name, value in self.integrations.items():
            if not isinstance(value, (bool, dict)):
                continue  # null, numbers, text: senders' mistakes say nothing
            is_wanted = value is not False
            plain = normal(name)
            if plain in wanted:
                said = is_wanted and said is not False
            elif plain == "all":
                every = every and is_wanted
        return every if said is None else said
