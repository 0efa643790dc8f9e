"""Who converted: ids of ad clicks, and hashed addresses and phone numbers. Pure.

Owns where an event holds a click's id, and how Google wants what it matches users by normalised and
hashed. Of a person nothing leaves here unhashed but a caller's number, and city, state, postal code
and country of an enhancement, which Google takes as they are.
https://developers.google.com/google-ads/api/docs/conversions/upload-offline

| a phone number | with `default_country_code` 49 | without |
| --- | --- | --- |
| `+49 (0) 228 12-34`, `0049 228 1234`, `tel:+492281234` | `+492281234` | the same |
| `0228 1234`, `228 1234` | `+492281234` | none: nothing here could tell the country |
| `+1 (800) 555-0102 ext. 7` | `+18005550102` | the same |
| 64 hexadecimal digits: hashed already | as it is | as it is |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from destinations.kit import Event
from destinations.kit.hashing import hashed, is_hashed
from destinations.kit.lookup import plain_text
from destinations.kit.paths import plain_keys

#: What Google puts on an ad's landing page, the most telling first. The page of the API's error
#: GBRAID_WBRAID_BOTH_SET forbids two of them together, and Google's samples take exactly one:
#: https://github.com/googleads/google-ads-python/blob/main/examples/remarketing/upload_offline_conversion.py
CLICK_IDS = ("gclid", "gbraid", "wbraid")

#: Mail hosts that ignore dots before the @.
_DOTLESS = frozenset({"gmail.com", "googlemail.com"})
#: E.164: a plus sign, and up to 15 digits of which the first is no zero.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_NO_DIGITS = re.compile(r"[^0-9]")
#: Fields of a postal address, and those that Google matches by.
_ADDRESS = (
    *("hashedFirstName", "hashedLastName", "hashedStreetAddress"),
    *("city", "state", "postalCode", "countryCode"),
)
_NEEDED = frozenset({"hashedFirstName", "hashedLastName", "postalCode", "countryCode"})
#: Where a number ends and its extension begins.
_EXTENSION = re.compile(r"ext|x|#|;|,", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
#: Longest text that is read as a phone number, in characters.
_PHONE_CHARS = 64
#: What national numbers begin with where it is not 0 (https://en.wikipedia.org/wiki/Trunk_prefix):
#: by calling code, with the digits of a number that has it; None where a zero belongs to it.
_TRUNK: Mapping[str, tuple[str, int] | None] = {
    "1": ("1", 11),
    "7": ("8", 11),
    "36": ("06", 10),
    "39": None,
    "378": None,
}


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
    plains = [plain_keys(place) for place in places if place and isinstance(place, dict)]
    for name in CLICK_IDS:
        for plain in plains:
            given = plain.get(name)
            if isinstance(given, str) and given.strip():
                return name, given.strip()
        for query in queries:
            if name in query:
                return name, query[name][0]
    return None


def user_identifiers(email: Any, phone: Any, country_code: str | None) -> list[dict[str, str]]:
    """Address and phone number, hashed; each on its own, as the API wants it. Any: JSON.

    https://developers.google.com/google-ads/api/reference/rpc/latest/UserIdentifier
    """
    found = []
    address, number = plain_text(email), plain_text(phone)
    if address is not None and (normal := normal_email(address)) is not None:
        found.append({"hashedEmail": hashed(normal)})
    if number is not None and (normal := normal_phone(number, country_code)) is not None:
        found.append({"hashedPhoneNumber": hashed(normal)})
    return found


def address_info(given: object) -> dict[str, str] | None:
    """Name and postal address, name and street hashed; None unless Google can match by it.

    It takes first and last name, country and postal code for that.
    https://developers.google.com/google-ads/api/reference/rpc/latest/OfflineUserAddressInfo
    """
    if not isinstance(given, dict):
        return None
    found = {}
    for key in _ADDRESS:
        text = (plain_text(given.get(key)) or "").strip()
        if text:
            found[key] = hashed(text.lower()) if key.startswith("hashed") else text
    return found if found.keys() >= _NEEDED else None


def normal_email(address: str) -> str | None:
    """An address without blanks around it, in small letters; of Gmail's without dots before the @.

    None where it is none; one that is hashed already is. Samples of Google's also
    drop the dots and plus signs of all other hosts' addresses; the documentation
    does not.
    """
    address = address.strip().lower()
    if is_hashed(address):
        return address
    local, at, host = address.rpartition("@")
    if not (local and at and host):
        return None
    return f"{local.replace('.', '') if host in _DOTLESS else local}@{host}"


def normal_phone(number: str, country_code: str | None = None) -> str | None:
    """A phone number as E.164, by the table of this module; None where it is none.

    `country_code` is the calling code, in digits, of numbers that name none. One
    that is hashed already is as it is.
    """
    number = number.strip()
    if len(number) > _PHONE_CHARS:
        return None
    if is_hashed(number):
        return number
    number = _EXTENSION.split(number.removeprefix("tel:").strip(), maxsplit=1)[0]
    if _LETTER.search(number):
        return None
    number = number.replace("(0)", "")  # to be dialled without the country's code only
    digits = _NO_DIGITS.sub("", number)
    if number.startswith("+"):
        plain = f"+{digits}"
    elif digits.startswith("00"):
        plain = f"+{digits[2:]}"
    elif country_code is not None:
        plain = f"+{country_code}{_national(digits, country_code)}"
    else:
        return None
    return plain if _E164.fullmatch(plain) else None


def _national(digits: str, country_code: str) -> str:
    """A national number without the prefix that is dialled within the country only."""
    if country_code not in _TRUNK:
        return digits.removeprefix("0")
    trunk = _TRUNK[country_code]
    if trunk is None:
        return digits
    prefix, length = trunk
    return digits.removeprefix(prefix) if len(digits) >= length else digits


def _query(url: Any) -> dict[str, list[str]]:  # Any: JSON
    """The query of a URL, where it may hold an id."""
    if not isinstance(url, str) or ("clid=" not in url and "braid=" not in url):
        return {}
    try:
        return parse_qs(url.partition("?")[2].partition("#")[0], max_num_fields=200)
    except ValueError:
        return {}  # too many fields to be a landing page's
