"""The stream: looks that are made once for all, and listeners that cost no more for being slow."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request

from supervisor.console import live as live_module
from supervisor.console.session import LIVE_STREAMS
from tests.admin.stubs import StubControl, a_status, queue_status
from tests.console.conftest import OPERATOR, VIEWER, Ring
from tests.harness.waiting import until

Client = TestClient[Request, Application]

BEARER = {"Authorization": f"Bearer {OPERATOR}"}
PAGE = {"X-Bulkhead": "1"}
WITHIN_S = 60.0

Event = tuple[str, Any, str]  # name, JSON, id


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """What comes, one by one, as a browser reads it."""
    name, data, id = "", "", ""
    while line := (await answer.content.readline()).decode():
        field, _, value = line.rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data += value
        elif field == "id":
            id = value
        elif not line.strip():
            yield name, json.loads(data) if data else None, id
            name = data = ""


async def opened(console: Client, look: str, **headers: str) -> aiohttp.ClientResponse:
    return await console.get(f"/live?look={look}", headers={**BEARER, **headers})


async def first(answer: aiohttp.ClientResponse, holds: Callable[[Event], bool]) -> Event:
    async with asyncio.timeout(WITHIN_S):
        async for event in events(answer):
            if holds(event):
                return event
    raise AssertionError("the stream ended")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds follow each other quickly."""
    monkeypatch.setattr(live_module, "EVERY_S", 0.02)
    monkeypatch.setattr(live_module, "SHARE", 1.0)


async def test_each_look_is_what_its_row_answers(console: Client) -> None:
    """Under its own name, the first at once."""
    answer = await opened(console, "overview,queues,pool:default,exits")
    assert answer.content_type == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-store"
    rows = {
        "overview": "/overview",
        "queues": "/queues",
        "pool:default": "/pools/default",
        "exits": "/debug/exits?limit=20",
    }
    seen = dict[str, Any]()  # Any: JSON
    async with asyncio.timeout(WITHIN_S):
        async for name, value, _ in events(answer):
            if value is not None:
                seen[name] = value
            if seen.keys() == rows.keys():
                break
    for name, path in rows.items():
        row = await (await console.get(path, headers=BEARER)).json()
        row.pop("at", None), seen[name].pop("at", None)
        if name == "overview":
            row.pop("hour"), seen[name].pop("hour")
        assert seen[name] == row, name
    answer.close()


async def test_what_changes_comes_by_itself(console: Client, control: StubControl) -> None:
    """A viewer gets a viewer's look, from the same round."""
    mine = await opened(console, "queues")
    theirs = await console.get("/live?look=queues", headers={"Authorization": f"Bearer {VIEWER}"})
    await first(mine, lambda event: event[0] == "queues")
    control.now = a_status(queue_status("new", state_reason="status 500: user 4711-ab-9"))
    # What is done by hand has everything looked at anew.
    await console.post("/connections/website-hook/pause", headers=BEARER)
    _, value, _ = await first(mine, lambda e: e[1] is not None and "4711" in json.dumps(e[1]))
    assert value["queues"][0]["connection"] == "new"
    _, value, _ = await first(theirs, lambda e: e[1] is not None and "new" in json.dumps(e[1]))
    assert "4711" not in json.dumps(value)
    mine.close()
    theirs.close()


async def test_rows_of_a_tap_come_once_each(console: Client, ring: Ring) -> None:
    """A reconnect goes on behind the last one, from the id that the stream told."""
    ring.rows = [{"n": n} for n in range(1, 4)]
    answer = await opened(console, "tap:website")
    got: list[int] = []
    last_id = ""
    async with asyncio.timeout(WITHIN_S):
        async for name, value, id in events(answer):
            last_id = id or last_id
            if name == "tap:website":
                got += [row["n"] for row in value["rows"]]
                if got[-1] < 6:
                    ring.rows.append({"n": got[-1] + 1})
            if last_id.endswith("=6"):
                break
    assert got == [1, 2, 3, 4, 5, 6]
    answer.close()
    ring.rows.append({"n": 7})
    again = await opened(console, "tap:website", **{"Last-Event-ID": last_id})
    _, value, _ = await first(again, lambda event: event[0] == "tap:website")
    assert [row["n"] for row in value["rows"]] == [7]
    again.close()


@pytest.mark.parametrize(
    "query",
    [
        *("", "look=", "look=none", "look=pool", "look=pool:", "look=overview:x", "look=,"),
        *("look=tap", "look=overview&look=queues", "look=overview&more=1"),
        *("look=queues&where=state:shut", "look=" + ",".join(f"pool:p{n}" for n in range(11))),
        *("look=pool:%0Aevent:%20x", "look=%FF"),
    ],
)
async def test_a_look_that_is_none_is_400(console: Client, query: str) -> None:
    """Before anything streams."""
    answer = await console.get(f"/live?{query}", headers=BEARER)
    assert answer.status in (400, 404)
    assert (await answer.json())["error"] in ("bad_request", "not_found")


