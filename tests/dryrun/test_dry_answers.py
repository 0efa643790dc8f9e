"""What destinations say that their servers answer, and what a dry run makes of it."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import aiohttp
import pytest

from destinations.kit.loading import load
from supervisor.config import builtin_destinations
from supervisor.tapes.authority import Authority
from supervisor.tapes.server import Server
from supervisor.tapes.tape import Call, read
from supervisor.tapes.testing import Loopback, deliver
from supervisor.tapes.upstream import Assumed

TAPES = Path(__file__).parents[1] / "destinations"
AUTHORITY = Authority()


@pytest.mark.parametrize("name", sorted(builtin_destinations()))
async def test_built_in(name: str) -> None:
    """Events of each type go all their way where the answers are as the destination says."""
    declared = load(name, None)
    tape = read(TAPES / name.replace("-", "_") / "tapes" / "accepted-doc.yaml")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.trust(trust)
    async with Server(Assumed(declared.dry_answers), AUTHORITY) as server:
        connector = aiohttp.TCPConnector(resolver=Loopback(server.port), ssl=trust)
        async with aiohttp.ClientSession(connector=connector) as session:
            outcomes = await deliver(tape, declared, session)
    assert outcomes == tape.about.outcomes


async def test_assumed() -> None:
    """Patterns hold by segment, records come as many as were sent, tokens where one is asked."""
    server = Assumed({"POST /v1/*/in": '{"ok": true, "result": [{"id": 1}]}'})
    sent = json.dumps({"records": [1, 2, 3]}).encode()
    said = await server.answer(Call("POST", "https://a.example/v1/x/in", (), sent))
    assert json.loads(said.body) == {"ok": True, "result": [{"id": 1}] * 3}
    other = await server.answer(Call("POST", "https://a.example/v1/x/y/in", (), sent))
    assert (other.status, other.body) == (200, b"{}")
    token = await server.answer(Call("POST", "https://a.example/t", (), b"grant_type=x"))
    assert json.loads(token.body)["instance_url"] == "https://a.example"
