"""Webhooks for the suites that ask all destinations the same."""

from __future__ import annotations

from destinations.kit.contract import EVENT_TYPES
from tests.harness.vendors import Vendor, answer

VENDOR = Vendor(
    settings={"url": "https://hooks.example.com/in", "shared_secret": "s"},
    answer=lambda request: answer(200),
    any_body=EVENT_TYPES,
    is_verbatim=True,
    sources=("https://www.twilio.com/docs/segment/connections/destinations/catalog/webhooks",),
    journey_settings={
        "url": "https://hooks.example.com/in",
        "shared_secret": "s",
        "header_mapping": {"X-Kind": "'{type} {event ?? name ?? \"\"}'"},
        "mapping": {
            "who": "@email ?? anonymousId",
            "what": "event ?? name ?? type",
            "at": "@timestamp",
            "money.value": "@worth",
            "money.currency": "@currency",
            "items": "each(@products, 'sku')",
        },
    },
)
