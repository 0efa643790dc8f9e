"""Whoever watches intake hears of every request that a source made, and of what became of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from supervisor.config import Api
from supervisor.ingest.api import TrackingApi
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.insight.tap import Ring, TapRow
from supervisor.queue import QueueFull, QueueUnavailable
from supervisor.telemetry.latencies import Latencies
from tests.ingest.conftest import RECEIVED_AT, SOURCES, Client, router
from tests.ingest.stubs import Counts, MemoryIntake
from tests.insight.fakes import FakeBooks

GOOD = {"type": "track", "event": "Tested", "userId": "ann"}


@pytest.fixture
def insight(tmp_path: Path) -> Insight:
    """As the service has it; nothing is written here."""
    return Insight(
        tmp_path,
        queue=FakeBooks(),
        ages=Latencies("seconds", "text"),
        clock=lambda: RECEIVED_AT,
        tap_budget=1 << 20,
        trends_budget=1 << 20,
        masking=Masking("masked", [], b""),
        redact=str,
        wall=lambda: RECEIVED_AT,
    )


@pytest.fixture
async def client(intake: MemoryIntake, counts: Counts, insight: Insight) -> AsyncIterator[Client]:
    """The API with somebody who watches; each request has the source's key."""
    api = TrackingApi(
        sources=SOURCES,
        limits=Api(max_event=2000, max_request=20_000),
        router=router(),
        queue=intake,
        metrics=counts,
        watch=insight,
        clock=lambda: RECEIVED_AT,
        wall=lambda: RECEIVED_AT,
    )
    async with TestClient(
        TestServer(api.app),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Authorization": "Basic a2V5Og=="},
    ) as running:
        yield running


def rows(insight: Insight, ring: Ring, source: str = "web") -> list[TapRow]:
    """What is kept of a source."""
    return list(insight.tap.page(source, ring, None, 200).rows)


async def test_what_is_taken_is_seen_as_it_is_stored(
    client: Client, intake: MemoryIntake, insight: Insight
) -> None:
    """With where it goes; what was not taken of the same request is in its own ring."""
    batch = [GOOD, {"type": "odd"}, {**GOOD, "event": "Last"}]
    answer = await client.post("/v1/batch", json={"batch": batch})
    assert answer.status == 200
    taken = rows(insight, "taken")
    assert [json.loads(row.body or b"")["event"] for row in taken] == ["Tested", "Last"]
    assert taken[0].route.pending == ("mixpanel", "webhooks")
    (rejected,) = rows(insight, "rejected")
    assert (rejected.code, rejected.body) == ("unknown_type", b'{"type": "odd"}')
    counted = insight.tap.intake_of("web")
    assert (counted.received, counted.rejected, counted.repeats) == (2, 1, 0)
    (issue,) = insight.issues.listed()
    assert (issue.kind, issue.source, issue.count) == ("rejected", "web", 1)


@pytest.mark.parametrize(
    ("path", "body", "code", "n"),
    [
        ("/v1/track", b"{", "invalid_json", 1),
        ("/v1/track", b'{"a":"' + b"x" * 3000 + b'"}', "too_large", 1),
        ("/v1/batch", b'{"batch":["' + b"x" * 30_000 + b'"]}', "too_large", 1),
        ("/v1/batch", b'{"batch":[]}', "empty_batch", 1),
        ("/v1/batch", b"\x1f\x8bnone", "invalid_gzip", 1),
        ("/v1/batch", b'{"batch":[1,2,{"type":"track"}]}', "not_an_object", 3),
    ],
)
async def test_whatever_is_refused_is_seen(
    client: Client, counts: Counts, insight: Insight, path: str, body: bytes, code: str, n: int
) -> None:
    """With its code, counted as the metrics count it, and with what is known of its text."""
    answer = await client.post(path, data=body)
    assert 400 <= answer.status < 500
    rejected = rows(insight, "rejected")
    assert code in [row.code for row in rejected]
    assert insight.tap.intake_of("web").rejected == n
    assert sum(n for key, n in counts.by_name.items() if key[0] == "rejected") == n
    assert code in [issue.cause.partition(":")[0] for issue in insight.issues.listed()]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (QueueFull("the queue holds 9 bytes", 2.0), "queue_full"),
        (QueueUnavailable("the disk is full"), "queue_unavailable"),
    ],
)
async def test_what_the_queue_does_not_take_is_seen(
    client: Client, intake: MemoryIntake, insight: Insight, error: Exception, code: str
) -> None:
    """All events of the request are counted, and the last is kept."""
    intake.error = error
    answer = await client.post("/v1/batch", json={"batch": [GOOD] * 7})
    assert answer.status in (429, 503)
    assert rows(insight, "taken") == []
    (row,) = rows(insight, "rejected")
    assert row.code == code
    assert b"Tested" in (row.body or b"")
    assert insight.tap.intake_of("web").rejected == 7


async def test_who_shows_no_key_is_nobodys(client: Client, insight: Insight) -> None:
    """What is not known to be a source's takes no room."""
    answer = await client.post("/v1/track", json=GOOD, headers={"Authorization": "Basic bm9uZTo="})
    assert answer.status == 401
    assert dict(insight.tap.intake()) == {}
