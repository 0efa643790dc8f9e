"""From Segment's track events to Google Ads' conversions, uploaded or pinged. Pure.

Owns the calls, what of an event is a conversion, and the request for a token.
Must not send anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from destinations.google_ads.identifiers import click_id, user_identifiers
from destinations.kit import (
    JSON_HEADERS,
    Endpoint,
    Event,
    Failed,
    Item,
    Outcome,
    Part,
    Request,
    Unsupported,
)
from destinations.kit.paths import find
from destinations.kit.tokens import Token

#: What an event's `integrations` object may call this destination.
NAMES = ("Google Ads", "Google Ads Conversions", "Google AdWords", "AdWords")

#: https://developers.google.com/google-ads/api/docs/best-practices/quotas
CONVERSIONS = 2000
#: Bytes in one upload: the page names no limit, and far more is taken elsewhere.
UPLOAD_BYTES = 2 * 1024 * 1024
#: Bytes of a ping's query: not documented; longer URLs are refused by many servers.
QUERY_BYTES = 8000

_GRANTED = frozenset({"granted", "true", "yes", "1"})
_DENIED = frozenset({"denied", "false", "no", "0"})

_encode = msgspec.json.Encoder().encode

Consent = Literal["GRANTED", "DENIED"]


def upload_endpoint(
    base_url: str,
    api_version: str,
    customer_id: str,
    developer_token: str | None,
    login_customer_id: str | None,
) -> Endpoint:
    """The upload of up to 2 000 click conversions, each refused on its own.

    The ids are digits. Developer tokens are being given up: newer pages no
    longer ask for one, so that it is sent only where there is one.
    https://developers.google.com/google-ads/api/rest/reference/rest/latest/customers/uploadClickConversions
    https://developers.google.com/google-ads/api/rest/auth
    """
    headers = dict(JSON_HEADERS)
    if developer_token:
        headers["developer-token"] = developer_token
    if login_customer_id:
        headers["login-customer-id"] = login_customer_id
    return Endpoint(
        f"{base_url}/{api_version}/customers/{customer_id}:uploadClickConversions",
        CONVERSIONS,
        UPLOAD_BYTES,
        headers,
        opening=b'{"partialFailure":true,"conversions":[',
        closing=b"]}",
    )


def ping_endpoint(base_url: str, conversion_id: str) -> Endpoint:
    """GET /pagead/conversion/ID/, the image that Google's tag for sites without scripts loads.

    Its item is the query. No page documents it any more; its parameters are
    those of Google's own configuration for AMP pages ("googleadwords"), and
    `oid` that of the tag's order id:
    https://github.com/ampproject/amphtml/tree/main/extensions/amp-analytics
    """
    url = f"{base_url}/pagead/conversion/{conversion_id}/"
    return Endpoint(url, 1, QUERY_BYTES, {}, opening=b"", closing=b"")


def ping(part: Part) -> Request:
    """The request for a part of the ping's endpoint."""
    return Request(f"{part.endpoint.url}?{part.items[0].decode()}", b"", {}, "GET")


def token_request(base_url: str, client_id: str, client_secret: str, refresh_token: str) -> Request:
    """Asks for an access token by the refresh token.

    https://developers.google.com/identity/protocols/oauth2/web-server#offline
    """
    form = {
        "grant_type": "refresh_token",
        "client_id": client_id,
        "client_secret": client_secret,
        "refresh_token": refresh_token,
    }
    return Request(
        f"{base_url}/token",
        urlencode(form).encode(),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )


def authorized(request: Request, token: Token) -> Request:
    """The request with the token in its header."""
    headers = {**request.headers, "Authorization": f"Bearer {token.value}"}
    return Request(request.url, request.body, headers, request.method)


