"""The bytes of a request: its URL as it was written, headers that stay in their line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.kit.client.addresses import InvalidUrl, ServerAddress, origin_of, parted
from destinations.kit.client.heads import RequestHeads


def head(
    url: str, headers: dict[str, str] | None = None, method: str = "POST", size: int = 2
) -> str:
    """The head of a request."""
    return RequestHeads().head(method, url, headers or {}, size)[1].decode()


@pytest.mark.parametrize(
    "target",
    [
        "/a%2Fb/%2f?sig=a%2Bb%2b%40&e=me%40x.com",
        "/?q=a+b%20c",
        "/a//b/../c/./d",
        "/%7Euser/~user/'()*!",
        '/{a}|b\\c^`<>"',
        "/%zz%",
        "/?a=1&a=2&&=&b",
        "/;v=1,2:3@4",
    ],
)
def test_byte_for_byte(target: str) -> None:
    """A URL goes out as it was written, escapes and all."""
    assert head(f"https://h.example{target}").startswith(
        f"POST {target} HTTP/1.1\r\nHost: h.example\r\n"
    )


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://h", "/"),
        ("http://h?a=b", "/?a=b"),
        ("http://h/a#b", "/a"),
        ("http://h#/b", "/"),
        ("http://h/ä b", "/%C3%A4%20b"),
        ("http://h/a\r\nX: y", "/a%0D%0AX:%20y"),
        ("HTTP://h/A", "/A"),
    ],
)
def test_what_cannot_travel(url: str, line: str) -> None:
    """Only what HTTP cannot carry is escaped; a fragment is not the server's."""
    assert head(url).startswith(f"POST {line} HTTP/1.1\r\n")


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_url_is_one_line(host: str, path: str) -> None:
    """Whatever a URL holds, the request has one target."""
    try:
        target = parted(f"http://{host}/{path}")[1]
    except InvalidUrl:
        return
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target


@pytest.mark.parametrize(
    ("origin", "address", "authority"),
    [
        ("https://H.example", ServerAddress("h.example", 443, True), "h.example"),
        ("http://h:8080", ServerAddress("h", 8080, False), "h:8080"),
        ("https://h:443", ServerAddress("h", 443, True), "h"),
        ("http://[::1]:8080", ServerAddress("::1", 8080, False), "[::1]:8080"),
        (
            "http://bücher.example",
            ServerAddress("xn--bcher-kva.example", 80, False),
            "xn--bcher-kva.example",
        ),
        ("http://u:p@h", ServerAddress("h", 80, False), "h"),
    ],
)
def test_origins(origin: str, address: ServerAddress, authority: str) -> None:
    """A URL says where to connect to, and what the server is called."""
    understood = origin_of(origin)
    assert (understood.address, understood.authority) == (address, authority)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/a",
        "ftp://h/",
        "http://",
        "http:///a",
        "http://h:x/",
        "http://h:99999/",
        "https://[::1/",
        "http://h/\ud800",
    ],
)
def test_what_is_no_url(url: str) -> None:
    """What is no http or https URL is refused."""
    with pytest.raises(InvalidUrl):
        head(url)


def test_user_and_password() -> None:
    """Who is named in a URL is said in a header, unless the request says it itself."""
    assert "\r\nAuthorization: Basic YSBiOmM=\r\n" in head("http://a%20b:c@h/")
    assert "Basic" not in head("http://a:b@h/", {"authorization": "Bearer x"})


def test_defaults_and_what_replaces_them() -> None:
    """What a request says itself is not said again."""
    said = head("http://h/", {"user-agent": "me", "ACCEPT": "a/b", "Host": "other"})
    assert said.lower().count("user-agent:") == said.lower().count("accept:") == 1
    assert "Host: other" in said
    assert "Host: h" not in said
    assert "Content-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\n" in said
    assert "octet" not in head("http://h/", {"content-type": "a/b"})
    assert head("http://h/", method="GET", size=0).count("Content-Length") == 0
    assert head("http://h/", size=0).endswith("Content-Length: 0\r\n\r\n")
    assert head("http://h/", {"Content-Length": "9"}).count("Content-Length") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"A": "b\r\nC: d"},
        {"A": "b\nC"},
        {"A": "b\0"},
        {"A: b\r\nC": "d"},
        {"": "a"},
        {"A b": "c"},
        {"Transfer-Encoding": "chunked"},
    ],
)
def test_headers_stay_in_their_line(headers: dict[str, str]) -> None:
    """A header that would be two, or change where the body ends, is refused."""
    with pytest.raises(ValueError, match=r"header|line|Transfer"):
        head("http://h/", headers)


def test_a_token_that_is_renewed_in_place() -> None:
    """Heads are remembered by what the headers say, not by which object says it."""
    heads, headers = RequestHeads(), {"Authorization": "Bearer 1"}
    assert b"Bearer 1" in heads.head("POST", "http://h/", headers, 0)[1]
    headers["Authorization"] = "Bearer 2"
    assert b"Bearer 2" in heads.head("POST", "http://h/", headers, 0)[1]
