"""The notation of single values: what it means, and what is none."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import Address, values
from supervisor.config.values import Invalid

size = values.size("0B", "100TiB")
duration = values.duration("0s", "365d")
address = values.address(Path("/etc/bulkhead"))


@pytest.mark.parametrize(
    ("written", "size_bytes"),
    [
        ("0B", 0),
        ("1kB", 1000),
        ("1KB", 1000),
        ("32KiB", 32 * 1024),
        ("256MiB", 256 * 1024**2),
        ("5MB", 5_000_000),
        ("1.5GiB", 1536 * 1024**2),
        ("2 GiB", 2 * 1024**3),
    ],
)
def test_sizes(written: str, size_bytes: int) -> None:
    """A size is a number and a unit; kB counts in thousands, KiB in 1024."""
    assert size(written) == size_bytes


@pytest.mark.parametrize(
    "written",
    ["", "256", "MiB", "-1MiB", "256mib", "1Mb", "1e3MB", "1MiB ", "\u0661MiB", 256, None, []],
)
def test_no_sizes(written: object) -> None:
    """A size without a unit, or with one of bits, is none."""
    with pytest.raises(Invalid, match='write a size such as "256MiB"'):
        size(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30s", 30), ("50ms", 0.05), ("4h", 14400), ("1h30m", 5400), ("30d", 2592000), ("1.5s", 1.5)],
)
def test_durations(written: str, seconds: float) -> None:
    """A duration is numbers with units, added up."""
    assert duration(written) == seconds


@pytest.mark.parametrize("written", ["", "30", "s", "-1s", "1 h", "1w", "1h 30m", 30, 1.5, True])
def test_no_durations(written: object) -> None:
    """A duration without a unit is none."""
    with pytest.raises(Invalid, match='write a duration such as "30s"'):
        duration(written)


def test_ranges() -> None:
    """A value outside its range is told the range."""
    with pytest.raises(Invalid, match='from "1KiB" to "1MiB"'):
        values.size("1KiB", "1MiB")("2MiB")
    with pytest.raises(Invalid, match='from "1s" to "1h"'):
        values.duration("1s", "1h")("999ms")
    with pytest.raises(Invalid, match="from 1 to 8"):
        values.integer(1, 8)(9)
    with pytest.raises(Invalid, match="from 0 to 8"):
        values.integer(0, 8)(True)


@pytest.mark.parametrize(
    ("written", "per_second"), [("500/s", 500), ("90/m", 1.5), ("7200/h", 2), ("0.5/s", 0.5)]
)
def test_rates(written: str, per_second: float) -> None:
    """A rate is events per unit of time."""
    assert values.rate(written) == per_second


@pytest.mark.parametrize("written", ["0/s", "500", "500/w", "-1/s", "/s", 500])
def test_no_rates(written: object) -> None:
    """A rate is above zero, and says per what."""
    with pytest.raises(Invalid, match="write a rate above zero"):
        values.rate(written)


@pytest.mark.parametrize(
    ("written", "meant", "is_local"),
    [
        ("127.0.0.1:8190", Address(host="127.0.0.1", port=8190), True),
        ("localhost:0", Address(host="localhost", port=0), True),
        ("[::1]:80", Address(host="::1", port=80), True),
        ("0.0.0.0:80", Address(host="0.0.0.0", port=80), False),  # noqa: S104 - the point here
        ("admin.internal:80", Address(host="admin.internal", port=80), False),
        ("unix:/run/b.sock", Address(path=Path("/run/b.sock")), True),
        ("unix:b.sock", Address(path=Path("/etc/bulkhead/b.sock")), True),
    ],
)
def test_addresses(written: str, meant: Address, is_local: bool) -> None:
    """An address is TCP or a socket file; only loopback and socket files are local."""
    assert address(written) == meant
    assert meant.is_local is is_local
    assert address(str(meant)) == meant


@pytest.mark.parametrize(
    "written",
    ["8190", ":8190", "host", "host:", "host:65536", "host:-1", "::1:80", "[::1]", "[x]:1", "a b:1",
     "unix:", "http://host:80", 8190],
)  # fmt: skip
def test_no_addresses(written: object) -> None:
    """An address without host or port, or with an impossible one, is none."""
    with pytest.raises(Invalid):
        address(written)


def test_long_socket_paths() -> None:
    """A socket path that the kernel would not take is found here, and not at start."""
    with pytest.raises(Invalid, match="107 bytes"):
        address("unix:/" + "x" * 107)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("Hooks.Internal:443", "hooks.internal:443"),
        ("[FD00::1]:443", "[fd00::1]:443"),
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("fd00::/8", "fd00::/8"),
    ],
)
def test_allowed(written: str, meant: str) -> None:
    """Further addresses for workers are `host:port` or a CIDR block."""
    assert values.allowed(written) == meant


@pytest.mark.parametrize("written", ["10.0.0.1", "host", "host:0", "10.1.0.0/33", "10.1.2.3/16", 1])
def test_not_allowed(written: object) -> None:
    """A bare host says no port, and a block with host bits is a slip."""
    with pytest.raises(Invalid):
        values.allowed(written)


@pytest.mark.parametrize("written", ["a:b", " a", "a\n", "", 1])
def test_no_write_keys(written: object) -> None:
    """A write key has to fit into HTTP Basic as a user name."""
    with pytest.raises(Invalid):
        values.write_key(written)


@pytest.mark.parametrize(
    "written", ["proxy:3128", "ftp://p:1", "https://p:1", "http://", "http://p:x", "http://["]
)
def test_no_proxies(written: str) -> None:
    """A proxy is an http URL with a host."""
    with pytest.raises(Invalid):
        values.proxy_url(written)


@given(
    st.sampled_from(
        [
            size,
            duration,
            values.rate,
            address,
            values.allowed,
            values.proxy_url,
            values.class_path,
            values.write_key,
            values.path(Path("/")),
            values.list_of(values.text),
            values.boolean,
        ]
    ),
    st.text()
    | st.integers()
    | st.floats()
    | st.lists(st.text())
    | st.from_regex(r"\d+[a-zA-Z/:]+"),
)
def test_anything(parse: values.Parser, written: object) -> None:
    """Whatever is written, a parser gives a value or says what is wrong."""
    with contextlib.suppress(Invalid):
        parse(written)
