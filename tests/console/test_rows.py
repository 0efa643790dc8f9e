"""What the console's rows answer, to whom."""

from __future__ import annotations

import json

import msgspec
import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request

from supervisor.console.looks import fitting
from supervisor.telemetry.status import BlameStatus, PoolState, QueueState
from tests.admin.stubs import StubControl, a_status, an_exit, queue_status
from tests.console.conftest import OPERATOR, SECRET_TEXT, VIEWER

Client = TestClient[Request, Application]

AS = {
    role: {"Authorization": f"Bearer {token}"} for role, token in (("o", OPERATOR), ("v", VIEWER))
}
MARK = "MARKER-9f8e7d6c5b4a"
ROWS = (
    *("/me", "/overview", "/queues", "/connections/website-hook", "/sources", "/sources/website"),
    *("/pools/default", "/workers/default-1", "/activity"),
)


async def told(console: Client, path: str, role: str = "o") -> dict[str, object]:
    answer = await console.get(path, headers=AS[role])
    assert answer.status == 200, path
    found: dict[str, object] = await answer.json()
    return found


@pytest.mark.parametrize("path", ROWS)
async def test_rows_are_for_both_roles_and_for_nobody_else(console: Client, path: str) -> None:
    """And an unknown parameter is an error that names those that there are."""
    assert (await console.get(path)).status == 401
    for role in AS:
        await told(console, path, role)
    assert (await console.get(f"{path}?whatever=1", headers=AS["o"])).status == (
        200 if path == "/me" else 400
    )


async def test_overview_has_what_needs_somebody_worst_first(
    console: Client, control: StubControl
) -> None:
    """With a link and an action; a viewer gets no action, and causes for reasons."""
    control.now = a_status(
        queue_status("a", state=QueueState.PAUSED),
        queue_status("b", state=QueueState.TRIPPED, state_reason=f"5 failures: {MARK}"),
        queue_status("c", depth=9, oldest_s=400.0),
        queue_status("d", depth=9, oldest_s=4000.0),
        queue_status("e"),
    )
    overview = await told(console, "/overview")
    attention = overview["attention"]
    assert isinstance(attention, list)
    of_connections = [item for item in attention if item["subject"]["type"] == "connection"]
    assert [(item["subject"]["name"], item["kind"]) for item in of_connections] == [
        *(("d", "behind"), ("b", "tripped"), ("c", "behind"), ("a", "paused"))
    ]
    tripped = of_connections[1]
    assert tripped["link"] == "#/connections/b/queue"
    assert tripped["action"] == {
        "label": "Resume", "method": "POST", "path": "connections/b/resume"
    }  # fmt: skip
    assert MARK in tripped["text"]
    assert overview["queues"] == {
        "total": 5,
        "by_state": {"paused": 1, "tripped": 1, "open": 3},
        "depth": 18,
        "inflight": 0,
        "oldest_s": 4000.0,
    }
    assert overview["sources"] == [
        {
            "name": "website", "received_per_s": 12.0, "rejected_per_s": 3.0,
            "rejected_share": 0.2, "connections": 5,
        }
    ]  # fmt: skip
    seen = await console.get("/overview", headers=AS["v"])
    text = await seen.text()
    assert MARK not in text
    assert not any(item["action"] for item in json.loads(text)["attention"])


async def test_thousands_of_troubles_are_counted_and_the_worst_are_told(
    console: Client, control: StubControl
) -> None:
    """The list is bounded, whatever is wrong."""
    control.now = a_status(
        *(
            queue_status(f"c{n}", state=QueueState.TRIPPED, depth=1, oldest_s=float(n))
            for n in range(3000)
        )
    )
    overview = await told(console, "/overview")
    attention, more = overview["attention"], overview["more_attention"]
    assert isinstance(attention, list)
    assert isinstance(more, int)
    worst = [item["subject"]["name"] for item in attention if item["kind"] == "tripped"]
    assert worst == [f"c{n}" for n in range(2999, 2999 - len(worst), -1)]
    assert len(attention) == 50
    # A layer of the sandbox that is off, and a source whose events are not taken, beside them.
    assert len(attention) + more == 3000 + 3 - 1


