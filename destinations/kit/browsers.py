"""The browser and system that a user agent names. Pure, and of linear cost.

Vendors' server calls read no user agent, so that reports by browser end where nobody does. The
table is short on purpose: those that most visitors have, by the names that Mixpanel's own library
gives them (https://docs.mixpanel.com/docs/data-structure/property-reference/default-properties).
A library for it (ua-parser) brings thousands of patterns and costs milliseconds an event.

Most browsers claim to be others as well, so that the first row that is there wins.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

#: Most characters of a user agent that are read: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.5
#: has no limit, and those of real browsers have under 500.
MOST_CHARS = 1000

#: What the user agent holds, which browser that is, and what the version stands behind.
_BROWSERS = (
    ("OPiOS/", "Opera", "OPiOS/"),
    ("OPR/", "Opera", "OPR/"),
    ("Opera Mini", "Opera Mini", "Opera Mini/"),
    ("SamsungBrowser/", "Samsung Internet", "SamsungBrowser/"),
    ("UCBrowser/", "UC Browser", "UCBrowser/"),
    ("YaBrowser/", "Yandex", "YaBrowser/"),
    ("EdgiOS/", "Microsoft Edge", "EdgiOS/"),
    ("EdgA/", "Microsoft Edge", "EdgA/"),
    ("Edg/", "Microsoft Edge", "Edg/"),
    ("Edge/", "Microsoft Edge", "Edge/"),
    ("FBAV/", "Facebook Mobile", "FBAV/"),
    ("FxiOS/", "Firefox iOS", "FxiOS/"),
    ("CriOS/", "Chrome iOS", "CriOS/"),
    ("Firefox/", "Firefox", "Firefox/"),
    ("Chrome/", "Chrome", "Chrome/"),
    ("Opera/", "Opera", "Version/"),
    ("MSIE ", "Internet Explorer", "MSIE "),
    ("Trident/", "Internet Explorer", "rv:"),
)
_SYSTEMS = (
    ("Windows Phone", "Windows Phone"),
    ("Windows", "Windows"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("iPod", "iOS"),
    ("Android", "Android"),
    ("CrOS", "Chrome OS"),
    ("Mac OS X", "Mac OS X"),
    ("Macintosh", "Mac OS X"),
    ("Linux", "Linux"),
)
_VERSION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?", re.ASCII)


class Browser(NamedTuple):
    """What a user agent names; each None where it is not in the table."""

    name: str | None
    version: str | None
    """Major and minor version: `"120.0"`."""
    system: str | None


#: User agents that are remembered: visitors share few of them, and each is asked for name, version
#: and system.
REMEMBERED = 512


def browser_of(user_agent: str | None) -> Browser:
    """The browser, its version and its system."""
    return _remembered((user_agent or "")[:MOST_CHARS])


@lru_cache(REMEMBERED)
def _remembered(text: str) -> Browser:
    system = next((name for token, name in _SYSTEMS if token in text), None)
    for token, name, before in _BROWSERS:
        if token in text:
            return Browser(name, _version(text, before), system)
    if "Safari/" in text and "Version/" in text:
        name = "Mobile Safari" if system == "iOS" else "Safari"
        return Browser(
            "Android Mobile" if system == "Android" else name, _version(text, "Version/"), system
        )
    return Browser(None, None, system)


def _version(text: str, before: str) -> str | None:
    _, found, rest = text.partition(before)
    version = _VERSION.match(rest) if found else None
    return version.group() if version else None
