"""What clients of a tape's server need."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest

from supervisor.tapes.authority import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    """One for all tests: keys take milliseconds."""
    return Authority()


@pytest.fixture(scope="session")
def trust(authority: Authority) -> ssl.SSLContext:
    """A client's TLS that trusts this authority and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.trust(context)
    return context


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain client."""
    async with aiohttp.ClientSession() as session:
        yield session
