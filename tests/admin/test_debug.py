"""The debug endpoints, over a real socket."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.admin.conftest import Client
from tests.admin.stubs import StubControl

NAME = "default-1-4711-20260131T130000Z.heapsnapshot"


@pytest.fixture(autouse=True)
def folder(control: StubControl, tmp_path: Path) -> Path:
    """Where the stub keeps what it takes."""
    control.evidence.folder = tmp_path
    return tmp_path


async def test_a_heap_comes_under_its_own_name(client: Client, control: StubControl) -> None:
    """`curl -OJ` saves it with worker, pid and time; values are truncated unless asked for."""
    async with client.get("/debug/workers/default-1/heap") as answer:
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{NAME}"'
        assert await answer.read() == control.evidence.body
    async with client.get("/debug/workers/default-1/heap?format=hpy&strings=full") as answer:
        assert answer.status == 200
    assert control.evidence.asked == [
        ("heapsnapshot", "default-1", False),
        ("hpy", "default-1", True),
    ]


async def test_it_is_gzipped_for_those_who_take_that(client: Client, control: StubControl) -> None:
    """And whole, however large."""
    control.evidence.body = bytes(range(256)) * 8192
    async with client.get(
        "/debug/workers/default-1/heap",
        headers={"Accept-Encoding": "gzip"},
        auto_decompress=False,
    ) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await answer.read()) == control.evidence.body


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/debug/workers/nobody-1/heap", 404, "there is no worker"),
        ("/debug/workers/default-1/heap?format=pdf", 400, "none of heapsnapshot, summary, hpy"),
        ("/debug/workers/default-1/heap?strings=all", 400, "none of truncated, full"),
        ("/debug/workers/default-1/profile?seconds=soon", 400, "not a number up to 60"),
        ("/debug/workers/default-1/profile?seconds=nan", 400, "not a number up to 60"),
        ("/debug/workers/default-1/profile?seconds=1e9", 400, "not a number up to 60"),
        ("/debug/workers/default-1/profile?format=svg", 400, "none of speedscope, collapsed"),
        ("/debug/workers/nobody-1/stacks", 404, "there is no worker"),
        ("/debug/snapshots/none.heapsnapshot", 404, "GET /debug/snapshots lists"),
        ("/debug/snapshots/..%2f..%2fetc%2fpasswd", 404, "there is no"),
        ("/debug/snapshots/none.heapsnapshot/report", 404, "GET /debug/snapshots lists"),
    ],
)
async def test_what_is_asked_wrongly_is_told(
    client: Client, path: str, status: int, says: str
) -> None:
    """Each error says what is wrong, and what there is."""
    async with client.get(path) as answer:
        assert answer.status == status
        assert says in (await answer.json())["message"]


async def test_looking_takes_nothing(client: Client, control: StubControl) -> None:
    """HEAD has no worker do work."""
    for path in ("heap", "stacks", "profile"):
        async with client.head(f"/debug/workers/default-1/{path}") as answer:
            assert answer.status == 405
    assert not control.evidence.asked


async def test_what_is_kept_is_listed_fetched_and_deleted(
    client: Client, control: StubControl
) -> None:
    """A list with worker, reason and time; each by its name."""
    async with client.get("/debug/workers/default-1/heap") as answer:
        await answer.read()
    async with client.get("/debug/snapshots") as answer:
        (listed,) = (await answer.json())["snapshots"]
    assert listed == {
        "name": NAME,
        "worker": "default-1",
        "pool": "default",
        "pid": 4711,
        "format": "heapsnapshot",
        "reason": "request",
        "connection": None,
        "at": "2026-01-31T13:00:00.000Z",
        "size_bytes": len(control.evidence.body),
        "pause_s": 0.006,
    }
    async with client.get(f"/debug/snapshots/{NAME}") as answer:
        assert await answer.read() == control.evidence.body
    async with client.delete(f"/debug/snapshots/{NAME}") as answer:
        assert await answer.json() == {"done": True}
    async with client.delete(f"/debug/snapshots/{NAME}") as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("accept", "form", "media"),
    [
        (None, "text", "text/plain"),
        ("application/json", "json", "application/json"),
        ("text/html,application/xhtml+xml", "html", "text/html"),
    ],
)
async def test_a_report_is_text_json_or_a_page(
    client: Client, accept: str | None, form: str, media: str
) -> None:
    """By what the client accepts."""
    async with client.get("/debug/workers/default-1/heap") as answer:
        await answer.read()
    headers = {"Accept": accept} if accept else {}
    async with client.get(f"/debug/snapshots/{NAME}/report", headers=headers) as answer:
        assert answer.content_type == media
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox allow-scripts;")
        assert "allow-same-origin" not in policy
        assert "default-src 'none'" in policy
        assert await answer.text() == f"a report as {form}"


async def test_stacks_profile_and_loop(client: Client, control: StubControl) -> None:
    """Text, a file with a name, and JSON."""
    async with client.get("/debug/workers/default-1/stacks") as answer:
        assert "leaky.py" in await answer.text()
    async with client.get("/debug/workers/default-1/profile?seconds=2&format=collapsed") as answer:
        assert answer.headers["Content-Disposition"] == 'attachment; filename="default-1.txt"'
        assert await answer.text() == "main;deliver 7\n"
    async with client.get("/debug/workers/default-1/loop") as answer:
        assert json.loads(await answer.text()) == {"lag_s": 0.001}
    assert ("collapsed", "default-1", 2.0) in control.evidence.asked


async def test_heaps_need_the_token(guarded: Client) -> None:
    """Nothing of a heap, nor that there is one, without it."""
    for path in ("/debug/workers/default-1/heap", "/debug/snapshots", f"/debug/snapshots/{NAME}"):
        async with guarded.get(path) as answer:
            assert answer.status == 401
