"""All built-in destinations: found from their folder, with settings, and a vendor for each.

Owns what suites and benchmarks need to run any destination without a network:
settings that work, and answers as the vendor gives them to requests that are
right. A destination without an entry here fails the shared suite.
"""

from __future__ import annotations

import json
import logging
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import aiohttp
import msgspec

import destinations
from destinations.kit import Destination, Event, Outcome, Request, Response
from destinations.kit.exchange import Limits
from destinations.kit.loading import load

#: Names of all destinations that have a folder.
NAMES = tuple(
    sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(destinations.__path__)
        if module.ispkg and module.name != "kit"
    )
)

#: Settings by which each destination has a use for all of its types.
SETTINGS: Mapping[str, Mapping[str, Any]] = {  # Any: settings of any type
    "drift": {"access_token": "T"},
    "google-ads": {
        "upload": {
            "customer_id": "1234567890",
            "client_id": "i",
            "client_secret": "s",
            "refresh_token": "r",
            "conversions": {"Order Completed": "1"},
        }
    },
    "google-analytics": {"api_secret": "S", "measurement_id": "G-ABC123"},
    "intercom": {
        "access_token": "T",
        "contact_attributes": {"plan": "plan"},
        "company_attributes": {"plan": "tier"},
    },
    "marketo": {
        "endpoint": "https://acme.mktorest.com/rest",
        "client_id": "i",
        "client_secret": "s",
        "fields": {"plan": "plan"},
        "activities": {"Order Completed": {"type_id": 1, "attributes": {"total": "total"}}},
    },
    "mixpanel": {"token": "T"},
    "salesforce": {
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
    "webhooks": {"url": "https://hooks.example.com/in", "shared_secret": "s"},
}

Vendor = Callable[[Request], Response]


def destination(name: str, settings: Mapping[str, Any] | None = None) -> Destination:
    """A destination as the worker makes one, but for the session: it must not be used."""
    found = load(name, None)
    checked = msgspec.convert(settings or SETTINGS[name], found.Settings)
    session = cast(aiohttp.ClientSession, None)  # see `answered_by`
    return found(checked, session, logging.Logger(name))


@contextmanager
def answered_by(vendor: Vendor) -> Iterator[list[Request]]:
    """Requests of all destinations go to the vendor instead of the network; gives those made."""
    asked: list[Request] = []

    async def exchange(
        http: aiohttp.ClientSession, request: Request, limits: Limits
    ) -> Response | Outcome:
        asked.append(request)
        return vendor(request)

    with mock.patch("destinations.kit.sending.exchange", exchange):
        yield asked


async def delivered(name: str, events: Sequence[Event], vendor: Vendor) -> Sequence[Outcome]:
    """The outcomes of events at a new instance of the destination."""
    with answered_by(vendor):
        return await destination(name).deliver(events)


def vendor_of(name: str) -> Vendor:
    """The vendor, as it answers what is right."""
    return _VENDORS[name]


def _json(said: Any, status: int = 200) -> Response:  # Any: JSON
    return Response(status, {"Content-Type": "application/json"}, json.dumps(said).encode())


_TOKEN = {"access_token": "A", "expires_in": 3600, "instance_url": "https://acme.my.salesforce.com"}


def is_token_request(request: Request) -> bool:
    """Whether a request asks for an access token, and carries no event."""
    path = request.url.partition("?")[0]
    return path.endswith("/token")


def _drift(request: Request) -> Response:
    return _json({"data": {"id": 1, "attributes": {}}})


def _google_ads(request: Request) -> Response:
    if is_token_request(request):
        return _json(_TOKEN)
    count = len(json.loads(request.body)["conversions"])
    return _json({"results": [{"conversionAction": "x"}] * count})


def _google_analytics(request: Request) -> Response:
    return Response(204)


def _intercom(request: Request) -> Response:
    return _json({"type": "contact", "id": "1", "data": []})


def _marketo(request: Request) -> Response:
    if is_token_request(request):
        return _json(_TOKEN)
    rows = [{"id": 1, "status": "updated"}] * len(json.loads(request.body)["input"])
    return _json({"requestId": "e42b#14272d07d78", "success": True, "result": rows})


def _mixpanel(request: Request) -> Response:
    return _json({"code": 200, "status": 1, "error": None})


def _salesforce(request: Request) -> Response:
    if is_token_request(request):
        return _json(_TOKEN)
    rows = [{"id": "1", "success": True, "errors": []}] * len(json.loads(request.body)["records"])
    return _json(rows)


def _webhooks(request: Request) -> Response:
    return Response(200)


_VENDORS: Mapping[str, Vendor] = {
    "drift": _drift,
    "google-ads": _google_ads,
    "google-analytics": _google_analytics,
    "intercom": _intercom,
    "marketo": _marketo,
    "mixpanel": _mixpanel,
    "salesforce": _salesforce,
    "webhooks": _webhooks,
}
