"""Where a connection may connect to: pure decisions on names, ports and addresses.

Owns what counts as the same host however it is spelled, what a declared host
or an `allow` entry covers, and which addresses are public. Must not resolve or
connect. A refusal is a text that says what was asked, why not, and what to do.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yarl import URL

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Spellings of hosts that are remembered: the same few are asked for all the time. A spelling is no
#: longer than a datagram, so these take two megabytes where somebody makes up as many as he can.
MOST_TARGETS = 512

#: Ports of a declared host that names none: HTTP and HTTPS.
DEFAULT_PORTS = frozenset({80, 443})

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
#: A host that ends in a number is an IPv4 address or nothing, as in the URL standard
#: (https://url.spec.whatwg.org/#ends-in-a-number-checker): resolvers read it as one.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_SETTING = re.compile(r"\{([^{}]+)\}")

#: Blocks of IPv6 that are global by their registry and lead somewhere else all the same.
_DETOURS: tuple[tuple[ipaddress.IPv6Network, str], ...] = tuple(
    (ipaddress.IPv6Network(block), kind)
    for block, kind in (
        ("64:ff9b::/96", "a NAT64 address"),  # RFC 6052
        ("64:ff9b:1::/48", "a NAT64 address"),  # RFC 8215
        ("2002::/16", "a 6to4 address"),  # RFC 3056
        ("2001::/32", "a Teredo address"),  # RFC 4380
        ("::ffff:0:0/96", "an IPv4-mapped address"),
    )
)
#: All of IPv6 that is given out as global unicast; the rest has other uses or none yet.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: Documentation, newer than the standard library's list (RFC 9637).
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")
#: Carrier-grade NAT (RFC 6598) and the retired 6to4 relays (RFC 7526).
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")
_RELAYS = ipaddress.IPv4Network("192.88.99.0/24")


class NotAHost(ValueError):
    """What was asked for is neither a host name nor an address; the text says what it is."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host, in its only spelling, and a port. Made by `target`."""

    host: str | IpAddress
    port: int

    def __str__(self) -> str:
        if isinstance(self.host, ipaddress.IPv6Address):
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A declared host: a name, every name below one, or an address; on any of `ports`."""

    host: str | IpAddress
    is_wildcard: bool
    ports: frozenset[int]


class DeclaredHosts:
    """Patterns, looked up by name: however many a worker declares, a request costs the same."""

    __slots__ = ("_below", "_exact")

    def __init__(self, patterns: Iterable[HostPattern] = ()) -> None:
        self._exact: dict[str | IpAddress, frozenset[int]] = {}
        self._below: dict[str | IpAddress, frozenset[int]] = {}
        for pattern in patterns:
            where = self._below if pattern.is_wildcard else self._exact
            where[pattern.host] = where.get(pattern.host, frozenset()) | pattern.ports

    def cover(self, asked: Target) -> bool:
        """Whether one of them has this host and port."""
        if asked.port in self._exact.get(asked.host, ()):
            return True
        if not self._below or not isinstance(asked.host, str):
            return False
        _, dot, rest = asked.host.partition(".")
        while dot:
            if asked.port in self._below.get(rest, ()):
                return True
            _, dot, rest = rest.partition(".")
        return False


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What one connection may connect to.

    `declared` is how many hosts its destination declares, for refusals: a worker
    is never told its own words. `hosts` is what they mean. `network` is the pool's: "declared",
    "public" or "any"; `allowed` and `blocks` are its `allow`.
    """

    connection: str
    destination: str
    pool: str
    network: str
    declared: int
    hosts: DeclaredHosts
    allowed: frozenset[Target]
    blocks: tuple[IpNetwork, ...]

    def refusal(self, asked: Target) -> str | None:
        """Why this host may not even be looked up; None where it may."""
        if self._is_allowed(asked) or self.network != "declared":
            return None
        if not isinstance(asked.host, str) and self._is_in_block(asked.host):
            return None
        if self.hosts.cover(asked):
            return None
        others = f"{self.declared} others (see `bulkhead check`)" if self.declared else "no hosts"
        return (
            f"egress refused: {asked} is not declared by {self.destination}, which declares "
            f"{others}; {self._remedy(asked)}"
        )

    def address_refusal(self, asked: Target, address: IpAddress, *, is_own: bool) -> str | None:
        """Why `asked` may not be reached at `address`; None where it may.

        `is_own`: this service itself listens there, and only an entry of `allow` that says
        exactly so opens that.
        """
        there = Target(address, asked.port)
        if self._is_allowed(asked) or self._is_allowed(there):
            return None
        where = f"{asked} is" if asked == there else f"{asked} is at {address}, which is"
        if is_own:
            return f"egress refused: {where} this service itself; {self._remedy(there)}"
        if self._is_in_block(address):
            return None
        kind = kind_of(address)
        if kind is None or (self.network == "any" and not (address.is_multicast)):
            return None
        return f"egress refused: {where} {kind}, not a public one; {self._remedy(there)}"

    def is_allowed_by_name(self, asked: Target) -> bool:
        """Whether `allow` names exactly this."""
        return self._is_allowed(asked)

    def _is_allowed(self, asked: Target) -> bool:
        return asked in self.allowed

    def _is_in_block(self, address: IpAddress) -> bool:
        return any(address in block for block in self.blocks)

    def _remedy(self, target: Target) -> str:
        return f'if it should be reached, add "{target}" to pools.{self.pool}.allow'


