"""What Google Analytics takes as names and values, and what may not be sent to it. Pure.

Owns lengths, characters and reserved names. Must not know an event of any spec.
https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events#limitations
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference#reserved_names
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from destinations.kit import amount
from destinations.kit.paths import normal
from destinations.kit.products import currency_code

#: Events in one request, and bytes of its body: "must be smaller than 130kB".
EVENTS = 25
BODY_BYTES = 130_000 - 1
#: Parameters of an event. The page leaves open whether `items` counts, so it does here.
PARAMETERS = 25
USER_PROPERTIES = 25
#: Parameters of an item beside those that Google Analytics knows.
ITEM_PARAMETERS = 10
#: Elements of `items`:
#: https://developers.google.com/analytics/devguides/collection/ga4/ecommerce
ITEMS = 200
#: How far back an event may be dated.
AGE_H = 72

_NAME_CHARS = 40
_USER_NAME_CHARS = 24
_USER_VALUE_CHARS = 36
_VALUE_CHARS = 100
#: Parameters that may be longer: https://support.google.com/analytics/answer/9267744
_LONGER_CHARS: Mapping[str, int] = {
    "page_location": 1000,
    "page_referrer": 420,
    "page_title": 300,
}

#: Parameters that Google Analytics reads as numbers: a text would not be counted.
_AMOUNTS = frozenset(
    [
        *("value", "revenue", "total", "subtotal", "tax", "shipping", "discount"),
        *("price", "quantity", "engagement_time_msec"),
    ]
)

_RESERVED_EVENTS = frozenset(
    [
        "ad_activeview",
        "ad_click",
        "ad_exposure",
        "ad_query",
        "ad_reward",
        "adunit_exposure",
        "app_clear_data",
        "app_exception",
        "app_install",
        "app_remove",
        "app_store_refund",
        "app_update",
        "app_upgrade",
        "dynamic_link_app_open",
        "dynamic_link_app_update",
        "dynamic_link_first_open",
        "error",
        "firebase_campaign",
        "firebase_in_app_message_action",
        "firebase_in_app_message_dismiss",
        "firebase_in_app_message_impression",
        "first_open",
        "first_visit",
        "notification_dismiss",
        "notification_foreground",
        "notification_open",
        "notification_receive",
        "notification_send",
        "os_update",
        "session_start",
        "user_engagement",
    ]
)
#: Events that only app streams take.
_APP_EVENTS = frozenset({"ad_impression", "in_app_purchase", "screen_view"})
_RESERVED_PARAMETERS = frozenset({"firebase_conversion"})
_RESERVED_USER_PROPERTIES = frozenset(
    [
        "first_open_time",
        "first_visit_time",
        "last_deep_link_referrer",
        "user_id",
        "first_open_after_install",
    ]
)
#: The page names these for parameters and user properties; Google's other tools refuse events
#: with them too: https://firebase.google.com/docs/reference/android/com/google/firebase/analytics/FirebaseAnalytics.Event
_RESERVED_PREFIXES = ("firebase_", "ga_", "google_")

#: What tells who somebody is, by the key without case, dashes and spaces. Google's terms forbid it
#: in events and user properties: https://support.google.com/analytics/answer/6366371
_PERSONAL = frozenset(
    [
        "email",
        "emailaddress",
        "phone",
        "phonenumber",
        "mobile",
        "mobilephone",
        "firstname",
        "lastname",
        "middlename",
        "fullname",
        "username",
        "birthday",
        "birthdate",
        "dateofbirth",
        "street",
        "avatar",
    ]
)
#: The trait `name` is a person's, while the property is a product's or a page's.
_PERSONAL_TRAITS = _PERSONAL | {"name"}

_NOT_A_NAME = re.compile(r"\W+")
#: Characters of a sender's key that are looked at: what is remembered has to be bounded.
KEY_CHARS = 200

Value = str | int | float


class Key(NamedTuple):
    """A sender's key: without case and spaces, and as the parameter that it becomes, if any."""

    normal: str
    parameter: str | None


def name(text: str) -> str | None:
    """Text as the name of an event: letters, digits and underscores, a letter first; else None.

    At most 40 characters. Letters of any language are kept:
    https://support.google.com/analytics/answer/13316687
    """
    return _name(text[:KEY_CHARS])


def reserved(event_name: str, *, is_app: bool) -> bool:
    """Whether Google Analytics would drop an event for its name, without a word."""
    return (
        event_name in _RESERVED_EVENTS
        or event_name.startswith(_RESERVED_PREFIXES)
        or (not is_app and event_name in _APP_EVENTS)
    )


