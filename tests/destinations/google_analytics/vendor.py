"""Google Analytics for the suites that ask all destinations the same."""

from __future__ import annotations

from tests.harness.vendors import Vendor, answer

VENDOR = Vendor(
    settings={"api_secret": "S", "measurement_id": "G-ABC123"},
    answer=lambda request: answer(204),
    unused=frozenset({"screen"}),  # web streams take none
    any_but_html=frozenset({"identify", "track", "page", "group"}),
    sources=(
        "https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference",
        "https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference/events",
    ),
)