@functools.lru_cache(MOST_TARGETS)
def target(host: str, port: int) -> Target:
    """The only spelling of a host and port. Raises NotAHost for what is none.

    Addresses are recognised in every form that a resolver takes for one:
    decimal, octal, hexadecimal and short forms, and IPv4 inside IPv6.
    """
    if not 1 <= port <= 65535:
        raise NotAHost(f"{port} is no port")
    name = host.lower().removesuffix(".")
    if ":" in name:
        try:
            return Target(
                unmapped(ipaddress.IPv6Address(name.removeprefix("[").removesuffix("]"))), port
            )
        except ValueError as error:
            raise NotAHost(f"{host[:100]!r} is no IPv6 address") from error
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise NotAHost(f"{host[:100]!r} is no host name")
    if _ENDS_IN_NUMBER.fullmatch(name):
        try:
            return Target(ipaddress.IPv4Address(socket.inet_aton(name)), port)
        except OSError as error:
            raise NotAHost(f"{host[:100]!r} is no IPv4 address") from error
    return Target(name, port)


def unmapped(address: IpAddress) -> IpAddress:
    """IPv4-mapped IPv6 as the IPv4 address that the kernel connects to; others as they are."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError("a zone belongs to one machine's interfaces")
        return address.ipv4_mapped or address
    return address


def kind_of(address: IpAddress) -> str | None:
    """What an address is, where it is not a public one: "a loopback address" and so on."""
    for found, kind in (
        (address.is_loopback, "a loopback address"),
        (address.is_unspecified, "the unspecified address"),
        (address.is_link_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
    ):
        if found:
            return kind
    if isinstance(address, ipaddress.IPv4Address):
        if address in _SHARED:
            return "a carrier-grade NAT address"
        return None if address.is_global and address not in _RELAYS else "a private address"
    for block, kind in _DETOURS:
        if address in block:
            return kind
    is_public = address.is_global and address in _GLOBAL_UNICAST and address not in _DOCUMENTATION
    return None if is_public else "a private address"


def allowances(entries: Sequence[str]) -> tuple[frozenset[Target], tuple[IpNetwork, ...]]:
    """A pool's `allow`: its `host:port` entries, and its blocks."""
    targets = set()
    blocks = []
    for entry in entries:
        if "/" in entry:
            blocks.append(ipaddress.ip_network(entry))
            continue
        host, _, port = entry.rpartition(":")
        try:
            targets.add(target(host, int(port)))
        except NotAHost:
            continue  # the config takes any text for a host; one that is none names nothing
    return frozenset(targets), tuple(blocks)


def host_patterns(
    declared: Sequence[str],
    settings: Mapping[str, Any],  # Any: the destination's schema decides
    schema: Mapping[str, Any],  # Any: JSON Schema, said by a worker
) -> DeclaredHosts:
    """What declared hosts mean for a connection with these settings.

    A setting that is missing has the schema's default; one that holds no host
    adds none.
    """
    found = []
    for host in declared:
        if setting := _SETTING.fullmatch(host):
            value = settings.get(setting[1], _default(schema, setting[1]))
            pattern = _of_url(value) if isinstance(value, str) else None
        else:
            pattern = _of_declared(host)
        if pattern is not None:
            found.append(pattern)
    return DeclaredHosts(found)


def _of_declared(host: str) -> HostPattern | None:
    is_wildcard = host.startswith("*.")
    name, colon, port = host.removeprefix("*.").rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host.removeprefix("*."), ""
    try:
        where = target(name, int(port) if port else 443)
    except ValueError:
        return None  # a worker has declared it, and may have said anything
    if is_wildcard and not isinstance(where.host, str):
        return None
    return HostPattern(where.host, is_wildcard, frozenset({where.port}) if port else DEFAULT_PORTS)


def _of_url(text: str) -> HostPattern | None:
    """The host of a setting: a URL, or `host` or `host:port`."""
    try:
        # The very parser that the worker's client reads the URL with: no second opinion.
        url = URL(text if "//" in text else f"//{text}")
        host, port = url.raw_host, url.port
        if host is None:
            return None
        where = target(host, port or 443)
    except ValueError:
        return None  # no URL; its destination says so in the settings' errors
    return HostPattern(where.host, False, frozenset({where.port}) if port else DEFAULT_PORTS)


def _default(schema: Mapping[str, Any], setting: str) -> object:
    """A setting's default in a JSON Schema as msgspec writes them; None where there is none."""
    reference = schema.get("$ref")
    definitions = schema.get("$defs")
    if isinstance(reference, str) and isinstance(definitions, Mapping):
        schema = definitions.get(reference.rpartition("/")[2], {})
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    of_setting = properties.get(setting) if isinstance(properties, Mapping) else None
    return of_setting.get("default") if isinstance(of_setting, Mapping) else None
