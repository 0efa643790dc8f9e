"""The tracking API as its clients see it: paths, keys, answers."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import zlib
from typing import Any

import aiohttp
import pytest

from supervisor.config import Api, Source
from supervisor.ingest.api import TrackingApi
from supervisor.ingest.router import Router
from supervisor.queue import QueueFull, QueueUnavailable
from tests.ingest.conftest import CONNECTIONS, SOURCES, Client
from tests.ingest.stubs import Counts, MemoryIntake

Json = dict[str, Any]  # Any: events are JSON
EVENT: Json = {"type": "track", "userId": "ann", "event": "Tested", "messageId": "m1"}
OK = b'{"success": true}'


def event(message_id: str) -> Json:
    """A valid event."""
    return {**EVENT, "messageId": message_id}


def basic(user: str, password: str = "") -> dict[str, str]:
    """An Authorization header."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bare_of(body: bytes) -> bytes:
    """Deflate without zlib's frame."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


async def refusal(answer: aiohttp.ClientResponse) -> tuple[int, str]:
    """Status and code of an error, which has a message too."""
    body = await answer.json()
    assert body["message"]
    return answer.status, body["code"]


# --- what is taken -------------------------------------------------------------


@pytest.mark.parametrize("path", ["identify", "i", "track", "t", "page", "p", "screen", "s"])
async def test_each_type_has_a_long_and_a_short_path(
    client: Client, intake: MemoryIntake, path: str
) -> None:
    """An event posted to the path of its type is stored as that type."""
    answer = await client.post(f"/v1/{path}", json={"userId": "ann", "event": "x"})
    assert (answer.status, await answer.read()) == (200, OK)
    assert intake.stored[0]["type"].startswith(path[0])


async def test_group_and_alias_have_theirs(client: Client, intake: MemoryIntake) -> None:
    """Group and alias have long and short paths too."""
    for path in ("group", "g"):
        await client.post(f"/v1/{path}", json={"userId": "ann", "groupId": "x"})
    for path in ("alias", "a"):
        await client.post(f"/v1/{path}", json={"userId": "ann", "previousId": "x"})
    assert [found["type"] for found in intake.stored] == ["group", "group", "alias", "alias"]


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/batch", "/v1/b", "/v1/import", "/v1/batch/", "/v1//batch"),
        *("/v1/batch//", "/v1//import//?x=//1", "/v1/b?", "/%761/batch"),
    ],
)
async def test_batches_are_taken(
    client: Client, intake: MemoryIntake, counts: Counts, path: str
) -> None:
    """All events of a batch are stored and counted."""
    answer = await client.post(path, json={"batch": [event("a"), event("b")]})
    assert (answer.status, await answer.read()) == (200, OK)
    assert [found.message_id for found in intake.events] == ["a", "b"]
    assert counts.by_name == {("received", "web", "track"): 2}


async def test_the_answer_waits_for_the_disk(client: Client, intake: MemoryIntake) -> None:
    """Nobody gets a 200 before the queue has the events."""
    intake.may_commit.clear()
    post = asyncio.ensure_future(client.post("/v1/track", json=EVENT))
    assert (await client.get("/health")).status == 200
    assert not post.done()
    intake.may_commit.set()
    assert (await post).status == 200


async def test_repeats_are_fine(client: Client, counts: Counts) -> None:
    """A repeat is answered like the first, and counted apart."""
    for _ in range(2):
        assert (await client.post("/v1/track", json=EVENT)).status == 200
    assert counts.by_name["duplicate", "web"] == 1
    assert counts.by_name["received", "web", "track"] == 2


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"],
)
async def test_the_content_type_does_not_matter(client: Client, content_type: str) -> None:
    """A body is JSON whatever it is labelled."""
    answer = await client.post(
        "/v1/track", data=json.dumps(EVENT).encode(), headers={"Content-Type": content_type}
    )
    assert answer.status == 200


@pytest.mark.parametrize("label", ["gzip", "x-gzip", "GZIP", ""])
async def test_gzip_is_known_by_its_bytes(client: Client, intake: MemoryIntake, label: str) -> None:
    """A gzipped body is unpacked, labelled or not."""
    headers = {"Content-Encoding": label} if label else {}
    answer = await client.post(
        "/v1/track", data=gzip.compress(json.dumps(EVENT).encode()), headers=headers
    )
    assert answer.status == 200
    assert len(intake.events) == 1


async def test_other_packings(client: Client) -> None:
    """Deflate and gzip in several members are unpacked; a false label does no harm."""
    body = json.dumps(EVENT).encode()
    for packed in (
        zlib.compress(body),
        bare_of(body),
        gzip.compress(body[:9]) + gzip.compress(body[9:]),
        body,
        b" \n" + body,
    ):
        answer = await client.post(
            "/v1/track", data=packed, headers={"Content-Encoding": "deflate"}
        )
        assert answer.status == 200
    for broken in (bare_of(body)[:-3], bare_of(body) + b"x", b"\xff" * 9):
        answer = await client.post(
            "/v1/track", data=broken, headers={"Content-Encoding": "deflate"}
        )
        assert await refusal(answer) == (400, "invalid_deflate")
    answer = await client.post("/v1/track", data=body, headers={"Content-Encoding": "br"})
    assert await refusal(answer) == (415, "unsupported_encoding")


# --- who sends -----------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        basic("key"),
        basic("key", "any password"),
        basic("old-key"),
        {"Authorization": "basic  " + base64.b64encode(b"key").decode()},
        {"Authorization": "Basic a2V5Og"},
        {"Authorization": "Basic a2V5Og="},
        {"Authorization": "Basic " + base64.urlsafe_b64encode(b"key:??>>").decode()},
    ],
)
async def test_the_key_is_the_user_name(stranger: Client, header: dict[str, str]) -> None:
    """Any of a source's keys lets in, with or without a password."""
    assert (await stranger.post("/v1/track", json=EVENT, headers=header)).status == 200


