"""Who may do what: every row of the table, by every role, with every method."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from supervisor.admin.access import Access
from supervisor.admin.routes import ROUTES, AdminApi
from supervisor.admin.table import Right, Role, Route
from supervisor.config import Address
from tests.admin.stubs import StubControl, a_status, queue_status

Client = TestClient[Request, Application]

TOKENS = {Role.OPERATOR: "operator-token-123", Role.VIEWER: "viewer-token-12345"}
HERE = Address(host="127.0.0.1", port=9190)
MARK = "MARKER-9f8e7d6c5b4a"


@pytest.fixture
async def both(control: StubControl) -> AsyncIterator[Client]:
    """The API with a token for operators and one for viewers."""
    access = Access(
        HERE, token=TOKENS[Role.OPERATOR], view_token=TOKENS[Role.VIEWER], user_header="X-User"
    )
    api = AdminApi(control, access)
    async with TestClient(TestServer(api.app), cookie_jar=aiohttp.DummyCookieJar()) as running:
        yield running


def by(role: Role) -> dict[str, str]:
    """The header of a caller of that role."""
    return {"Authorization": f"Bearer {TOKENS[role]}"}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_a_viewer_has_the_rows_of_view_alone(
    route: Route, both: Client, control: StubControl
) -> None:
    """Every acting row and every evidence row is 403 to a viewer, and nothing is done."""
    path = route.path.format(message_id="m", id="x", name="x")
    answer = await both.request(route.method, path, headers=by(Role.VIEWER))
    if route.needs in (Right.EVIDENCE, Right.ACT):
        assert (answer.status, (await answer.json())["error"]) == (403, "forbidden")
        assert not control.done
        assert not control.stub_queue.asked
        assert not control.evidence.asked
    else:
        assert answer.status != 403
    assert (await both.request(route.method, path, headers=by(Role.OPERATOR))).status != 403
    bare = await both.request(route.method, path)
    assert (bare.status == 401) is (route.needs is not Right.PUBLIC)


def test_what_changes_something_is_not_for_viewers() -> None:
    """No row that is no GET is open to whoever may only see."""
    assert all(route.needs is Right.ACT for route in ROUTES if route.method != "GET")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_no_other_method_of_a_row_does_anything_for_a_viewer(
    route: Route, method: str, both: Client, control: StubControl
) -> None:
    """A method that the row does not have is refused, whatever it is."""
    path = route.path.format(message_id="m", id="x", name="x")
    answer = await both.request(method, path, headers=by(Role.VIEWER))
    if not any(row.path == route.path and row.method == method for row in ROUTES):
        assert answer.status in (403, 405) or method == "HEAD"
    assert not control.done
    assert not control.stub_queue.asked
    assert not control.evidence.asked


async def test_a_viewer_reads_no_text_of_others(both: Client, control: StubControl) -> None:
    """What partners and senders wrote, in reasons and ids, is in no answer to a viewer."""
    control.now = a_status(queue_status(state_reason=f"status 400: {MARK}"))
    control.stub_queue.letters = [
        msgspec.structs.replace(letter, reason=f"status 400: {MARK}", message_id=MARK)
        for letter in control.stub_queue.letters
    ]
    for path in ("/status", "/deadletters", "/debug/workers"):
        seen = await (await both.get(path, headers=by(Role.VIEWER))).text()
        assert MARK not in seen, path
    for path in ("/status", "/deadletters"):
        assert MARK in await (await both.get(path, headers=by(Role.OPERATOR))).text()


async def test_a_viewer_cannot_guess_a_reason(both: Client, control: StubControl) -> None:
    """A search in reasons would say, letter by letter, what they say."""
    answer = await both.get("/deadletters?error=M", headers=by(Role.VIEWER))
    assert answer.status == 400
    assert not control.stub_queue.listed


async def test_both_tokens_are_asked_for_by_their_own_names(both: Client) -> None:
    """No other text is either of them, an empty one included."""
    for token in ("", " ", "operator-token-12", "viewer-token-123456", "\u00e9"):
        answer = await both.get("/status", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 401, token


def test_who_it_is_comes_from_a_proxy_on_a_socket_alone() -> None:
    """Whoever reaches a TCP port could write the header."""
    headers = {"X-User": " ann\x1b[1m "}
    on_port = Access(HERE, user_header="X-User").caller(headers, Role.VIEWER, "10.0.0.1")
    assert (on_port.role, on_port.name) == (Role.VIEWER, "viewer at 10.0.0.1")
    socket = Access(Address(path=Path("/run/bulkhead.sock")), user_header="X-User")
    assert socket.caller(headers, Role.OPERATOR, None).name == "ann\\x1b[1m"
    assert socket.caller({}, Role.OPERATOR, "").name == "operator"
    assert len(socket.caller({"X-User": "a" * 999}, Role.OPERATOR, "").name) == 200