async def test_a_failed_pool_and_a_shut_intake_come_first(
    console: Client, control: StubControl
) -> None:
    """Nothing is worse than not taking events."""
    status = a_status(queue_status("b", state=QueueState.TRIPPED, oldest_s=1e7), intake="disk full")
    failed = msgspec.structs.replace(
        status.pools[0], state=PoolState.FAILED, state_reason=f"died: {MARK}"
    )
    control.now = msgspec.structs.replace(status, pools=[failed])
    control.stub_queue.intake = "disk full"
    overview = await told(console, "/overview")
    attention = overview["attention"]
    assert isinstance(attention, list)
    assert [item["kind"] for item in attention[:3]] == ["intake", "pool_failed", "tripped"]
    assert MARK not in json.dumps(await told(console, "/overview", "v"))


async def test_queues_come_in_pages_and_orders(console: Client, control: StubControl) -> None:
    """Every queue once, in the order that was asked for, whatever the page's size."""
    control.now = a_status(
        *(
            queue_status(
                f"c{n:03}",
                state=QueueState.TRIPPED if n % 7 == 0 else QueueState.OPEN,
                depth=n % 11,
                oldest_s=float(n % 5) or None,
            )
            for n in range(250)
        )
    )
    for sort, key in (
        ("name", lambda q: q["connection"]),
        ("-depth", lambda q: (-q["depth"], q["connection"])),
        ("-oldest", lambda q: (-(q["oldest_s"] or 0), q["connection"])),
        ("worst", lambda q: (q["state"] != "tripped", -(q["oldest_s"] or 0), q["connection"])),
    ):
        found: list[dict[str, object]] = []
        after = ""
        while True:
            page = await (
                await console.get(
                    "/queues", params={"sort": sort, "limit": "40", "after": after}, headers=AS["o"]
                )
            ).json()
            found += page["queues"]
            assert (page["total"], page["matched"]) == (250, 250)
            if page["next"] is None:
                break
            after = page["next"]
        assert [q["connection"] for q in found] == [q["connection"] for q in sorted(found, key=key)]
        assert len({str(q["connection"]) for q in found}) == 250


async def test_where_takes_terms_that_all_hold(console: Client, control: StubControl) -> None:
    """By state, pool, source, destination, leak, and text in names."""
    leaky = msgspec.structs.replace(queue_status("leaky"), leak_bytes_per_event=9.0)
    control.now = a_status(
        queue_status("one", state=QueueState.TRIPPED), queue_status("two"), leaky
    )
    for where, names in (
        ("state:tripped", ["one"]),
        ("state:open pool:default", ["leaky", "two"]),
        ("leak:yes", ["leaky"]),
        ("leak:no source:website destination:webhooks", ["one", "two"]),
        ("TW", ["two"]),
        ("pool:none", []),
        ("", ["leaky", "one", "two"]),
    ):
        page = await console.get(
            "/queues", params={"where": where, "sort": "name"}, headers=AS["o"]
        )
        answer = await page.json()
        assert [q["connection"] for q in answer["queues"]] == names, where
        assert answer["matched"] == len(names)


@pytest.mark.parametrize(
    "query",
    [
        *("sort=depth", "limit=0", "limit=501", "limit=x", "after=x", "after=[]", "after=[1,2]"),
        *('after=["a","b","c"]', "after=%FF", "after=" + "[" * 900, "where=state:shut"),
        *("where=leak:maybe", "where=what:x", "where=" + "+".join("a" * 21), "where=a&where=b"),
        "where=" + "x" * 1001,
    ],
)
async def test_a_query_that_is_none_is_400(console: Client, query: str) -> None:
    """With the name of the parameter."""
    answer = await console.get(f"/queues?{query}", headers=AS["o"])
    assert answer.status == 400
    assert query.partition("=")[0] in (await answer.json())["message"]


