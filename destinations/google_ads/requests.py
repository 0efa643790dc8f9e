"""The requests to Google: uploads, the ping, and the one for a token. Pure.

Owns URLs, headers and limits; `mapping.py` has what goes into them. Must not send anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from destinations.kit import JSON_HEADERS, Endpoint, Part, Request
from destinations.kit.tokens import Token

#: https://developers.google.com/google-ads/api/docs/best-practices/quotas
CONVERSIONS = 2000
#: Bytes in one upload: the page names no limit, and far more is taken elsewhere.
UPLOAD_BYTES = 2 * 1024 * 1024
#: Bytes of a ping's query: not documented; longer URLs are refused by many servers.
QUERY_BYTES = 8000


Consent = Literal["GRANTED", "DENIED"]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Where uploads go, and what holds for all of them. Ids and `country_code` are digits."""

    base_url: str
    api_version: str
    customer_id: str
    developer_token: str | None = None
    login_customer_id: str | None = None
    consent: Mapping[str, Consent] = {}
    """For events that say nothing of it."""
    identified: bool = True
    """Whether hashes of users go along."""
    country_code: str | None = None
    """The calling code of phone numbers that name no country."""
    feed: Mapping[str, Any] = {}  # Any: text or number
    """What of a cart is known without an event."""
    product_id: Literal["id", "sku"] | None = "id"
    """What a cart's items are called in the feed; None: there are no carts."""

    def action(self, action_id: str) -> str:
        """The resource name of a conversion action."""
        return f"customers/{self.customer_id}/conversionActions/{action_id}"

    def _endpoint(self, call: str, several: str) -> Endpoint:
        """An upload of up to 2 000, each refused on its own.

        Developer tokens are being given up: newer pages no longer ask for one, so
        that it is sent only where there is one.
        https://developers.google.com/google-ads/api/rest/auth
        """
        headers = dict(JSON_HEADERS)
        if self.developer_token:
            headers["developer-token"] = self.developer_token
        if self.login_customer_id:
            headers["login-customer-id"] = self.login_customer_id
        return Endpoint(
            f"{self.base_url}/{self.api_version}/customers/{self.customer_id}:{call}",
            CONVERSIONS,
            UPLOAD_BYTES,
            headers,
            opening=f'{{"partialFailure":true,"{several}":['.encode(),
            closing=b"]}",
        )

    def clicks(self) -> Endpoint:
        """https://developers.google.com/google-ads/api/rest/reference/rest/latest/customers/uploadClickConversions"""
        return self._endpoint("uploadClickConversions", "conversions")

    def calls(self) -> Endpoint:
        """https://developers.google.com/google-ads/api/rest/reference/rest/latest/customers/uploadCallConversions"""
        return self._endpoint("uploadCallConversions", "conversions")

    def adjustments(self) -> Endpoint:
        """https://developers.google.com/google-ads/api/rest/reference/rest/latest/customers/uploadConversionAdjustments"""
        return self._endpoint("uploadConversionAdjustments", "conversionAdjustments")


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
