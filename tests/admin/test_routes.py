"""The admin API over HTTP."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request

from supervisor.admin.routes import MAX_BODY, ROUTES
from supervisor.admin.table import Route
from supervisor.queue import DeadLetterFilter, DeliveryRecord, EventRecord, Outcome
from supervisor.telemetry.status import QueueState
from tests.admin.stubs import AT, StubControl, a_status, queue_status

Client = TestClient[Request, Application]

STATUS_KEYS = {"version", "state", "uptime_s", "pools", "queues", "books", "sandbox", "dedupe"}
WORKER_KEYS = {
    *("id", "pid", "state", "rss_bytes", "inflight_batches", "batches", "events", "restarts"),
    *("uptime_s", "last_exit"),
}
QUEUE_KEYS = {
    *("connection", "source", "destination", "pool", "depth", "inflight", "oldest_s", "state"),
    *("state_reason", "next_attempt_in_s"),
}
BOOK_KEYS = {
    *("accepted", "delivered_first_try", "delivered_on_retry", "failed", "unsupported"),
    *("filtered", "quarantined", "pending"),
}


async def test_status_has_the_keys_of_the_contract(client: Client) -> None:
    """`GET /status` has every key that the contract names, under that name."""
    status = await (await client.get("/status")).json()
    assert status.keys() >= STATUS_KEYS
    (pool,) = status["pools"]
    assert pool.keys() >= {"name", "state", "workers", "spares"}
    assert pool["workers"][0].keys() >= WORKER_KEYS
    assert pool["workers"][0]["last_exit"].keys() == {
        *("reason", "detail", "connection", "at", "snapshot", "stacks", "exit")
    }
    assert status["queues"][0].keys() >= QUEUE_KEYS
    assert status["books"].keys() == BOOK_KEYS
    assert status["dedupe"].keys() == {"window_s", "ids", "dropped"}


async def test_metrics_are_prometheus_text(client: Client, control: StubControl) -> None:
    """`GET /metrics` answers with Prometheus' own content type and format."""
    control.metrics.received("website", "track", 3)
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    page = await answer.text()
    assert 'bulkhead_events_received_total{source="website",type="track"} 3.0' in page
    assert 'bulkhead_queue_depth{connection="website-hook"} 0.0' in page


async def test_ready_says_why_not(client: Client, control: StubControl) -> None:
    """`GET /ready` is 200 while events are taken, and 503 with the reason while not."""
    assert (await client.get("/ready")).status == 200
    control.now = a_status(intake="disk full: free space below the state directory")
    answer = await client.get("/ready")
    assert answer.status == 503
    assert (await answer.json())["message"].startswith("disk full")


async def test_an_event_tells_what_each_delivery_waits_for(
    client: Client, control: StubControl
) -> None:
    """`GET /events/{id}` tells what a pending delivery waits for, and nothing of a finished one."""
    pending = DeliveryRecord("d1", "website-hook", "pending", None, 2, "502", AT, False, 4)
    finished = DeliveryRecord(
        "d2", "website-mixpanel", "finished", Outcome.DELIVERED, 1, None, None, False, None
    )
    control.stub_queue.records = [EventRecord("a/b c", "website", AT, [pending, finished])]
    told = await (await client.get("/events/a%2Fb%20c")).json()
    assert told["message_id"] == "a/b c"
    assert told["received_at"] == "2026-01-31T13:00:00.000Z"
    assert (told["body"], told["attempts_since"]) == (None, None)
    assert told["attempts_not_kept"].startswith("the console is turned off")
    assert told["deliveries"] == [
        {
            "history": [],
            "id": "d1",
            "connection": "website-hook",
            "state": "pending",
            "outcome": None,
            "attempts": 2,
            "last_error": "502",
            "waiting_for": "its rate limit",
            "next_attempt_at": "2026-01-31T13:00:00.000Z",
        },
        {
            "history": [],
            "id": "d2",
            "connection": "website-mixpanel",
            "state": "finished",
            "outcome": "delivered",
            "attempts": 1,
            "last_error": None,
            "waiting_for": None,
            "next_attempt_at": None,
        },
    ]


async def test_an_id_that_two_sources_sent_is_told_for_both(
    client: Client, control: StubControl
) -> None:
    """The newest record stands in front, the records of other sources below `others`."""
    control.stub_queue.records = [
        EventRecord("m", "website", AT, []),
        EventRecord("m", "app", AT + 1, []),
    ]
    told = await (await client.get("/events/m")).json()
    assert told["source"] == "app"
    assert [other["source"] for other in told["others"]] == ["website"]


