"""From events to bodies, headers and signed requests, and what is wrong with settings. Pure."""

from __future__ import annotations

import hmac
import re
import string
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import quote

import msgspec
from multidict import CIMultiDict
from yarl import URL

from destinations.kit import (
    JSON_HEADERS,
    Endpoint,
    Event,
    FieldMapping,
    Item,
    MappingTable,
    Outcome,
    Request,
    Unsupported,
    mapping_errors,
)

#: Most bytes of events in one POST of a batch.
BATCH_BYTES = 1024 * 1024
#: Most events in one POST of a batch; the connection's `batch_events` may ask for fewer.
BATCH_EVENTS = 100
#: An event is never too large for a POST of its own.
_ANY_SIZE = 1 << 40

#: Most characters of a header from an event: servers refuse heads of more than 8 KiB or so.
HEADER_CHARS = 1000
#: Sets of headers that are remembered, so that their events share requests.
ENDPOINTS = 256
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation.replace("%", "") + " "

_encode = msgspec.json.Encoder().encode

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
    return Request(request.url, request.body, headers, request.method)


class Mapper:
    """What of an event goes into its request. `headers` are for all, `of_event` expressions.

    Without a `mapping` the body is the event as it was stored, byte for byte.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        of_event: Mapping[str, str],
        mapping: FieldMapping,
        *,
        batch: bool,
    ) -> None:
        table = MappingTable()
        self._body = table.mapper(mapping) if mapping else None
        self._headers = table.mapper(dict(of_event)) if of_event else None

        def made(own: tuple[tuple[str, str], ...]) -> Endpoint:
            return endpoint(url, {**headers, **dict(own)}, batch=batch)

        # Events share a request where their headers are equal. The kit looks at an endpoint's
        # identity, so equal headers have to be one endpoint.
        self._endpoint = lru_cache(ENDPOINTS)(made)

    def item(self, event: Event) -> Item | Outcome:
        """What an event becomes; unsupported where the mapping has nothing for it."""
        body = event.raw
        if self._body is not None:
            fields = self._body.nested(event)
            if not fields:
                return Unsupported()
            body = _encode(fields)
        own = self._headers.fields(event) if self._headers is not None else {}
        return Item(self._endpoint(tuple((name, _header(own[name])) for name in own)), body)


def _header(value: Any) -> str:  # Any: JSON
    """A value as a header may carry it: printable ASCII, the rest as percent signs, and bounded."""
    text = value if isinstance(value, str) else _encode(value).decode()
    return quote(text[:HEADER_CHARS].strip(), safe=_PRINTABLE, errors="replace")


def with_method(request: Request, method: str) -> Request:
    """The request with the method of the settings."""
    return Request(request.url, request.body, request.headers, method)


def settings_errors(
    url: str,
    secret: str | None,
    headers: Mapping[str, str],
    of_event: Mapping[str, str],
    mapping: FieldMapping,
) -> list[str]:
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
    for key, names in (("headers", headers), ("header_mapping", of_event)):
        for name in names:
            if not _TOKEN.fullmatch(name):
                errors.append(f"{key}.{name!r}: is no name of a header")
            elif name.lower() in _OURS:
                errors.append(f"{key}.{name}: is set by Bulkhead itself")
    for name, value in headers.items():
        if not _VALUE.fullmatch(value):
            errors.append(
                f"headers.{name}: its value must hold no line breaks or control characters"
            )
    for error in mapping_errors(dict(of_event)):
        errors.append(f"header_{error}")
    errors += mapping_errors(mapping)
    targets = [key for key, below in mapping.items() if not isinstance(below, dict)]
    for inner in targets:
        if any(inner.startswith(f"{outer}.") for outer in targets):
            errors.append(f"mapping.{inner}: stands in another field that the mapping sets")
    return errors
