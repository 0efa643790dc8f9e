"""Who may use the admin API."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.admin.access import Access
from supervisor.config import Address

LOOPBACK = Access(Address(host="127.0.0.1", port=9190))
PUBLIC = Access(Address(host="bulkhead.internal", port=9190), "token")
WILDCARD = Access(Address(host="0.0.0.0", port=9190), "token")  # noqa: S104  # nothing listens
SOCKET = Access(Address(path=Path("/run/bulkhead.sock")))
BEARER = {"Authorization": "Bearer token"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:9190", "localhost:1", "LOCALHOST", "[::1]:9190", "127.9.9.9"]
)
def test_loopback_names_are_answered(host: str) -> None:
    """Every name of this machine's loopback is ours, with any port in front of a tunnel."""
    assert LOOPBACK.denial({"Host": host}, is_public=False, is_work=False) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.1", "[::2]", "]"],
)
def test_other_names_are_not_answered(host: str) -> None:
    """A name that could be re-bound to loopback is turned away, on public paths too."""
    denied = LOOPBACK.denial({"Host": host}, is_public=True, is_work=False)
    assert denied is not None
    assert denied.error == "wrong_host"


def test_the_configured_name_is_answered() -> None:
    """The host that the service listens on is one of its names."""
    headers = {"Host": "Bulkhead.Internal:9190", **BEARER}
    assert PUBLIC.denial(headers, is_public=False, is_work=False) is None


def test_a_wildcard_answers_to_every_name_with_the_token() -> None:
    """A listener on all addresses has unknown names, and its token keeps strangers out."""
    assert (
        WILDCARD.denial({"Host": "any.example", **BEARER}, is_public=False, is_work=False) is None
    )
    assert WILDCARD.denial({"Host": "any.example"}, is_public=False, is_work=False) is not None


def test_a_unix_socket_has_no_names() -> None:
    """What came through a UNIX socket came from this machine's file system."""
    assert SOCKET.denial({"Host": "whatever"}, is_public=False, is_work=False) is None


def test_a_page_served_by_the_service_itself_may_call() -> None:
    """The Origin of the Host itself is no foreign one."""
    headers = {"Host": "127.0.0.1:9190", "Origin": "http://127.0.0.1:9190"}
    assert LOOPBACK.denial(headers, is_public=False, is_work=False) is None
    assert (
        LOOPBACK.denial({**headers, "Origin": "null"}, is_public=False, is_work=False) is not None
    )


@pytest.mark.parametrize(
    ("header", "is_taken"),
    [
        ("Bearer token", True),
        ("bearer  token ", True),
        ("Basic token", False),
        ("token", False),
        ("Bearer", False),
        ("Bearer t\udc80ken", False),
        ("Bearer tökén", False),
    ],
)
def test_only_the_bearer_token_counts(header: str, is_taken: bool) -> None:
    """Any spelling that HTTP allows is taken, and no other text or byte is."""
    denied = PUBLIC.denial(
        {"Host": "localhost", "Authorization": header}, is_public=False, is_work=False
    )
    assert (denied is None) is is_taken


def test_a_token_is_never_printed() -> None:
    """The text form of the rules holds no token."""
    assert "token='token'" not in repr(PUBLIC)
    assert "'token'" not in repr(PUBLIC)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "", "whatever", " "])
def test_pages_of_other_sites_have_nothing_done(site: str) -> None:
    """An image or a link of another site sends no Origin; what it asks for is not done."""
    headers = {"Host": "127.0.0.1:9190", "Sec-Fetch-Site": site}
    denied = LOOPBACK.denial(headers, is_public=False, is_work=True)
    assert denied is not None
    assert denied.error == "wrong_site"
    assert SOCKET.denial(headers, is_public=False, is_work=True) is not None
    # A dashboard that links to a page of ours may do so.
    assert LOOPBACK.denial(headers, is_public=False, is_work=False) is None


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_operator_may_have_it_done(site: str) -> None:
    """A typed address and a page of our own are no other site; curl says nothing at all."""
    headers = {"Host": "127.0.0.1:9190", "Sec-Fetch-Site": site}
    assert LOOPBACK.denial(headers, is_public=False, is_work=True) is None
    assert LOOPBACK.denial({"Host": "127.0.0.1"}, is_public=False, is_work=True) is None


@pytest.mark.parametrize(
    "host",
    [
        *("[::1]evil.example", "[::1]:1evil", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:9190:1"),
        *("evil.example@127.0.0.1", "127.0.0.1/", "127.0.0.1 ", "127.0.0.1:123456", "::1"),
        *("localhost.", "127.0.0.1\n", "[::1", "[localhost]", "127.1", "0x7f.1", "2130706433"),
    ],
)
def test_a_host_is_matched_whole(host: str) -> None:
    """What only begins or ends like a name of ours is none."""
    assert LOOPBACK.denial({"Host": host}, is_public=True, is_work=False) is not None


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("bulkhead.example.com", True),
        ("BULKHEAD.example.com:443", True),
        ("console.example.com:8443", True),
        ("console.example.com", False),
        ("console.example.com:1", False),
        ("[2001:db8::1]:9190", True),
        ("x.bulkhead.example.com", False),
        ("bulkhead.example.com.evil", False),
    ],
)
def test_names_of_a_proxy_are_ours(host: str, is_ours: bool) -> None:
    """`admin.hosts` adds names; one with a port means that port alone."""
    hosts = ("bulkhead.example.com", "console.example.com:8443", "2001:db8::1")
    access = Access(Address(host="127.0.0.1", port=9190), hosts=hosts)
    assert (access.denial({"Host": host}, is_public=False, is_work=False) is None) is is_ours
