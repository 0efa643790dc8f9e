"""Who may use the admin API: pure decisions on a request's headers.

Owns the checks: the bearer tokens and the role that each gives, the Host header
(a web page whose DNS name was re-bound to loopback must not read customers'
data), the Origin header (a page must not post to a service that trusts
loopback), Sec-Fetch-Site (nor make the operator's browser GET what costs a
worker something: an image or a link sends no Origin), and who a proxy says that
the caller is. Must not know routes or answers.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.protocol import printable
from supervisor.admin.table import Caller, Role
from supervisor.config import Address, Admin

#: What a browser says of a request that no other site caused: the page's own, or a typed address.
#: https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
_OWN_SITES = ("same-origin", "none")


#: Most characters of a user's name that a proxy gives.
MOST_USER = 200


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a request is turned away: HTTP status, error token, and what to do about it."""

    status: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one listener; `token` is always set where `listen` is not local.

    `hosts` are further names that it answers to, such as a proxy's: `NAME` with any port or none,
    `NAME:PORT` with that one alone; in lower case.
    """

    listen: Address
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    view_token: str | None = field(default=None, repr=False)
    user_header: str | None = None

    @classmethod
    def of(cls, config: Admin) -> Access:
        """The rules that a config says."""
        return cls(config.listen, config.token, config.hosts, config.view_token, config.user_header)

    def denial(
        self,
        headers: Mapping[str, str],
        *,
        is_public: bool,
        is_work: bool,
        by_cookie: Role | None = None,
    ) -> Denied | None:
        """None where the request may go on, as far as its role is allowed to.

        `is_public`: the path needs no token. `is_work`: it has something done, so that no other
        site may cause it, by whatever element or link. `by_cookie`: the role of its cookie.
        """
        host = headers.get("Host", "")
        if not self._is_host_ours(host):
            return Denied(
                403,
                "wrong_host",
                f"this service does not answer for Host {host[:200]!r}; call it as {self.listen}, "
                "or name the host in admin.hosts",
            )
        origin = headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            return Denied(403, "wrong_origin", "web pages of other origins may not call this API")
        # Clients that are no browsers do not send it.
        site = headers.get("Sec-Fetch-Site", "none")
        if is_work and site.strip().lower() not in _OWN_SITES:
            return Denied(
                403,
                "wrong_site",
                "web pages of other sites may not have anything done here; open the address itself",
            )
        if is_public or (self.bearer(headers) or by_cookie) is not None:
            return None
        return Denied(401, "unauthorized", "send the admin token as `Authorization: Bearer TOKEN`")

    def bearer(self, headers: Mapping[str, str]) -> Role | None:
        """The role of the token in a request; None where it has none of ours.

        Without a token of ours, whoever can call is an operator.
        """
        if self.token is None:
            return Role.OPERATOR
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        return self.role_of(given.strip()) if scheme.lower() == "bearer" else None

    def role_of(self, token: str) -> Role | None:
        """The role that a token gives, None for one that is not ours."""
        # Compared as bytes: compare_digest refuses non-ASCII text, which a header may hold.
        given = token.encode("utf-8", "surrogatepass")
        is_operator = hmac.compare_digest(given, (self.token or "").encode())
        is_viewer = hmac.compare_digest(given, (self.view_token or "").encode())
        if not given:
            return None
        return Role.OPERATOR if is_operator else Role.VIEWER if is_viewer else None

    def caller(self, headers: Mapping[str, str], role: Role, remote: str | None) -> Caller:
        """Who it is, for people: a proxy's word on a UNIX socket, else the role and the address.

        Whoever reaches another listener could write that header.
        """
        if self.user_header is not None and self.listen.path is not None:
            user = printable(headers.get(self.user_header, "").strip())[:MOST_USER]
            if user:
                return Caller(role, user)
        return Caller(role, f"{role} at {remote}" if remote else f"{role}")

    def _is_host_ours(self, header: str) -> bool:
        if self.listen.path is not None:
            return True  # no web page can reach a UNIX socket
        matched = _HOST.fullmatch(header.lower())
        if matched is None:
            return False
        name = matched["v6"] or matched["name"]
        if name == self.listen.host.lower():
            return True
        if name in self.hosts or header.lower() in self.hosts:
            return True
        try:
            is_loopback = ipaddress.ip_address(name).is_loopback
        except ValueError:
            is_loopback = name == "localhost"
        # A wildcard answers to any name that leads to the machine; there the token guards alone,
        # which a re-bound page does not have.
        return is_loopback or (self.listen.host in _WILDCARDS and self.token is not None)


_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104  # compared with, not listened on
#: `name`, `name:port` or `[address]:port`, whole. The port may be that of a tunnel.
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^\s:/\[\]@]+))(?::[0-9]{1,5})?")
