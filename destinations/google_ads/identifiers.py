"""Who converted: ids of ad clicks, and hashed addresses and phone numbers. Pure.

Owns where an event holds them, and how Google wants what it matches users by
normalised and hashed. Nothing of a person leaves here unhashed.
https://developers.google.com/google-ads/api/docs/conversions/upload-offline
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

from destinations.kit import Event
from destinations.kit.paths import find

#: What Google puts on an ad's landing page, the most telling first. The page of the API's error
#: GBRAID_WBRAID_BOTH_SET forbids two of them together, and Google's samples take exactly one:
#: https://github.com/googleads/google-ads-python/blob/main/examples/remarketing/upload_offline_conversion.py
CLICK_IDS = ("gclid", "gbraid", "wbraid")

#: Mail hosts that ignore dots before the @.
_DOTLESS = frozenset({"gmail.com", "googlemail.com"})
#: E.164: a plus sign, and up to 15 digits of which the first is no zero.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_NO_DIGITS = re.compile(r"[^0-9]")


def click_id(
    event: Event, options: Mapping[str, Any], traits: Mapping[str, Any]
) -> tuple[str, str] | None:  # Any: JSON
    """Name and value of the click's id: from options, properties, context, traits or a URL."""
    context = event.context
    page = context.get("page")
    properties = event.properties
    places = (options, properties, context, context.get("campaign"), traits)
    urls: list[Any] = [properties.get("url")]
    if isinstance(page, dict):
        urls += [page.get("url"), page.get("search")]
    queries = [query for url in urls if (query := _query(url))]
    for name in CLICK_IDS:
        for place in places:
            given = place.get(name) if isinstance(place, Mapping) else None
            if isinstance(given, str) and given.strip():
                return name, given.strip()
        for query in queries:
            if name in query:
                return name, query[name][0]
    return None


def user_identifiers(event: Event, traits: Mapping[str, Any]) -> list[dict[str, str]]:  # Any: JSON
    """The user's address and phone number, hashed; each on its own, as the API wants it.

    https://developers.google.com/google-ads/api/reference/rpc/latest/UserIdentifier
    """
    found = []
    address = event.email
    if address is not None and (normal := normal_email(address)) is not None:
        found.append({"hashedEmail": _hashed(normal)})
    for place in (traits, event.properties):
        given = find(place, "phone")
        number = normal_phone(given) if isinstance(given, str) else None
        if number is not None:
            found.append({"hashedPhoneNumber": _hashed(number)})
            break
    return found


def normal_email(address: str) -> str | None:
    """An address without blanks around it, in small letters; of Gmail's without dots before the @.

    None where it is none. Samples of Google's also drop the dots and plus signs
    of all other hosts' addresses; the documentation does not.
    """
    local, at, host = address.strip().lower().rpartition("@")
    if not (local and at and host):
        return None
    return f"{local.replace('.', '') if host in _DOTLESS else local}@{host}"


def normal_phone(number: str) -> str | None:
    """A phone number as E.164; None without its country, which nothing here could tell."""
    number = number.strip()
    if number.startswith("00"):
        number = f"+{number[2:]}"
    if not number.startswith("+"):
        return None
    plain = f"+{_NO_DIGITS.sub('', number)}"
    return plain if _E164.fullmatch(plain) else None


def _hashed(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _query(url: Any) -> dict[str, list[str]]:  # Any: JSON
    """The query of a URL, where it may hold an id."""
    if not isinstance(url, str) or ("clid=" not in url and "braid=" not in url):
        return {}
    try:
        return parse_qs(url.partition("?")[2].partition("#")[0], max_num_fields=200)
    except ValueError:
        return {}  # too many fields to be a landing page's
