"""Salesforce for the suites that ask all destinations the same."""

from __future__ import annotations

import json

from destinations.kit import Request, Response
from tests.harness.vendors import Vendor, answer, is_token_request


def _said(request: Request) -> Response:
    if is_token_request(request):
        org = "https://acme.my.salesforce.com"
        return answer(200, {"access_token": "A", "instance_url": org})
    count = len(json.loads(request.body)["records"])
    return answer(200, [{"id": "1", "success": True, "errors": []}] * count)


VENDOR = Vendor(
    settings={
        "client_id": "i",
        "client_secret": "s",
        "refresh_token": "r",
        "person_id_field": "User_Id__c",
        "person_fields": {"plan": "Plan__c"},
        "account_id_field": "Group_Id__c",
        "account_fields": {"plan": "Plan__c"},
        "track": {
            "object": "Web_Event__c",
            "id_field": "Message_Id__c",
            "fields": {"event": "Name", "timestamp": "At__c", "properties.total": "Total__c"},
        },
    },
    answer=_said,
    as_sent=frozenset({"Total__c"}),
    sources=(
        "https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_refresh_token_flow.htm",
        "https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-sobjects-collections-upsert.html",
    ),
)
