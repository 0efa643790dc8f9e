"""Drift for the suites that ask all destinations the same."""

from __future__ import annotations

from tests.harness.vendors import Vendor, answer

VENDOR = Vendor(
    settings={"access_token": "T"},
    answer=lambda request: answer(200, {"data": {"id": 1, "attributes": {}}}),
    any_but_html=frozenset({"track"}),
    sources=(
        "https://devdocs.drift.com/docs/creating-a-contact",
        "https://devdocs.drift.com/docs/posting-timeline-events",
    ),
)
