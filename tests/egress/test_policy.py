"""What a connection may connect to, however it is asked."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.egress.policy import (
    EgressPolicy,
    NotAHost,
    allowances,
    host_patterns,
    kind_of,
    target,
    unmapped,
)


def egress_policy(
    declared: Sequence[str] = ("api.example.com",),
    *,
    settings: Mapping[str, Any] | None = None,
    schema: Mapping[str, Any] | None = None,
    network: str = "declared",
    allow: Sequence[str] = (),
) -> EgressPolicy:
    """A connection's reach. Any: a destination's settings and schema."""
    allowed, blocks = allowances(allow)
    return EgressPolicy(
        connection="website-example",
        destination="example",
        pool="default",
        network=network,
        declared=len(declared),
        hosts=host_patterns(declared, settings or {}, schema or {}),
        allowed=allowed,
        blocks=blocks,
    )


def may_ask(where: EgressPolicy, host: str, port: int = 443) -> bool:
    return where.refusal(target(host, port)) is None


def may_reach(
    where: EgressPolicy, host: str, port: int, address: str, *, is_own: bool = False
) -> bool:
    """Whether a host that has this address may be connected to."""
    asked = target(host, port)
    found = unmapped(ipaddress.ip_address(address))
    return (
        where.refusal(asked) is None and where.address_refusal(asked, found, is_own=is_own) is None
    )


@pytest.mark.parametrize(
    ("declared", "host", "port", "may"),
    [
        ("api.example.com", "api.example.com", 443, True),
        ("api.example.com", "api.example.com", 80, True),
        ("api.example.com", "API.Example.COM.", 443, True),
        ("api.example.com", "api.example.com", 8443, False),
        ("api.example.com:8443", "api.example.com", 8443, True),
        ("api.example.com:8443", "api.example.com", 443, False),
        ("api.example.com", "example.com", 443, False),
        ("api.example.com", "x.api.example.com", 443, False),
        ("api.example.com", "api.example.com.evil.net", 443, False),
        ("*.example.com", "a.example.com", 443, True),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "notexample.com", 443, False),
        ("*.example.com:8443", "a.example.com", 8443, True),
        ("192.0.2.1", "192.0.2.1", 443, True),
        ("[2001:db8::1]:8443", "2001:DB8:0::1", 8443, True),
        ("[2001:db8::1]", "[2001:db8::1]", 443, True),
    ],
)
def test_declared_hosts(declared: str, host: str, port: int, may: bool) -> None:
    """A declared host is that host on its port, or on those of HTTP and HTTPS; nothing beside."""
    assert may_ask(egress_policy([declared]), host, port) is may


@pytest.mark.parametrize(
    ("setting", "host", "port", "may"),
    [
        ("https://hooks.example.com/in?k=v", "hooks.example.com", 443, True),
        ("https://hooks.example.com/in", "hooks.example.com", 80, False),
        ("http://hooks.example.com", "hooks.example.com", 80, True),
        ("http://user:pw@hooks.example.com:8080/", "hooks.example.com", 8080, True),
        ("http://user:pw@hooks.example.com:8080/", "user", 80, False),
        ("https://hooks.example.com@evil.net/", "hooks.example.com", 443, False),
        ("https://B\u00fccher.example/", "xn--bcher-kva.example", 443, True),
        ("hooks.example.com", "hooks.example.com", 443, True),
        ("hooks.example.com:8080", "hooks.example.com", 8080, True),
        ("http://[::1]:9000/", "::1", 9000, True),
        ("http://2130706433:9000/", "127.0.0.1", 9000, True),
        ("not a url at all", "not", 80, False),
        ("", "", 80, False),
    ],
)
def test_hosts_in_settings(setting: str, host: str, port: int, may: bool) -> None:
    """ "{url}" is the host that the connection's own setting names, on the port that it means."""
    where = egress_policy(["{url}"], settings={"url": setting})
    try:
        assert may_ask(where, host, port) is may
    except NotAHost:
        assert not may


def test_default_of_a_setting() -> None:
    """A setting that the config leaves out names the host that the destination has by default."""
    schema = {
        "$ref": "#/$defs/Settings",
        "$defs": {"Settings": {"properties": {"url": {"default": "https://login.example.com"}}}},
    }
    assert may_ask(egress_policy(["{url}"], schema=schema), "login.example.com")
    assert not may_ask(
        egress_policy(["{url}"], schema=schema, settings={"url": "https://a.example"}),
        "login.example.com",
    )


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("$defs"), inner),
    )
)
def test_schemas_may_be_anything(said: object) -> None:
    """Whatever a destination says of its settings, its other hosts stand."""
    schema = {"$ref": "#/$defs/Settings", "$defs": said, "properties": said}
    assert may_ask(egress_policy(["{url}", "api.example.com"], schema=schema), "api.example.com")