async def test_dead_letters_come_in_pages(client: Client) -> None:
    """`next` leads from page to page and is null on the last one."""
    first = await (await client.get("/deadletters?limit=2")).json()
    assert [letter["id"] for letter in first["deadletters"]] == ["letter-3", "letter-2"]
    last = await (await client.get(f"/deadletters?limit=2&after={first['next']}")).json()
    assert [letter["id"] for letter in last["deadletters"]] == ["letter-1"]
    assert last["next"] is None


async def test_a_listing_that_fits_exactly_has_no_next_page(client: Client) -> None:
    """A full last page does not lead to an empty one."""
    assert (await (await client.get("/deadletters?limit=3")).json())["next"] is None


async def test_filters_reach_the_queue(client: Client, control: StubControl) -> None:
    """Every filter of the contract is understood, an offset's plus sign left bare included."""
    answer = await client.get(
        "/deadletters?connection=c&outcome=quarantined&error=x&since=2026-01-31T14:00:00+01:00"
        "&until=2026-01-31T13:00:01Z"
    )
    assert answer.status == 200
    where, limit, after = control.stub_queue.listed[0]
    assert where == DeadLetterFilter("c", Outcome.QUARANTINED, "x", AT, AT + 1)
    assert (limit, after) == (101, None)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("conection=a", "conection"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=1_0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1&limit=2", "limit"),
        ("outcome=delivered", "outcome"),
        ("since=yesterday", "since"),
        ("since=2026-01-31T13:00:00", "since"),
        ("until=9999999999999", "until"),
        ("error=" + "x" * 2000, "error"),
    ],
)
async def test_a_wrong_parameter_is_named(client: Client, query: str, named: str) -> None:
    """A parameter that is unknown, repeated or out of range is 400 with its name."""
    answer = await client.get(f"/deadletters?{query}")
    assert answer.status == 400
    told = await answer.json()
    assert told["error"] == "bad_request"
    assert named in told["message"]


async def test_one_dead_letter_comes_with_its_event(client: Client) -> None:
    """`GET /deadletters/{id}` adds the event as JSON."""
    letter = await (await client.get("/deadletters/letter-2")).json()
    assert letter["event"] == {"type": "track", "event": "Bought"}


@pytest.mark.parametrize(("action", "done"), [("replay", 2), ("drop", 3)])
async def test_dead_letters_are_replayed_and_dropped_by_filter(
    client: Client, control: StubControl, action: str, done: int
) -> None:
    """The body's filter and `dry_run` reach the queue, and its counts come back."""
    body = {"connection": "c", "ids": ["a"], "dry_run": True}
    dry = await client.post(f"/deadletters/{action}", json=body)
    assert await dry.json() == {"matched": 3, "done": 0}
    real = await client.post(f"/deadletters/{action}", data=b"{}")
    assert await real.json() == {"matched": 3, "done": done}
    assert control.stub_queue.asked == [
        (action, DeadLetterFilter(connection="c", ids=("a",)), True),
        (action, DeadLetterFilter(), False),
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"conection":"a"}', b'{"dry_run":"no"}', b'{"since":"now"}', b"\xff"],
)
async def test_a_body_that_is_no_filter_changes_nothing(
    client: Client, control: StubControl, body: bytes
) -> None:
    """What cannot be understood in full is 400, an empty body included: it could mean all."""
    answer = await client.post("/deadletters/drop", data=body)
    assert answer.status == 400
    assert not control.stub_queue.asked


async def test_a_huge_body_is_refused(client: Client) -> None:
    """A body past the limit is 413 and not held in memory."""
    answer = await client.post("/deadletters/drop", data=b" " * (MAX_BODY + 1))
    assert answer.status == 413
    assert (await answer.json())["error"] == "too_large"


@pytest.mark.parametrize(
    "path",
    [
        "/connections/website-hook/pause",
        "/connections/website-hook/resume",
        "/connections/website-hook/probe",
        "/workers/default-1/recycle",
    ],
)
async def test_what_is_done_by_hand_is_done(
    client: Client, control: StubControl, path: str
) -> None:
    """Each action reaches the service with the name in its path."""
    assert (await client.post(path)).status == 200
    _, _, name, action = path.split("/")
    assert control.done == [(action, name)]


async def test_an_unknown_name_is_not_found(client: Client) -> None:
    """An action on what does not exist is 404 and says what there is."""
    answer = await client.post("/connections/websit-hook/pause")
    assert answer.status == 404
    assert "website-hook" in (await answer.json())["message"]


async def test_what_cannot_be_done_now_is_refused(client: Client, control: StubControl) -> None:
    """An action that makes no sense in this state is 409 with what to do instead."""
    control.now = a_status(queue_status(state=QueueState.DISABLED))
    answer = await client.post("/connections/website-hook/probe")
    assert answer.status == 409
    assert "enabled = true" in (await answer.json())["message"]


