"""Marketo for the suites that ask all destinations the same."""

from __future__ import annotations

import json

from destinations.kit import Request, Response
from tests.harness.vendors import Vendor, answer, is_token_request


def _said(request: Request) -> Response:
    if is_token_request(request):
        return answer(200, {"access_token": "A", "expires_in": 3599})
    rows = [{"id": 1, "status": "updated"}] * len(json.loads(request.body)["input"])
    return answer(200, {"requestId": "e42b#14272d07d78", "success": True, "result": rows})


VENDOR = Vendor(
    settings={
        "endpoint": "https://acme.mktorest.com/rest",
        "client_id": "i",
        "client_secret": "s",
        "fields": {"plan": "plan"},
        "activities": {"Order Completed": {"type_id": 1, "attributes": {"total": "total"}}},
    },
    answer=_said,
)