@pytest.mark.parametrize(
    "written",
    [
        "127.0.0.1", "127.0.0.1.", "2130706433", "0x7f000001", "0X7F.0.0.1", "017700000001",
        "0177.0.0.1", "127.1", "127.0.1", "::ffff:127.0.0.1", "::FFFF:7f00:1",
        "[0:0:0:0:0:ffff:127.0.0.1]",
    ],
)  # fmt: skip
def test_one_spelling(written: str) -> None:
    """Decimal, octal, hexadecimal, short and IPv6-mapped forms are the address that they mean."""
    assert str(target(written, 80)) == "127.0.0.1:80"
    assert not may_ask(egress_policy(["a.example"]), written)
    assert not may_reach(egress_policy(network="public"), written, 80, "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("", 80), (".", 80), ("a..b", 80), ("a b", 80), ("a\nb", 80), ("a\0b", 80), ("a/b", 80),
        ("-a.example", 80), ("x" * 64 + ".example", 80), ("a." * 130 + "example", 80),
        ("b\u00fccher.example", 80), ("\uff11\uff12\uff17.0.0.1", 80), ("127.0.0.1 evil", 80),
        ("1.2.3.4.5", 80), ("256.0.0.1", 80), ("0x", 80), ("1.example.09", 80),
        ("fe80::1%eth0", 80),        (":::", 80), ("[::1", 80), ("*.example.com", 80),
        ("a.example", 0), ("a.example", 65536), ("a.example", -1),
    ],
)  # fmt: skip
def test_no_hosts(host: str, port: int) -> None:
    """What is neither a name nor an address is refused before anybody looks it up."""
    if host == "[::1":  # brackets are only decoration
        assert str(target(host, port)) == "[::1]:80"
        return
    with pytest.raises(NotAHost):
        target(host, port)


@given(st.text(max_size=300), st.integers())
def test_any_text_is_a_host_or_refused(host: str, port: int) -> None:
    """No text gets past the only spelling: what is taken is taken again as the same."""
    try:
        found = target(host, port)
    except NotAHost:
        return
    assert target(str(found.host), found.port) == found
    assert str(found.host).isascii()


@given(st.ip_addresses(v=4))
def test_resolvers_agree_on_addresses(address: ipaddress.IPv4Address) -> None:
    """Every form that the system's resolver takes for an address is that address here."""
    number = int(address)
    for form in (str(number), hex(number), f"0{number:o}", str(address)):
        info = socket.getaddrinfo(form, 80, socket.AF_INET, flags=socket.AI_NUMERICHOST)
        assert str(target(form, 80).host) == info[0][4][0]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"), ("127.255.0.3", "loopback"), ("::1", "loopback"),
        ("::", "unspecified"), ("0.0.0.0", "unspecified"),  # noqa: S104 - nobody binds it
        ("169.254.169.254", "link-local"), ("fe80::1", "link-local"),
        ("10.0.0.1", "private"), ("172.16.0.1", "private"), ("192.168.1.1", "private"),
        ("100.64.0.1", "carrier-grade NAT"), ("100.127.255.255", "carrier-grade NAT"),
        ("192.0.0.1", "private"), ("192.0.2.1", "private"), ("198.18.0.1", "private"),
        ("192.88.99.1", "private"), ("240.0.0.1", "private"), ("255.255.255.255", "private"),
        ("224.0.0.1", "multicast"), ("239.1.1.1", "multicast"), ("ff02::1", "multicast"),
        ("fc00::1", "private"), ("fd12:3456::1", "private"), ("fec0::1", "private"),
        ("64:ff9b::7f00:1", "NAT64"), ("64:ff9b::808:808", "NAT64"), ("64:ff9b:1::1", "NAT64"),
        ("2002:7f00:1::1", "6to4"), ("2002:808:808::1", "6to4"), ("2001::1", "Teredo"),
        ("2001:db8::1", "private"), ("3fff::1", "private"), ("::7f00:1", "private"),
        ("5f00::1", "private"), ("100::1", "private"), ("4000::1", "private"),
        ("::ffff:8.8.8.8", "IPv4-mapped"),
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str, kind: str) -> None:
    """Addresses that lead anywhere but into the public internet are named for what they are."""
    found = kind_of(ipaddress.ip_address(address))
    assert found is not None
    assert kind in found
    assert (
        not may_reach(egress_policy(network="public"), "a.example", 443, address)
        or "mapped" in kind
    )


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "2606:4700::1111", "2a00::1"]
)
def test_public_addresses(address: str) -> None:
    """The rest is public."""
    assert kind_of(ipaddress.ip_address(address)) is None
    assert may_reach(egress_policy(), "api.example.com", 443, address)


