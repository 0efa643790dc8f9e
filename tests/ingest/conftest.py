"""A running tracking API over a queue in memory, reached through a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from supervisor.config import Api, Connection, Source
from supervisor.ingest.api import TrackingApi
from supervisor.ingest.router import Router
from supervisor.insight.nothing import NOTHING
from tests.ingest.stubs import Counts, MemoryIntake

Client = TestClient[Request, Application]

#: When everything is received: 2026-11-23T01:00:00Z.
RECEIVED_AT = 1_795_395_600.0
SOURCES = {
    "web": Source(name="web", write_keys=("key", "old-key")),
    "app": Source(name="app", write_keys=("app-key",)),
}
CONNECTIONS = {
    name: Connection(name=name, source="web", destination=name) for name in ("mixpanel", "webhooks")
}


def router() -> Router:
    """Two connections of the source `web`, and none of `app`."""
    return Router(CONNECTIONS, {}, SOURCES)


@pytest.fixture
def intake() -> MemoryIntake:
    return MemoryIntake()


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def api(intake: MemoryIntake, counts: Counts) -> TrackingApi:
    return TrackingApi(
        sources=SOURCES,
        limits=Api(),
        router=router(),
        queue=intake,
        metrics=counts,
        watch=NOTHING,
        clock=lambda: RECEIVED_AT,
        wall=lambda: RECEIVED_AT,
    )


@pytest.fixture
async def client(api: TrackingApi) -> AsyncIterator[Client]:
    """The API on loopback, with the source's key in every request."""
    async with TestClient(
        TestServer(api.app),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Authorization": "Basic a2V5Og=="},
    ) as running:
        yield running


@pytest.fixture
async def stranger(api: TrackingApi) -> AsyncIterator[Client]:
    """The same without a key."""
    async with TestClient(TestServer(api.app), cookie_jar=aiohttp.DummyCookieJar()) as running:
        yield running