async def test_the_key_may_be_in_the_body(stranger: Client, intake: MemoryIntake) -> None:
    """A write key in the body of an event or a batch lets in, and is not stored."""
    for header in ({}, {"Authorization": "Bearer token"}, basic("")):
        body = {**EVENT, "writeKey": "key"}
        assert (await stranger.post("/v1/t", json=body, headers=header)).status == 200
    batch = {"batch": [event("x")], "writeKey": "app-key"}
    assert (await stranger.post("/v1/b", json=batch)).status == 200
    assert intake.sources == ["web", "web", "web", "app"]
    assert b"writeKey" not in b"".join(found.body for found in intake.events)


@pytest.mark.parametrize(
    "header",
    [{}, basic("other"), {"Authorization": "Basic !"}, {"Authorization": "Basic /w=="}],
)
async def test_an_unknown_key_is_told_so(
    stranger: Client, intake: MemoryIntake, header: dict[str, str]
) -> None:
    """No key, an unknown one and garbage are 401."""
    body = {"batch": [EVENT], **({} if header else {"writeKey": "other"})}
    answer = await stranger.post("/v1/batch", json=body, headers=header)
    assert await refusal(answer) == (401, "unauthorized")
    assert not intake.events


async def test_a_reload_changes_who_is_let_in(stranger: Client, api: TrackingApi) -> None:
    """Sources and limits of a new config hold from the next request on."""
    sources = {**SOURCES, "web": Source(name="web", write_keys=("new-key",))}
    router = Router(CONNECTIONS, {}, sources)
    api.reconfigure(sources=sources, limits=Api(max_event=100), router=router)
    assert (await stranger.post("/v1/t", json=EVENT, headers=basic("key"))).status == 401
    assert (await stranger.post("/v1/t", json=EVENT, headers=basic("new-key"))).status == 200
    large = {**EVENT, "properties": {"a": "x" * 100}}
    assert (await stranger.post("/v1/t", json=large, headers=basic("new-key"))).status == 413


# --- what is refused -----------------------------------------------------------


async def test_a_batch_in_part(client: Client, intake: MemoryIntake, counts: Counts) -> None:
    """Good events of a batch are taken, bad ones listed by index, code and reason."""
    answer = await client.post("/v1/batch", json={"batch": [{"type": "page"}, EVENT]})
    assert answer.status == 200
    assert await answer.json() == {
        "success": True,
        "rejected": [
            {
                "index": 0,
                "code": "missing_user",
                "message": "userId or anonymousId is required",
            }
        ],
    }
    assert len(intake.events) == 1
    assert counts.by_name["rejected", "web", "missing_user"] == 1


async def test_a_batch_with_nothing_to_take(client: Client, counts: Counts) -> None:
    """A batch of which nothing is taken is 400, and lists all of it."""
    answer = await client.post("/v1/batch", json={"batch": [{"type": "page"}, 5]})
    assert await refusal(answer) == (400, "missing_user")
    assert [item["index"] for item in (await answer.json())["rejected"]] == [0, 1]
    assert counts.by_name["rejected", "web", "not_an_object"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"event":"x"}', b"\x1f\x8b", b"\xff"])
async def test_what_is_no_event(client: Client, body: bytes) -> None:
    """A body that is no event is 400 with code and message."""
    answer = await client.post("/v1/track", data=body)
    assert answer.status == 400
    assert (await answer.json()).keys() == {"code", "message"}


