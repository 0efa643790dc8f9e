"""Mixpanel for the suites that ask all destinations the same."""

from __future__ import annotations

import gzip
import json

from destinations.kit import Request, Response
from tests.harness.vendors import Vendor, answer


def _said(request: Request) -> Response:
    if "/import?" not in request.url:
        return answer(200, {"error": "", "status": 1})
    count = len(json.loads(gzip.decompress(request.body)))
    return answer(200, {"code": 200, "num_records_imported": count, "status": "OK"})


VENDOR = Vendor(
    settings={"token": "T"},
    answer=_said,
    sources=(
        "https://docs.mixpanel.com/reference/import-events",
        "https://docs.mixpanel.com/reference/profile-batch-update",
        "https://docs.mixpanel.com/reference/group-batch-update",
        "https://docs.mixpanel.com/reference/identity-create-alias",
    ),
    journey_settings={
        "token": "project-token",
        "set_once": ["plan"],
        "increment_events": ["Order Completed"],
    },
)
