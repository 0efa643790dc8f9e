"""Google Ads for the suites that ask all destinations the same."""

from __future__ import annotations

import json

from destinations.kit import Request, Response
from tests.harness.vendors import Vendor, answer, is_token_request


def _said(request: Request) -> Response:
    if is_token_request(request):
        return answer(200, {"access_token": "A", "expires_in": 3599})
    count = len(json.loads(request.body)["conversions"])
    return answer(200, {"results": [{"conversionAction": "x"}] * count})


VENDOR = Vendor(
    settings={
        "upload": {
            "customer_id": "1234567890",
            "client_id": "i",
            "client_secret": "s",
            "refresh_token": "r",
            "conversions": {"Order Completed": "1"},
        }
    },
    answer=_said,
)