def key(text: str) -> Key:
    """A key of properties; no parameter where it is reserved or tells who somebody is."""
    return _key(text[:KEY_CHARS])


def value(parameter: str, given: Any) -> Value | None:  # Any: JSON
    """A value as a parameter's, cut to what it may hold; None for what is none, nested or null.

    A text that is an amount's is the number that it means, where it means one, and a currency's
    code is in capitals.
    """
    if isinstance(given, str):
        if parameter in _AMOUNTS and (number := amount(given)) is not None:
            return number
        if parameter == "currency" and (code := currency_code(given)) is not None:
            return code
        return given[: _LONGER_CHARS.get(parameter, _VALUE_CHARS)] or None
    return _number(given)


def text(parameter: str, given: Any) -> str | None:  # Any: JSON
    """The same as a text: of ids and names, which senders' databases may have made numbers of."""
    if isinstance(given, float) and given.is_integer() and abs(given) < 2**53:
        given = int(given)
    if isinstance(given, str):
        given = given.strip()
    elif isinstance(given, int) and abs(given) >= 2**64:
        return None  # no id, and beyond the digits that CPython converts
    found = value(parameter, given)
    return None if found is None else str(found)


def parameters(
    given: Mapping[str, Any],
    room: int,
    without: Container[str] = (),
    taken: Container[str] = (),
) -> dict[str, Value]:  # Any: JSON
    """A sender's fields as parameters, as many as there is room for.

    But for parameters `without`, and fields that are `taken` in plain form.
    """

    def name_of(text: str) -> str | None:
        plain, parameter = _key(text[:KEY_CHARS])
        return None if plain in taken or parameter in without else parameter

    return _collected(given, name_of, value, room)


def user_property(text: str) -> str | None:
    """A trait's key as a user property's name; None where it is reserved or tells who it is."""
    return _user_property(text[:KEY_CHARS])


def user_value(given: Any) -> Value | None:  # Any: JSON
    """A value as a user property's; None for what is none, nested or null."""
    return (given[:_USER_VALUE_CHARS] or None) if isinstance(given, str) else _number(given)


def user_properties(traits: Mapping[str, Any]) -> dict[str, Value]:  # Any: JSON
    """Traits as user properties: up to 25 that can be and may be; nested ones are left out."""
    return _collected(traits, user_property, lambda _, given: user_value(given), USER_PROPERTIES)


def _collected(
    given: Mapping[str, Any],
    name_of: Callable[[str], str | None],
    value_of: Callable[[str, Any], Value | None],
    room: int,
) -> dict[str, Value]:  # Any: JSON
    """Fields under names that may be had.

    Of two keys that become one name, the name itself counts, else the first by its characters; of
    too many names, the first. The order in which a sender's library writes keys decides nothing.
    """
    found: dict[str, Value] = {}
    keys: dict[str, str] = {}
    for own_key, own_value in given.items():
        own_name = name_of(own_key)
        if own_name is None:
            continue
        as_value = value_of(own_name, own_value)
        if as_value is None:
            continue
        other = keys.get(own_name)
        if other is not None and (other == own_name or (own_key != own_name and other < own_key)):
            continue
        keys[own_name] = own_key
        found[own_name] = as_value
    if len(found) <= room:
        return found
    return {own_name: found[own_name] for own_name in sorted(found)[:room]}


def _number(given: Any) -> Value | None:  # Any: JSON
    if isinstance(given, bool):
        # Parameters are texts or numbers; the page's own sample of a user property says "true".
        return "true" if given else "false"
    return given if isinstance(given, (int, float)) else None


@lru_cache(4096)
def _name(text: str) -> str | None:
    cleaned = _NOT_A_NAME.sub("_", text)
    for start, char in enumerate(cleaned):
        if char.isalpha():
            return cleaned[start : start + _NAME_CHARS].rstrip("_")
    return None


@lru_cache(4096)
def _key(text: str) -> Key:
    plain = normal(text)
    if plain in _PERSONAL or _is_reserved(text):
        return Key(plain, None)
    parameter = _name(text)
    if parameter is None or parameter in _RESERVED_PARAMETERS or _is_reserved(parameter):
        return Key(plain, None)
    return Key(plain, parameter)


@lru_cache(4096)
def _user_property(text: str) -> str | None:
    if normal(text) in _PERSONAL_TRAITS or _is_reserved(text):
        return None
    cut = _name(text)
    if cut is None or cut in _RESERVED_USER_PROPERTIES or _is_reserved(cut):
        return None
    return cut[:_USER_NAME_CHARS].rstrip("_")


def _is_reserved(text: str) -> bool:
    return text.startswith(_RESERVED_PREFIXES)
