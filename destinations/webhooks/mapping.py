"""From events to signed requests, and what is wrong with the settings. Pure."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from multidict import CIMultiDict
from yarl import URL

from destinations.kit import JSON_HEADERS, Endpoint, Request

#: Most bytes of events in one POST of a batch.
BATCH_BYTES = 1024 * 1024
#: Most events in one POST of a batch; the connection's `batch_events` may ask for fewer.
BATCH_EVENTS = 100
#: An event is never too large for a POST of its own.
_ANY_SIZE = 1 << 40

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\uffff]*")  # no control characters: CR and LF would end it
#: Headers that a request is framed or signed with.
_OURS = frozenset({"content-length", "transfer-encoding", "connection", "host", "x-signature"})


def _user_agent() -> str:
    try:
        return f"Bulkhead/{version('bulkhead-supervisor')}"
    except PackageNotFoundError:
        return "Bulkhead"  # run from a checkout that was never installed


USER_AGENT = _user_agent()


def endpoint(url: str, headers: Mapping[str, str], *, batch: bool) -> Endpoint:
    """Where events go: one as it is, or several in a JSON array. Settings' headers win."""
    # In aiohttp's own type, which it takes over as it is: a dict costs 4 µs a request.
    merged = CIMultiDict({**JSON_HEADERS, "User-Agent": USER_AGENT})
    merged.update(headers)
    if batch:
        return Endpoint(url, BATCH_EVENTS, BATCH_BYTES, merged)
    return Endpoint(url, 1, _ANY_SIZE, merged, opening=b"", closing=b"")


def signed(request: Request, secret: bytes | None) -> Request:
    """The request with `X-Signature`: the hex HMAC-SHA1 of its body, where there is a secret.

    https://segment.com/docs/connections/destinations/catalog/webhooks/#authentication
    """
    if secret is None:
        return request
    # SHA-1 is what receivers of Segment's webhooks check; as an HMAC it is still sound.
    signature = hmac.digest(secret, request.body, "sha1").hex()
    headers = CIMultiDict(request.headers)
    headers["X-Signature"] = signature
    return Request(request.url, request.body, headers)


def settings_errors(url: str, secret: str | None, headers: Mapping[str, str]) -> list[str]:
    """What is wrong with the settings, each opening with its key path; values are not repeated."""
    errors = []
    try:
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            errors.append("url: must begin with http:// or https:// and name a host")
        elif parsed.user is not None or parsed.password is not None:
            errors.append("url: must hold no user name or password; put them into a header")
        elif not parsed.port:
            errors.append("url: its port must be from 1 to 65535")
    except ValueError:
        errors.append("url: is not a valid URL, like https://hooks.example.com/in")
    if secret == "":
        errors.append("shared_secret: is empty; leave it out to send without a signature")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            errors.append(f"headers.{name!r}: is no name of a header")
        elif name.lower() in _OURS:
            errors.append(f"headers.{name}: is set by Bulkhead itself")
        elif not _VALUE.fullmatch(value):
            errors.append(
                f"headers.{name}: its value must hold no line breaks or control characters"
            )
    return errors