@given(st.ip_addresses(v=6))
def test_public_ipv6_is_global_unicast(address: ipaddress.IPv6Address) -> None:
    """Only what is given out as global unicast is public, whatever else may come."""
    if kind_of(address) is None:
        assert address in ipaddress.ip_network("2000::/3")
        assert address.is_global


@given(st.ip_addresses(v=4))
def test_mapped_addresses_are_judged_as_ipv4(address: ipaddress.IPv4Address) -> None:
    """An IPv4-mapped answer of a name server is judged as the address that it leads to."""
    mapped = f"::ffff:{address}"
    assert may_reach(egress_policy(), "api.example.com", 443, mapped) is (kind_of(address) is None)


@pytest.mark.parametrize(
    ("allow", "host", "port", "address", "may"),
    [
        ("127.0.0.1:9000", "127.0.0.1", 9000, "127.0.0.1", True),
        ("127.0.0.1:9000", "2130706433", 9000, "127.0.0.1", True),
        ("127.0.0.1:9000", "127.0.0.1", 9001, "127.0.0.1", False),
        ("127.0.0.1:9000", "127.0.0.2", 9000, "127.0.0.2", False),
        ("hooks.internal:443", "hooks.internal", 443, "10.0.0.5", True),
        ("hooks.internal:443", "other.internal", 443, "10.0.0.5", False),
        ("10.0.0.5:443", "api.example.com", 443, "10.0.0.5", True),
        ("10.0.0.5:443", "api.example.com", 443, "10.0.0.6", False),
        ("10.0.0.5:443", "undeclared.example", 443, "10.0.0.5", False),
        ("10.0.0.0/8", "10.1.2.3", 8080, "10.1.2.3", True),
        ("10.0.0.0/8", "api.example.com", 443, "10.1.2.3", True),
        ("10.0.0.0/8", "api.example.com", 443, "11.1.2.3", True),
        ("10.0.0.0/8", "undeclared.example", 443, "10.1.2.3", False),
        ("10.0.0.0/8", "api.example.com", 443, "192.168.0.1", False),
        ("64:ff9b::/96", "api.example.com", 443, "64:ff9b::808:808", True),
        ("[fd00::1]:443", "fd00:0::1", 443, "fd00::1", True),
    ],
)
def test_allow(allow: str, host: str, port: int, address: str, may: bool) -> None:
    """`allow` opens exactly what it names: a host and port by name, an address, or a block."""
    assert may_reach(egress_policy(allow=[allow]), host, port, address) is may


@pytest.mark.parametrize(
    ("network", "host", "address", "may"),
    [
        ("public", "undeclared.example", "8.8.8.8", True),
        ("public", "undeclared.example", "10.0.0.1", False),
        ("public", "8.8.8.8", "8.8.8.8", True),
        ("any", "undeclared.example", "10.0.0.1", True),
        ("any", "127.0.0.1", "127.0.0.1", True),
        ("any", "224.0.0.1", "224.0.0.1", False),
    ],
)
def test_networks(network: str, host: str, address: str, may: bool) -> None:
    """`public` drops the declaration, `any` the public addresses too; neither speaks multicast."""
    assert may_reach(egress_policy(network=network), host, 443, address) is may


@pytest.mark.parametrize("network", ["declared", "public", "any"])
def test_own_ports(network: str) -> None:
    """This service's own ports are reached only where `allow` names them, by no block or mode."""
    for allow, may in (((), False), (("127.0.0.0/8",), False), (("127.0.0.1:9190",), True)):
        where = egress_policy(["127.0.0.1:9190"], network=network, allow=allow)
        assert may_reach(where, "127.0.0.1", 9190, "127.0.0.1", is_own=True) is may


def test_refusals_say_what_to_do() -> None:
    """A refusal names what was asked, who does not declare it, and the line that opens it."""
    text = egress_policy(["api.example.com", "{url}"]).refusal(target("evil.net", 8443))
    assert text == (
        "egress refused: evil.net:8443 is not declared by example, which declares "
        "2 others (see `bulkhead check`); if it should be reached, add "
        '"evil.net:8443" to pools.default.allow'
    )
    many = [f"{'x' * 60}{n}.example" for n in range(256)]
    assert len(egress_policy(many).refusal(target("evil.net", 8443)) or "") < 200, "nor repeats it"
    asked = target("api.example.com", 443)
    text = egress_policy().address_refusal(asked, ipaddress.ip_address("10.0.0.5"), is_own=False)
    assert text == (
        "egress refused: api.example.com:443 is at 10.0.0.5, which is a private address, not a "
        'public one; if it should be reached, add "10.0.0.5:443" to pools.default.allow'
    )
