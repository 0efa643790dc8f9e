"""URLs of servers that secrets are sent to."""

from __future__ import annotations

import pytest

from destinations.kit.urls import base_url_errors


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example",
        "https://x.example:8443/rest/",
        "http://127.0.0.1:1",
        "http://localhost:1",
        "http://[::1]:1",
    ],
)
def test_good(url: str) -> None:
    """TLS anywhere, and plain HTTP on this machine."""
    assert base_url_errors("key", url) == []


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("", "must begin with https://"),
        ("x.example", "must begin with https://"),
        ("ftp://x.example", "must begin with https://"),
        ("http://x.example", "secrets are sent"),
        ("https://u:p@x.example", "no user name"),
        ("https://x.example/?a=b", "without ?"),
        ("https://x.example/#a", "without ?"),
        ("https://x.example:0", "port"),
        ("https://x.example:70000", ""),
        ("https://[::1", "not a valid URL"),
    ],
)
def test_bad(url: str, error: str) -> None:
    """Each impossible URL has one error, which opens with the key and never holds the URL."""
    errors = base_url_errors("key", url)
    assert len(errors) == 1
    assert errors[0].startswith("key: ")
    assert error in errors[0]
    assert not url or url not in errors[0]
