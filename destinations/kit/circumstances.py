"""How and where an event came about: times, device, library, place in the app or on the site.

Follows https://github.com/segmentio/facade/blob/master/lib/facade.js, `page.js` and `screen.js`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from destinations.kit.browsers import Browser, browser_of
from destinations.kit.lookup import Lookup, plain_text
from destinations.kit.paths import find, plain_keys
from destinations.kit.times import to_datetime

#: What a campaign's fields are called, in plain form.
_CAMPAIGN = (
    ("source", ("source", "utmsource")),
    ("medium", ("medium", "utmmedium")),
    ("name", ("name", "campaign", "utmcampaign", "utmname")),
    ("term", ("term", "keyword", "utmterm")),
    ("content", ("content", "utmcontent")),
    ("id", ("id", "campaignid", "utmid")),
)


class Circumstances(Lookup):
    """Accessors for the context of an event."""

    __slots__ = ()

    # --- times ---

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

    # --- sender ---

    @property
    def channel(self) -> str | None:
        """Where it was made: `browser`, `mobile`, `server`."""
        return plain_text(self._decoded().get("channel")) or self._context_text("channel")

    @property
    def library(self) -> Mapping[str, Any]:  # Any: decoded JSON
        """The library that made the event; its name is "unknown" where it is not said."""
        value = find(self.context, "library")
        if isinstance(value, str) and value:
            return {"name": value, "version": None}
        return {"name": "unknown", "version": None, **(value if isinstance(value, dict) else {})}

    @property
    def device(self) -> Mapping[str, Any]:  # Any: decoded JSON
        """The device; its `type` is told by the library's name where it is not said."""
        value = find(self.context, "device")
        device = dict(value) if isinstance(value, dict) else {}
        if not device.get("type"):
            name = plain_text(self.library["name"]) or ""
            for kind in ("ios", "android"):
                if kind in name:
                    device["type"] = kind
        return device

    @property
    def is_active(self) -> bool:
        """Whether the user was active himself: true unless the context says no."""
        return find(self.context, "active") is not False

    @property
    def ip(self) -> str | None:
        """The user's address."""
        return self._context_text("ip")

    @property
    def user_agent(self) -> str | None:
        """The user's browser."""
        return self._context_text("userAgent")

    @property
    def browser(self) -> Browser:
        """Browser, version and system that the user agent names; each None if unknown."""
        return browser_of(self.user_agent)

    @property
    def campaign(self) -> Mapping[str, str]:
        """The campaign of the context: `source`, `medium`, `name`, `term`, `content`, `id`.

        With or without `utm_` before them; `utm_campaign` is the name. What is not said is not
        there. https://segment.com/docs/connections/spec/common/#context-fields-automatically-collected
        """
        value = find(self.context, "campaign")
        if not isinstance(value, dict):
            return {}
        plain = plain_keys(value)
        found = {}
        for field, names in _CAMPAIGN:
            for name in names:
                text = plain_text(plain.get(name))
                if text and (text := text.strip()):
                    found[field] = text
                    break
        return found

    @property
    def locale(self) -> str | None:
        """The user's language and country."""
        return self._context_text("locale")

    @property
    def timezone(self) -> str | None:
        """The user's time zone, as the sender names it."""
        return self._context_text("timezone")

    # --- page and screen ---

    @property
    def category(self) -> str | None:
        """The category of a page or screen; of a track that of its properties."""
        return self._property_text("category")

    @property
    def referrer(self) -> str | None:
        """The page that led to this one: https://github.com/segmentio/facade lib/track.js."""
        return self._context_text("referrer.url", "page.referrer") or self._property_text(
            "referrer"
        )

    @property
    def url(self) -> str | None:
        """The page's address."""
        return self._property_text("url") or self._context_text("page.url")

    @property
    def path(self) -> str | None:
        """The path of the page's address."""
        return self._property_text("path") or self._context_text("page.path")

    @property
    def title(self) -> str | None:
        """The page's title."""
        return self._property_text("title") or self._context_text("page.title")
