"""Updates of Mixpanel's profiles, of users and groups: which values, and by which operations. Pure.

Owns the operations ($set, $set_once, $union, $append, $add); must not know where they are sent.
Each update has one operation, as all samples of the reference have:
https://docs.mixpanel.com/reference/profile-batch-update
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from destinations.kit import Event, amount
from destinations.kit.paths import find, normal
from destinations.mixpanel.fields import SET_ONCE, UNION

Update = dict[str, Any]  # Any: JSON


class Operations:
    """By which operation a property of a profile is changed: $set, unless settings say another.

    Names are the profile property's, or the trait's, in any case style.
    """

    def __init__(
        self, set_once: Iterable[str] = (), union: Iterable[str] = (), append: Iterable[str] = ()
    ) -> None:
        self._of: dict[str, str] = {}
        for operation, names in (
            ("$set_once", (*SET_ONCE, *set_once)),
            ("$union", (*UNION, *union)),
            ("$append", append),
        ):
            self._of.update(dict.fromkeys(map(normal, names), operation))

    def sorted(self, values: Mapping[str, Any]) -> dict[str, Update]:
        """The values of each operation; $set is always there, since it makes the profile."""
        found: dict[str, Update] = {"$set": {}}
        for name, value in values.items():
            operation = self._of.get(normal(name), "$set")
            if operation == "$union":
                value = value if isinstance(value, list) else [value]
            if value in (None, [], [None]) and operation in ("$union", "$append"):
                continue  # nothing to add, which is no reason to refuse the update
            found.setdefault(operation, {})[name] = value
        return found


class Counters:
    """What of a known user's tracks is counted on the profile.

    Each event that `events` name adds 1 to the property of that name, and sets "Last NAME" to its
    time; each property that `properties` name adds its number to the property of that name.
    https://docs.mixpanel.com/reference/profile-numerical-add
    """

    def __init__(self, events: Iterable[str] = (), properties: Iterable[str] = ()) -> None:
        self._events = {normal(name): name for name in events}
        self._properties = tuple(properties)
        self.is_empty = not (self._events or self._properties)

    def counted(self, event: Event, name: str) -> dict[str, int | float]:
        """What is added to the profile of the user of an event that is called so at Mixpanel."""
        found: dict[str, int | float] = {}
        for wanted in self._properties if event.type == "track" else ():
            number = amount(find(event.properties, wanted))
            if number is not None:
                found[wanted] = int(number) if number.is_integer() else number
        event_name = self._events.get(normal(name))
        if event_name is not None:
            found[event_name] = 1
        return found

    def last(self, name: str) -> str | None:
        """The property that gets the time of an event that is called so."""
        event_name = self._events.get(normal(name))
        return None if event_name is None else f"Last {event_name}"


def circumstances(event: Event) -> Update:
    """What an update of the event's user says beside its operation: place, and whether seen.

    Without an address Mixpanel would take ours for the user's; "0" tells it not to.
    https://docs.mixpanel.com/docs/tracking-best-practices/geolocation
    """
    said: Update = {"$ip": event.ip or "0"}
    if location := find(event.context, "location"):
        latitude, longitude = (amount(find(location, key)) for key in ("latitude", "longitude"))
        if latitude is not None and longitude is not None:
            said |= {"$latitude": latitude, "$longitude": longitude}
    if not event.is_active:
        # Else the profile's "Updated at" would say that the user was there.
        said["$ignore_time"] = True
    return said
