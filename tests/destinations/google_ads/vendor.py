"""Google Ads for the suites that ask all destinations the same."""

from __future__ import annotations

import json

from destinations.kit import Request, Response
from tests.harness.vendors import Vendor, answer, is_token_request


def _said(request: Request) -> Response:
    if is_token_request(request):
        return answer(200, {"access_token": "A", "expires_in": 3599})
    body = json.loads(request.body)
    count = len(body.get("conversions") or body.get("conversionAdjustments"))
    return answer(200, {"results": [{"conversionAction": "x"}] * count})


_UPLOAD = {
    "customer_id": "1234567890",
    "client_id": "i",
    "client_secret": "s",
    "refresh_token": "r",
    "conversions": {"Order Completed": "1"},
}
VENDOR = Vendor(
    settings={"upload": _UPLOAD},
    answer=_said,
    sources=(
        "https://developers.google.com/identity/protocols/oauth2/web-server#offline",
        "https://developers.google.com/google-ads/api/docs/conversions/upload-offline",
        "https://developers.google.com/google-ads/api/docs/conversions/upload-adjustments",
    ),
    journey_settings={
        "upload": {
            **_UPLOAD,
            "conversions": {"Order Completed": "1", "Quote Sent": "2"},
            "adjustments": {"Order Refunded": {"action": "1", "type": "RETRACTION"}},
            "merchant_id": 123456,
        }
    },
)
