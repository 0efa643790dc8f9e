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
    # The value of an attribute that the settings name by its path.
    as_sent=frozenset({"value"}),
    sources=(
        "https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/authentication",
        "https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/leads",
        "https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/activities",
        "https://developer.adobe.com/marketo-apis/api/mapi/",
    ),
    journey_settings={
        "endpoint": "https://123-abc-456.mktorest.com/rest",
        "client_id": "client-id",
        "client_secret": "client-secret",
        "user_id_field": "userId",
        "anonymous_id_field": "anonymousId",
        "mapping": {"company": "@company_name", "plan__c": "traits.plan"},
        "activities": {
            "Product Viewed": {"type_id": 100000, "primary": "sku"},
            "Order Completed": {
                "type_id": 100001,
                "primary": "order_id",
                "mapping": {"orderValue": "@worth", "skus": "join(each(@products, 'sku'), ', ')"},
            },
            "Order Refunded": {"type_id": 100002, "attributes": {"total": "total"}},
        },
    },
)
