"""Who may use the admin API: pure decisions on a request's headers.

Owns the three checks: the bearer token, the Host header (a web page whose DNS
name was re-bound to loopback must not read customers' data) and the Origin
header (a page must not post to a service that trusts loopback). Must not know
routes or answers.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from supervisor.config import Address


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a request is turned away: HTTP status, error token, and what to do about it."""

    status: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one listener; `token` is always set where `listen` is not local."""

    listen: Address
    token: str | None = field(default=None, repr=False)

    def denial(self, headers: Mapping[str, str], *, is_public: bool) -> Denied | None:
        """None where the request may go on. `is_public`: the path needs no token."""
        host = headers.get("Host", "")
        if not self._is_host_ours(host):
            return Denied(
                403,
                "wrong_host",
                f"this service does not answer for Host {host[:200]!r}; call it as {self.listen}",
            )
        origin = headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            return Denied(403, "wrong_origin", "web pages of other origins may not call this API")
        if is_public or self.token is None or self._has_token(headers.get("Authorization", "")):
            return None
        return Denied(401, "unauthorized", "send the admin token as `Authorization: Bearer TOKEN`")

    def _has_token(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        # Compared as bytes: compare_digest refuses non-ASCII text, which a header may hold.
        return scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode("utf-8", "surrogateescape"), (self.token or "").encode()
        )

    def _is_host_ours(self, header: str) -> bool:
        if self.listen.path is not None:
            return True  # no web page can reach a UNIX socket
        name = _host_name(header)
        if name == self.listen.host.lower():
            return True
        try:
            is_loopback = ipaddress.ip_address(name).is_loopback
        except ValueError:
            is_loopback = name == "localhost"
        # A wildcard answers to any name that leads to the machine; there the token guards alone,
        # which a re-bound page does not have.
        return is_loopback or (self.listen.host in _WILDCARDS and self.token is not None)


_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104  # compared with, not listened on


def _host_name(header: str) -> str:
    """The name in `name`, `name:port` or `[address]:port`, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