async def test_settings_are_shown_without_secrets(console: Client) -> None:
    """By their place, and wherever their text stands; a viewer sees names alone."""
    answer = await told(console, "/connections/website-hook")
    assert answer["settings"] == {
        "url": "https://hooks.example.com/in",
        "shared_secret": "(secret)",
        "headers": {"X-Team": "growth", "X-Key": "(secret)"},
    }
    assert isinstance(answer["config"], dict)
    assert answer["config"]["rate_limit"] == 500.0
    assert "settings" not in answer["config"]
    viewed = json.dumps(await told(console, "/connections/website-hook", "v"))
    assert "growth" not in viewed
    assert "hooks.example.com" not in viewed
    for role in AS:
        assert SECRET_TEXT not in json.dumps(await told(console, "/connections/website-hook", role))
        assert "write-key" not in json.dumps(await told(console, "/sources/website", role))


async def test_what_does_not_exist_is_404(console: Client) -> None:
    """And says what there is."""
    for path in ("/connections/none", "/sources/none", "/pools/none", "/workers/none-1"):
        answer = await console.get(path, headers=AS["o"])
        assert (answer.status, (await answer.json())["error"]) == (404, "not_found"), path
        assert (await console.get(f"{path}{'x' * 2000}", headers=AS["o"])).status == 400, path


async def test_a_pool_has_whose_batches_are_in_which_worker(
    console: Client, control: StubControl
) -> None:
    """Its blame and its last exits, too; a worker by itself is one of the same."""
    control.exits.add(an_exit(1, detail=f"status 5: {MARK}", event=MARK, events=(MARK,)), "")
    pool = await told(console, "/pools/default")
    worker = pool["workers"]
    assert isinstance(worker, list)
    assert worker[0]["batches"] == [
        {"connection": "website-hook", "events": 100, "since_s": 0.25, "step": "event 3 of 100"}
    ]
    assert worker[0]["open_connections"] == {"website-hook": 112}
    assert worker[0]["open_curve"] == [[1.0, 112]]
    blame = pool["blame"]
    assert isinstance(blame, list)
    assert blame[0].items() >= {"connection": "website-hook", "worker_deaths": 2}.items()
    assert MARK in json.dumps(pool)
    assert await told(console, "/workers/default-1") == {**worker[0], "pool": "default"}
    assert MARK not in json.dumps(await told(console, "/pools/default", "v"))


async def test_a_viewer_reads_nothing_that_strangers_wrote(
    console: Client, control: StubControl
) -> None:
    """Text of partners, senders and plugins, wherever it may stand."""
    queue = msgspec.structs.replace(
        queue_status("website-hook", state=QueueState.BACKING_OFF, state_reason=MARK),
        waiting_for=MARK,
        last_egress_refusal=MARK,
        blame=BlameStatus(hogs=MARK, hogged=1),
    )
    status = a_status(queue)
    pool = status.pools[0]
    worker = pool.workers[0]
    last = worker.last_exit
    assert last is not None
    worker = msgspec.structs.replace(
        worker, last_exit=msgspec.structs.replace(last, detail=f"died: {MARK}")
    )
    control.now = msgspec.structs.replace(
        status, pools=[msgspec.structs.replace(pool, workers=[worker], state_reason=MARK)]
    )
    control.exits.add(an_exit(1, detail=MARK, event=MARK, events=(MARK,)), "")
    for path in (*ROWS, "/status", "/debug/workers", "/debug/exits", "/deadletters"):
        answer = await console.get(path, headers=AS["v"])
        assert MARK not in await answer.text(), path


def test_a_live_page_of_a_tap_holds_the_newest_that_fit() -> None:
    """And says where it left some out."""
    rows = [{"n": n, "body": "x" * 50_000} for n in range(9)]
    page = fitting({"rows": rows, "next": 8, "lossy": False})
    assert [row["n"] for row in page["rows"]] == [8]
    assert (page["lossy"], page["next"]) == (True, 8)
    small = {"rows": [{"n": 1, "body": None}], "next": 1, "lossy": False}
    assert fitting(small) == small
