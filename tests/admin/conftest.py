"""A running admin API over a stub, reached through a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from supervisor.admin.access import Access
from supervisor.admin.routes import AdminApi
from supervisor.config import Address
from tests.admin.stubs import StubControl

Client = TestClient[Request, Application]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[StubControl]:
    control = StubControl(tmp_path)
    yield control
    control.exits.close()


@pytest.fixture
async def client(control: StubControl) -> AsyncIterator[Client]:
    """The API on loopback, without a token."""
    api = AdminApi(control, Access(Address(host="127.0.0.1", port=9190)))
    async with TestClient(TestServer(api.app), cookie_jar=aiohttp.DummyCookieJar()) as running:
        yield running


@pytest.fixture
async def guarded(control: StubControl) -> AsyncIterator[Client]:
    """The API with the token `s3cret`."""
    api = AdminApi(control, Access(Address(host="127.0.0.1", port=9190), "s3cret"))
    async with TestClient(TestServer(api.app), cookie_jar=aiohttp.DummyCookieJar()) as running:
        yield running
