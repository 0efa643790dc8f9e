"""What Google Analytics' answers mean."""

from __future__ import annotations

import pytest

from destinations.google_analytics.outcomes import collected
from destinations.kit import Delivered, Failed, Response, Retry, Split


@pytest.mark.parametrize("status", [200, 202, 204])
def test_received(status: int) -> None:
    """Any 2xx is delivered, with or without a body: it is all that Google says."""
    assert collected(Response(status)) == Delivered()
    assert collected(Response(status, {}, b"GIF89a")) == Delivered()
    assert collected(Response(status, {}, b"x", "cut off in the middle")) == Delivered()


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>Login", b"  <HTML><p>Login"])
def test_page(page: bytes) -> None:
    """A page with status 200 is a proxy's, so that the events are sent again."""
    outcome = collected(Response(200, {}, page))
    assert isinstance(outcome, Retry)
    assert "HTML" in outcome.reason


@pytest.mark.parametrize("status", [408, 423, 425, 429, 500, 502, 503, 504])
def test_statuses_to_try_again(status: int) -> None:
    """What passes by itself is tried again, after the time that the server asks for."""
    outcome = collected(Response(status, {"Retry-After": "7"}))
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 7.0


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 405, 415, 501, 505])
def test_statuses_that_failed(status: int) -> None:
    """A request that is wrong is not repeated, as the page asks."""
    assert isinstance(collected(Response(status)), Failed)


def test_too_large() -> None:
    """413 is found out event by event."""
    assert collected(Response(413)) == Split("413: Google Analytics found the request too large")
