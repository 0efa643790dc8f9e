"""Trends, issues and the tap over HTTP: what is answered, to whom, and to what is no question."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from supervisor.queue import NewEvent, Route
from tests.admin.stubs import StubControl
from tests.console.conftest import ACCESS, OPERATOR, VIEWER, Client
from tests.console.data_world import DataWorld

MARK = "zqmark7"
BODY = json.dumps(
    {
        "type": "track",
        "event": f"Bought {MARK}",
        "messageId": f"id-{MARK}",
        "userId": f"u-{MARK}",
        "properties": {"total": 1.10, "email": f"{MARK}@example.com", "note": MARK},
    }
).encode()


class Rejected(msgspec.Struct):
    """As intake tells it."""

    index: int
    code: str
    message: str


@pytest.fixture
def world(tmp_path: Path) -> DataWorld:
    """With what the rows show: one event taken, one rejected, one failed."""
    return DataWorld(tmp_path)


@pytest.fixture
async def client(world: DataWorld, control: StubControl) -> AsyncIterator[Client]:
    """A client of those rows."""
    server = TestServer(world.app(control, ACCESS))
    async with TestClient(server) as client:
        yield client


async def get(client: Client, path: str, token: str = OPERATOR) -> tuple[int, Any]:
    """Status and body. Any: JSON."""
    answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
    return answer.status, await answer.json()


def fill(world: DataWorld) -> None:
    """Events of each kind."""
    insight = world.insight
    event = NewEvent(f"id-{MARK}", "track", f"u-{MARK}", BODY, Route(("hook",), ("b",), ("c",)))
    insight.took("website", [event], [True], 0)
    bad = msgspec.Raw(b'{"type": "' + MARK.encode() + b'"}')
    insight.rejected("website", [Rejected(0, "unknown_type", f'type is "{MARK}"')], [bad])
    insight.troubled("hook", "failed", f"400 Bad Request: contact {MARK} is no contact", 3)
    world.books.move("hook", accepted=5, delivered_first_try=1, failed=3)
    world.latencies.observe_ages("hook", [0.0], 0.25)


async def test_trends_are_columns_of_numbers(client: Client, world: DataWorld) -> None:
    """With what is not booked yet; quantiles where something was delivered."""
    fill(world)
    status, trend = await get(client, "/trends?connection=hook")
    assert status == 200
    assert trend["step_s"] == 60
    assert trend["times"][0] == trend["from"] == trend["reaches_back_to"]
    assert trend["columns"]["failed"][-1] == trend["totals"]["failed"] == 3
    assert trend["columns"]["depth"][-1] == 1
    assert 0.2 < trend["columns"]["p95_s"][-1] < 0.3
    # Of one frame's deliveries; over several they are of all of them together.
    assert trend["totals"]["p95_s"] == trend["columns"]["p95_s"][-1]
    assert "received" not in trend["columns"]
    _, trend = await get(client, "/trends?source=website&step=600")
    assert trend["totals"] == {"received": 1, "rejected": 1, "duplicates": 0}
    assert trend["times"][0] % 600 == 0
    _, trend = await get(client, "/console/api/trends")
    assert trend["totals"]["received"] == 1
    assert trend["totals"]["accepted"] == 5
    assert {len(column) for column in trend["columns"].values()} == {len(trend["times"])}


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/trends?step=61", 400, "60, 600, 3600"),
        ("/trends?step=", 200, ""),
        ("/trends?from=yesterday", 400, "from"),
        ("/trends?from=99999999999&to=1", 400, "before"),
        ("/trends?from=-5", 400, "from"),
        ("/trends?from=1e9", 400, "from"),
        ("/trends?from=2026-01-01T00:00:00Z&step=60", 200, ""),
        ("/trends?from=0", 200, ""),
        ("/trends?from=0&to=99999999999&step=3600", 200, ""),
        ("/trends?from=1&to=2", 200, ""),
        ("/trends?connection=hook&source=website", 400, "one of them"),
        ("/trends?connection=nobody", 404, "nobody"),
        ("/trends?source=nobody", 404, "nobody"),
        ("/trends?frob=1", 400, "frob"),
        ("/trends?step=60&step=60", 400, "twice"),
        ("/issues?kind=odd", 400, "failed, retry"),
        ("/issues?open=maybe", 400, "yes or no"),
        ("/issues?limit=0", 400, "limit"),
        ("/issues?limit=501", 400, "limit"),
        ("/issues?after=odd", 400, "after"),
        ("/issues?after=nan-x", 400, "after"),
        ("/issues?after=1.5-x", 200, ""),
        ("/issues/zz", 404, "zz"),
        ("/issues/-1", 404, "-1"),
        ("/issues/0", 404, "0"),
        ("/tap/nobody", 404, "nobody"),
        ("/tap/website?ring=odd", 400, "taken nor rejected"),
        ("/tap/website?after=-1", 400, "after"),
        ("/tap/website?after=99999999999999999", 400, "after"),
        ("/tap/website?limit=201", 400, "limit"),
        ("/tap/website?limit=%E0%A4%A", 400, "limit"),
    ],
)
async def test_what_is_no_question_is_told(
    client: Client, path: str, status: int, word: str
) -> None:
    """With the parameter and what it should be."""
    found, body = await get(client, path)
    assert found == status, body
    if word:
        assert word in body["message"]


async def test_issues_have_a_page_and_a_remedy(client: Client, world: DataWorld) -> None:
    """Newest first; `next` leads to the rest, in whatever steps, each once."""
    for n in range(7):
        world.insight.troubled("hook", "retry", f"50{n} of the kind {'abcdefg'[n]}", 1)
    _, page = await get(client, "/issues?limit=500")
    causes = [issue["cause"] for issue in page["issues"]]
    assert len(causes) == 7
    seen: list[str] = []
    after = ""
    for _ in range(9):
        _, page = await get(client, f"/issues?limit=3{after}")
        seen += [issue["cause"] for issue in page["issues"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == causes
    _, page = await get(client, "/issues?kind=failed")
    assert page["issues"] == []
    _, page = await get(client, "/issues?open=no")
    assert page["issues"] == []
    _, page = await get(client, "/issues?connection=hook&open=yes&limit=1")
    (issue,) = page["issues"]
    status, found = await get(client, f"/issues/{issue['id']}")
    assert status == 200
    assert found["minutes"][0][1] == 1
    assert {**issue, "minutes": found["minutes"]} == {
        name: found[name] for name in (*issue, "minutes")
    }
    assert issue["meaning"].endswith(".")
    assert issue["action"].endswith(".")


async def test_the_tap_shows_what_came_and_what_was_not_taken(
    client: Client, world: DataWorld
) -> None:
    """An operator sees values masked; rows after the last one are those that are new."""
    fill(world)
    _, page = await get(client, "/tap/website")
    (row,) = page["rows"]
    assert (page["seen"], page["kept"], page["rejected_seen"], page["rejected_kept"]) == (1,) * 4
    assert row["message_id"] == f"id-{MARK}"
    assert row["name"] == f"Bought {MARK}"
    assert (row["to"], row["unsupported"], row["filtered"]) == (["hook"], ["b"], ["c"])
    assert json.loads(row["body"])["properties"]["total"] == 1.1
    assert f"{MARK}@example.com" not in row["body"]
    _, page = await get(client, f"/tap/website?after={page['next']}")
    assert page["rows"] == []
    _, page = await get(client, "/tap/website?ring=rejected")
    (row,) = page["rows"]
    assert (row["code"], row["outcome"]) == ("unknown_type", "rejected")
    assert row["cause"] == 'unknown_type: type is "..."'


async def test_a_viewer_sees_no_value(client: Client, world: DataWorld) -> None:
    """Of no event, whether it was taken or not, nor of a partner's words."""
    fill(world)
    for path in ("/tap/website", "/tap/website?ring=rejected", "/issues", "/trends"):
        status, body = await get(client, path, VIEWER)
        assert status == 200
        assert MARK not in json.dumps(body), path
    _, page = await get(client, "/issues", VIEWER)
    for issue in page["issues"]:
        _, body = await get(client, f"/issues/{issue['id']}", VIEWER)
        assert MARK not in json.dumps(body)
    _, page = await get(client, "/tap/website", VIEWER)
    (row,) = page["rows"]
    assert row["body"]
    assert row["type"] == "track"
    assert row["size_bytes"] == len(BODY)


@pytest.mark.parametrize(
    "text", [b"{", b"\xff\xfe", b"[" * 5000, b"", b'{"type": {"a": []}}', b"5"]
)
async def test_what_is_no_event_is_shown_all_the_same(
    client: Client, world: DataWorld, text: bytes
) -> None:
    """A body that cannot be read, for both roles."""
    world.insight.refused("website", "invalid_json", "the body is not JSON", 1, text)
    for token in (OPERATOR, VIEWER):
        status, page = await get(client, "/tap/website?ring=rejected", token)
        assert status == 200
        (row,) = page["rows"]
        assert (row["type"], row["name"], row["message_id"]) == (None, None, None)
        assert row["size_bytes"] == len(text)