class UploadMapper:
    """Conversions for the upload. `actions` are ids of conversion actions by the event's name.

    `consent` holds for events that say nothing of it; without `identified`
    nothing of the user is sent but the click's id.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        customer_id: str,
        actions: Mapping[str, str],
        consent: Mapping[str, Consent],
        *,
        identified: bool,
    ) -> None:
        self._endpoint = endpoint
        self._actions = {
            event: f"customers/{customer_id}/conversionActions/{action}"
            for event, action in actions.items()
        }
        self._consent = consent
        self._identified = identified

    def item(self, event: Event) -> Item | Outcome:
        """The conversion that an event is; unsupported where no ad can have led to it.

        https://developers.google.com/google-ads/api/reference/rpc/latest/ClickConversion
        """
        action = self._actions.get(event.event or "") if event.type == "track" else None
        if action is None:
            return Unsupported()
        options = event.options(*NAMES)
        traits = event.traits
        click = click_id(event, options, traits)
        identifiers = user_identifiers(event, traits) if self._identified else []
        if click is None and not identifiers:
            # Most users come by no ad, so that this is no mistake of the sender's.
            return Unsupported()
        at = _date_time(event.timestamp or event.received_at)
        if at is None:
            return Failed("the event has no valid timestamp: Google Ads needs one")
        conversion: dict[str, Any] = {"conversionAction": action, "conversionDateTime": at}  # JSON
        if click is not None:
            name, value = click
            conversion[name] = value
        if identifiers:
            conversion["userIdentifiers"] = identifiers
        conversion.update(_worth(event))
        order_id = event.order_id
        if order_id is not None:
            conversion["orderId"] = order_id
        consent = _consent(event, options, self._consent)
        if consent:
            conversion["consent"] = consent
        # Google refuses both of two equal orders, or clicks at one time, in a request.
        told_by = order_id or str(click or identifiers) + at
        return Item(self._endpoint, _encode(conversion), f"{action} {told_by}")


class PingMapper:
    """Conversions for the ping. `labels` are those of conversion actions by the event's name."""

    def __init__(self, endpoint: Endpoint, labels: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._labels = labels

    def item(self, event: Event) -> Item | Outcome:
        """The query of an event's conversion."""
        label = self._labels.get(event.event or "") if event.type == "track" else None
        if label is None:
            return Unsupported()
        query = {"label": label}
        worth = _worth(event)
        if "conversionValue" in worth:
            query["value"] = format(worth["conversionValue"], ".15g")
        if "currencyCode" in worth:
            query["currency_code"] = worth["currencyCode"]
        if event.order_id is not None:
            query["oid"] = event.order_id
        query |= {"guid": "ON", "script": "0"}
        return Item(self._endpoint, urlencode(query, errors="replace").encode())


def _date_time(at: datetime | None) -> str | None:
    """The time as `yyyy-mm-dd hh:mm:ss+00:00`."""
    if at is None:
        return None
    try:
        return at.astimezone(UTC).isoformat(" ", "seconds")
    except OverflowError:
        return None  # in the first or last hours that there are


def _worth(event: Event) -> dict[str, Any]:  # Any: text or number
    """Value and currency: revenue, value or total, the first that is there, and one of 0 is.

    Settings name the event a conversion, so that its total is its value, whatever
    it is called. Without one the conversion action's own value holds, so that
    none is made up.
    """
    value = event.worth
    if value is None:
        return {}
    worth: dict[str, Any] = {"conversionValue": value}
    if event.currency is not None:
        worth["currencyCode"] = event.currency
    return worth


def _consent(
    event: Event, options: Mapping[str, Any], default: Mapping[str, Consent]
) -> dict[str, Consent]:
    """What the user agreed to, by the event's options, its context, or the settings.

    https://developers.google.com/google-ads/api/reference/rpc/latest/Consent
    """
    said: dict[str, Consent] = dict(default)
    for place in (event.context.get("consent"), options.get("consent")):
        if isinstance(place, dict):
            for key in ("adUserData", "adPersonalization"):
                given = str(find(place, key)).lower()
                if given in _GRANTED:
                    said[key] = "GRANTED"
                elif given in _DENIED:
                    said[key] = "DENIED"
    return said