async def test_sizes_count_after_unpacking(client: Client, intake: MemoryIntake) -> None:
    """An event or request past its limit is 413, however small it was packed."""
    large = json.dumps({**EVENT, "properties": {"a": "x" * 33_000}}).encode()
    huge = json.dumps({"batch": [EVENT], "a": "x" * 520_000}).encode()
    for path, body in (("/v1/track", large), ("/v1/batch", huge)):
        for sent in (body, gzip.compress(body)):
            answer = await client.post(path, data=sent)
            assert await refusal(answer) == (413, "too_large")
    assert not intake.events


async def test_a_bomb_stops_at_the_limit(client: Client) -> None:
    """A gigabyte of zeros, packed, is refused without being unpacked."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    assert len(bomb) < 500_000
    assert await refusal(await client.post("/v1/batch", data=bomb)) == (413, "too_large")


async def test_a_large_event_in_a_batch(client: Client) -> None:
    """In a batch, only the event that is too large is rejected."""
    large = {**EVENT, "properties": {"a": "x" * 33_000}}
    answer = await client.post("/v1/batch", json={"batch": [large, event("small")]})
    assert answer.status == 200
    assert [item["code"] for item in (await answer.json())["rejected"]] == ["too_large"]


async def test_a_full_queue(client: Client, intake: MemoryIntake, counts: Counts) -> None:
    """429 with Retry-After where the queue is full, longer for those who keep coming back."""
    intake.error = QueueFull("the disk budget is used", 2.5)
    answer = await client.post("/v1/track", json=EVENT)
    assert await refusal(answer) == (429, "queue_full")
    assert answer.headers["Retry-After"] == "3"
    for retries, after in (("1", "5"), ("3", "20"), ("999", "60"), ("-1", "3"), ("x", "3")):
        answer = await client.post("/v1/track", json=EVENT, headers={"X-Retry-Count": retries})
        assert answer.headers["Retry-After"] == after
    assert counts.by_name == {("rejected", "web", "queue_full"): 6}


async def test_a_broken_store(client: Client, intake: MemoryIntake) -> None:
    """503 with Retry-After where the store cannot write, and `/ready` says why."""
    intake.error = QueueUnavailable("disk full: free some space")
    answer = await client.post("/v1/track", json=EVENT)
    assert await refusal(answer) == (503, "queue_unavailable")
    assert answer.headers["Retry-After"] == "5"
    intake.intake = "disk full: free some space"
    answer = await client.get("/ready")
    assert answer.status == 503
    assert (await answer.json())["message"] == intake.intake


async def test_draining(client: Client, api: TrackingApi, intake: MemoryIntake) -> None:
    """A service that stops takes nothing, says when to come back, and is not ready, yet alive."""
    assert (await client.get("/ready")).status == 200
    api.start_draining()
    answer = await client.post("/v1/track", json=EVENT)
    assert await refusal(answer) == (503, "draining")
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Connection"] == "close"
    assert (await client.get("/ready")).status == 503
    assert (await client.get("/health")).status == 200
    assert not intake.events


async def test_a_bug_is_an_answer_too(client: Client, intake: MemoryIntake) -> None:
    """An exception that nobody expected is a JSON 500, and the next request is served."""
    intake.error = ZeroDivisionError()
    assert await refusal(await client.post("/v1/t", json=EVENT)) == (500, "internal_error")
    intake.error = None
    assert (await client.post("/v1/t", json=EVENT)).status == 200


# --- what else there is --------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1", 404, "not_found"),
        ("GET", "/v1/track", 405, "method_not_allowed"),
        ("PUT", "/v1/batch", 405, "method_not_allowed"),
        ("POST", "/ready", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_is_json(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    """Unknown paths say what there is, wrong methods which are right."""
    answer = await client.request(method, path)
    assert await refusal(answer) == (status, code)
    assert (status == 405) == ("Allow" in answer.headers)


async def test_health_answers_head(client: Client) -> None:
    """Load balancers may probe with HEAD."""
    assert (await client.head("/health")).status == 200
    assert (await client.head("/ready")).status == 200


async def test_browsers_may_ask_first(client: Client) -> None:
    """A preflight allows what a browser wants to send, from any origin, with cookies too."""
    answer = await client.options(
        "/v1/batch",
        headers={
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, anonymousid",
            "Access-Control-Request-Private-Network": "true",
        },
    )
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"
    assert "Origin" in answer.headers["Vary"]
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization, anonymousid"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize("origin", ["https://shop.example", "http://[::1]:8080", "null"])
async def test_browsers_may_read_every_answer(client: Client, origin: str) -> None:
    """Good and bad answers alike may be read from any origin, sent with credentials or without."""
    for path in ("/v1/track", "/v1/nothing"):
        answer = await client.post(path, json=EVENT, headers={"Origin": origin})
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "Origin" in answer.headers["Vary"]
        answer = await client.post(path, json=EVENT)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