async def test_what_is_not_there_cannot_be_looked_at(console: Client) -> None:
    """404, as its row."""
    for look in ("pool:none", "tap:none"):
        assert (await opened(console, look)).status == 404


async def test_the_seventeenth_stream_is_told_to_come_back(
    console: Client, live: tuple[Any, Any]
) -> None:
    """And is let in once another has gone."""
    streams = [await opened(console, "overview") for _ in range(LIVE_STREAMS)]
    assert {stream.status for stream in streams} == {200}
    refused = await opened(console, "overview")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
    assert (await refused.json())["error"] == "too_many_streams"
    streams.pop().close()
    await until(lambda: len(live[0]._streams) < LIVE_STREAMS, WITHIN_S, "one has gone")
    again = await opened(console, "overview")
    assert again.status == 200
    for stream in (again, *streams):
        stream.close()


async def test_a_stalled_watcher_holds_one_look_and_is_ended(
    console: Client, control: StubControl, monkeypatch: pytest.MonkeyPatch, live: tuple[Any, Any]
) -> None:
    """Others get theirs meanwhile; it has no queue, and after a while no stream."""
    monkeypatch.setattr(live_module, "STALLED_S", 0.5)
    monkeypatch.setattr(live_module, "LOOK_AT_STALLED_S", 0.01)
    control.now = a_status(*(queue_status(f"c{n}", state_reason="x" * 1500) for n in range(100)))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((console.host, console.port))
    sock.sendall(
        b"GET /live?look=queues,overview HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer " + OPERATOR.encode() + b"\r\n\r\n"
    )
    streams = live[0]._streams
    await until(lambda: len(streams) == 1, WITHIN_S, "the stalled stream is open")
    stalled = streams[0]
    well = await opened(console, "overview")
    seen = 0
    async with asyncio.timeout(WITHIN_S):
        async for name, _, _ in events(well):
            if name != "overview":
                continue
            # New ones, over and over, of which it takes none.
            control.now = a_status(
                *(queue_status(f"c{n}-{seen}", state_reason="x" * 1500) for n in range(100))
            )
            seen += 1
            assert len(stalled.slot) <= 2
            assert sum(map(len, stalled.slot.values())) <= 2 * live_module.MOST_LOOK_BYTES
            if stalled not in streams:
                break
    assert seen > 1
    well.close()
    sock.close()


async def test_a_look_past_its_size_is_told_and_not_sent(
    console: Client, control: StubControl
) -> None:
    """The slots of all streams together have a bound."""
    control.now = a_status(*(queue_status(f"c{n}", state_reason="x" * 9000) for n in range(100)))
    answer = await opened(console, "queues")
    _, value, _ = await first(answer, lambda event: event[0] == "too-large")
    assert (value["error"], value["look"]) == ("too_large", "queues")
    answer.close()


async def test_a_logout_ends_the_stream(console: Client) -> None:
    """Whoever is not let in any more sees nothing more either."""
    login = await console.post("/console/login", json={"token": VIEWER})
    cookie = {"Cookie": login.headers["Set-Cookie"].partition(";")[0]}
    bare = await console.get("/console/api/live?look=overview", headers=cookie)
    assert (bare.status, (await bare.json())["error"]) == (403, "wrong_call")
    answer = await console.get("/console/api/live?look=overview", headers={**cookie, **PAGE})
    assert answer.status == 200
    await console.post("/console/logout", headers={**cookie, **PAGE})
    async with asyncio.timeout(WITHIN_S):
        async for _ in events(answer):
            pass


async def test_no_page_of_another_site_listens(console: Client) -> None:
    """A stream is work."""
    answer = await console.get(
        "/live?look=overview", headers={**BEARER, "Sec-Fetch-Site": "cross-site"}
    )
    assert (answer.status, (await answer.json())["error"]) == (403, "wrong_site")


async def test_nothing_is_made_while_nobody_listens(
    console: Client, control: StubControl, live: tuple[Any, Any]
) -> None:
    """The rounds end with the last stream, and begin again with the next one."""
    answer = await opened(console, "overview")
    await first(answer, lambda event: event[0] == "overview")
    answer.close()
    await until(lambda: live[0]._rounds.done(), WITHIN_S, "the rounds have ended")
    again = await opened(console, "overview")
    await first(again, lambda event: event[0] == "overview")
    again.close()
