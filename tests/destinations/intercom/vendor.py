"""Intercom for the suites that ask all destinations the same."""

from __future__ import annotations

from tests.harness.vendors import Vendor, answer

VENDOR = Vendor(
    settings={
        "access_token": "T",
        "contact_attributes": {"plan": "plan"},
        "company_attributes": {"plan": "tier"},
    },
    answer=lambda request: answer(200, {"type": "contact", "id": "1", "data": []}),
    any_but_html=frozenset({"track"}),
)
