"""Servers in a thread, for commands that block: the admin API over a stub, and a tracking API.

The tracking API here answers by script, since the real one cannot be made to
answer 503 at will; everything it gets is kept.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from supervisor.admin.access import Access
from supervisor.admin.routes import AdminApi
from supervisor.config import Address
from tests.admin.stubs import StubControl


@dataclass
class Script:
    """What a tracking API answers: the scripted answers in turn, then 200."""

    answers: list[tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)  # Any: JSON
    headers: list[dict[str, str]] = field(default_factory=list)
    largest: int = 500 * 1024

    @property
    def events(self) -> list[dict[str, Any]]:  # Any: JSON
        """Events of all requests, repeated ones included."""
        return [event for request in self.requests for event in request["batch"]]

    async def answer(self, request: web.Request) -> web.Response:
        """`POST /v1/batch`."""
        body = await request.read()
        self.headers.append(dict(request.headers))
        if len(body) > self.largest:
            return web.json_response({"code": "too_large", "message": "too large"}, status=413)
        self.requests.append(msgspec.json.decode(body))
        if self.answers:
            status, headers, content = self.answers.pop(0)
            return web.json_response(content, status=status, headers=headers)
        return web.json_response({"success": True})


@contextmanager
def serving(make_app: Callable[[], web.Application], path: str | None = None) -> Iterator[str]:
    """Run an app in a thread, on a free port or the UNIX socket `path`; yields its address."""
    loop = asyncio.new_event_loop()
    address: list[str] = []
    started = threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(make_app(), access_log=None)
        await runner.setup()
        site: web.BaseSite
        site = web.UnixSite(runner, path) if path else web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        bound = runner.addresses[0]
        address.append(f"unix:{path}" if path else f"http://{bound[0]}:{bound[1]}")
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(10)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def admin_app(control: StubControl, token: str | None = None) -> Callable[[], web.Application]:
    """The real admin API over a stub."""
    access = Access(Address(host="127.0.0.1", port=9190), token)
    return lambda: AdminApi(control, access).app


def tracking_app(script: Script) -> Callable[[], web.Application]:
    """A tracking API that answers by script."""

    def make() -> web.Application:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_post("/v1/batch", script.answer)
        return app

    return make
