"""All rows of the admin API, wired as a service wires them, over one that only stands there.

Owns a thread with the event loop that they answer on, so that a test without one can walk them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import aiohttp
import msgspec
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from supervisor.admin.access import Access
from supervisor.admin.routes import ROUTES, AdminApi
from supervisor.admin.table import Right, Route
from supervisor.app.console import ConsoleParts
from supervisor.app.operator import RunningService
from supervisor.catalog.probe import Declarations
from supervisor.config import Address, load
from supervisor.core.causes import cause_of
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.queue import DeadLetterCause, DeadLetterCauses, DeadLetterFilter
from supervisor.telemetry.latencies import Latencies
from supervisor.telemetry.log import Redactor
from tests.admin.stubs import AT, StubControl, StubQueue
from tests.insight.fakes import FakeBooks

T = TypeVar("T")

OPERATOR, VIEWER = "operator-token-123", "viewer-token-12345"
ACCESS = Access(Address(host="127.0.0.1", port=9190), token=OPERATOR, view_token=VIEWER)


class _Queue(StubQueue):
    async def dead_letter_causes(self, where: DeadLetterFilter, *, limit: int) -> DeadLetterCauses:
        causes = [
            DeadLetterCause(one.connection, one.outcome, cause_of(one.reason), 1, AT, AT)
            for one in self.letters
        ]
        return DeadLetterCauses(causes, len(causes), 0, is_whole=True)

    def newest_dead_letter(self) -> str:
        return ""

    async def dead_letter(self, letter_id: str) -> Any:  # Any: as a stub's
        found = await super().dead_letter(letter_id)
        return found and msgspec.structs.replace(found, event=b"{}")


class RowWorld:
    """A service with a source `website` and what a test says of the connection `hook`.

    `started` is called before anything else, `close` last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.state_dir.mkdir()
        self.redact = Redactor()
        self.now = AT
        self.rounds = 0
        self.control = StubControl(self.state_dir)
        self.control.stub_queue = _Queue()
        self.evidence = self.control.evidence
        self.evidence.folder = folder / "snapshots"
        self.insight: Insight
        self._service = SimpleNamespace()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._client: TestClient[Request, Application]
        self._parts: ConsoleParts
        self.routes: Sequence[Route] = ()

    def start(self, config: str, environ: Mapping[str, str]) -> None:
        """Begin to answer."""
        self._thread.start()
        self.run(self._start(config, environ))

    def run(self, work: Coroutine[Any, Any, T]) -> T:  # Any: of coroutines, nothing else is asked
        """Done on the event loop of the rows."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60.0)

    def close(self) -> None:
        """Answer no more."""
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.control.exits.close()

    async def _start(self, config: str, environ: Mapping[str, str]) -> None:
        service = self._service
        service.config = self._load(config, environ)
        service.said = Declarations()
        service.clock = lambda: self.now
        service.queue = self.control.queue
        service.diagnostics = self.evidence
        spared: set[int] = set()
        service.fleet = SimpleNamespace(spared=spared, unanswered=SimpleNamespace())
        service.reloader = SimpleNamespace(plan_differs=lambda: False)
        masking = Masking("masked", (), b"k" * 16)
        self.insight = Insight(
            self.state_dir,
            queue=FakeBooks(),
            ages=Latencies("seconds", "text"),
            clock=lambda: self.now,
            tap_budget=1 << 20,
            trends_budget=1 << 26,
            masking=masking,
            redact=self.redact,
            wall=lambda: self.now,
        )
        self.control.insight, self.control.masking = self.insight, masking
        service.watching = SimpleNamespace(
            insight=self.insight, masking=masking, redact=self.redact
        )
        self._parts = ConsoleParts(cast(RunningService, service), self.control)
        self.insight.start()
        await self._parts.start()
        self.routes = (*ROUTES, *self._parts.rows)
        api = AdminApi(self.control, ACCESS, self._parts.rows, sessions=self._parts.sessions)
        api.app.on_shutdown.append(self._parts.hang_up)
        self._client = TestClient(TestServer(api.app), cookie_jar=aiohttp.DummyCookieJar())
        await self._client.start_server()

    async def _close(self) -> None:
        await self._client.close()
        await self._parts.close()
        await self.insight.close()

    def _load(self, config: str, environ: Mapping[str, str]) -> Any:  # Any: into a namespace
        path = self.folder / "bulkhead.toml"
        path.write_text(config)
        return load(path, environ=environ)

    async def anew(
        self, config: str, environ: Mapping[str, str], payloads: str, secrets: Collection[str]
    ) -> None:
        """Another config, and nothing of what was before."""
        service = self._service
        self.rounds += 1
        self.now += 1000.0
        service.config = self._load(config, environ)
        self.redact.follow(secrets)
        # With other rules samples begin anew, too.
        masking = Masking(payloads, (f"none.of.round{self.rounds}",), b"k" * 16)
        service.watching.masking = self.control.masking = masking
        for connections in ((), service.config.connections.keys()):
            self.insight.follow(
                is_on=True,
                sources=service.config.sources.keys() if connections else (),
                connections=connections,
                tap_budget=1 << 20,
                trends_budget=1 << 26,
                masking=masking,
            )
        self._parts._watch.forget()

    async def ask(self, path: str, token: str, method: str = "GET") -> tuple[int, str]:
        """Status and text of the answer; of a stream, what comes at once."""
        headers = {"Authorization": f"Bearer {token}"}
        async with self._client.request(method, path, headers=headers) as answer:
            if answer.content_type == "text/event-stream":
                told = b""
                async with asyncio.timeout(5.0):
                    while not all(f"event: {look}".encode() in told for look in LOOKS):
                        told += await answer.content.readany()
                return answer.status, told.decode()
            return answer.status, await answer.text()

    def gets(self) -> list[tuple[str, Right]]:
        """Paths of all rows that are read, with names that there are."""
        names = {
            "{message_id}": "m1",
            "{source}": "website",
            "{build}": "none",
            "{path:.+}": "app.js",
        }
        of_place = {
            "/connections": "hook",
            "/pools": "default",
            "/sources": "website",
            "/workers": "default-1",
            "/debug/workers": "default-1",
            "/debug/exits": f"exit-{self.rounds}",
            "/deadletters": "letter-1",
        }
        found = []
        for route in self.routes:
            if route.method != "GET" or route.path == "/live" or "/console/" in route.path:
                continue
            path = route.path
            for placeholder, name in names.items():
                path = path.replace(placeholder, name)
            place = next((n for start, n in of_place.items() if path.startswith(start)), "none")
            path = path.replace("{name}", place).replace("{id}", place)
            found.append((path, route.needs))
        return found


#: Looks of the stream that a test asks for.
LOOKS = ("overview", "queues", "pool:default", "exits", "tap:website", "tap-rejected:website")
