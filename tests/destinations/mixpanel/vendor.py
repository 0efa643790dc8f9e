"""Mixpanel for the suites that ask all destinations the same."""

from __future__ import annotations

from tests.harness.vendors import Vendor, answer

VENDOR = Vendor(
    settings={"token": "T"},
    answer=lambda request: answer(200, {"code": 200, "status": 1, "error": None}),
)