async def test_books_are_audited_on_request(client: Client) -> None:
    """`GET /books` has the audited sum, each connection's part, and whether they balance."""
    told = await (await client.get("/books")).json()
    assert told["balanced"] is True
    assert told["books"].keys() == BOOK_KEYS
    assert told["connections"]["website-hook"] == told["books"]


async def test_workers_are_listed_flat(client: Client) -> None:
    """`GET /debug/workers` has the workers of `/status` with their pool."""
    told = await (await client.get("/debug/workers")).json()
    assert [(worker["pool"], worker["id"]) for worker in told["workers"]] == [
        ("default", "default-1")
    ]


async def test_unknown_paths_and_methods_are_json_errors(client: Client) -> None:
    """404 and 405 have the form of all errors, and 405 names what is allowed."""
    missing = await client.get("/nope")
    assert (missing.status, (await missing.json())["error"]) == (404, "not_found")
    wrong = await client.post("/status")
    assert (wrong.status, (await wrong.json())["error"]) == (405, "method_not_allowed")
    assert wrong.headers["Allow"] == "GET,HEAD"


async def test_a_probe_may_ask_for_no_body(client: Client) -> None:
    """HEAD is answered where GET is."""
    assert (await client.head("/health")).status == 200


async def test_a_bug_is_a_json_error(
    client: Client, control: StubControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in a handler is 500 without its text, and the next request is answered."""

    def broken() -> None:
        raise RuntimeError("with a detail that is nobody's business")

    monkeypatch.setattr(control, "status", broken)
    answer = await client.get("/status")
    assert answer.status == 500
    assert "nobody's business" not in await answer.text()
    assert (await client.get("/health")).status == 200


async def test_only_health_and_ready_need_no_token(guarded: Client) -> None:
    """Every other row of the table is 401 without the token."""
    for route in ROUTES:
        answer = await guarded.request(route.method, route.path.replace("{", "").replace("}", ""))
        assert (answer.status == 401) == (route.path not in ("/health", "/ready")), route.path


async def test_the_token_opens_the_door(guarded: Client) -> None:
    """The bearer token is taken, and a wrong one is not."""
    for token, status in (("s3cret", 200), ("s3cre", 401), ("s3cret2", 401), ("é", 401)):
        answer = await guarded.get("/status", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == status


async def test_a_rebound_dns_name_is_turned_away(client: Client) -> None:
    """A request for a foreign Host name is 403, whatever address it came to."""
    answer = await client.get("/status", headers={"Host": "evil.example.com:9190"})
    assert (answer.status, (await answer.json())["error"]) == (403, "wrong_host")


async def test_a_web_page_cannot_post(client: Client, control: StubControl) -> None:
    """A request from a page of another origin is 403 and does nothing."""
    answer = await client.post(
        "/deadletters/drop", data=b"{}", headers={"Origin": "https://evil.example.com"}
    )
    assert (answer.status, (await answer.json())["error"]) == (403, "wrong_origin")
    assert not control.stub_queue.asked


async def test_nothing_behind_get_changes_state(client: Client, control: StubControl) -> None:
    """No GET of the table does anything by hand, replays or drops."""
    for route in ROUTES:
        if route.method == "GET":
            await client.get(route.path.replace("{", "").replace("}", ""))
    assert not control.done
    assert not control.stub_queue.asked


#: What a page of another site may make a browser ask for: looks that cost what the service has at
#: hand. A new row is guarded unless it is added here.
HARMLESS = {
    *("/", "/health", "/ready", "/metrics", "/status", "/events/{message_id}", "/deadletters"),
    *("/deadletters/{id}", "/debug/workers", "/debug/exits", "/debug/exits/{id}"),
    *("/debug/workers/{id}/loop", "/debug/snapshots", "/debug/snapshots/{name}"),
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_no_page_of_another_site_has_work_done(
    route: Route, site: str, client: Client
) -> None:
    """Whatever has a worker, a process or the whole queue do something is refused to it."""
    path = route.path.format(message_id="m", id="x", name="x")
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    answer = await client.request(route.method, path, headers=headers)
    if route.method == "GET" and route.path in HARMLESS:
        assert answer.status != 403
    else:
        assert (answer.status, (await answer.json())["error"]) == (403, "wrong_site")


async def test_no_browser_guesses_or_keeps_an_answer(client: Client) -> None:
    """Answers hold text of strangers, and data of customers."""
    for path in ("/status", "/none", "/metrics"):
        answer = await client.get(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
