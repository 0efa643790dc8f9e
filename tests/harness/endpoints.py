"""HTTP endpoints that are well or sick, in a process of their own, and what each of them saw.

Owns the behaviours, by path, and the record of every event that came: when,
for the first time or again, how old it was, and what the answer was. `python -m
tests.harness.endpoints` runs it; `EndpointsProcess` starts that and asks it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import uvloop
from aiohttp import web

from tests.harness.own_process import OwnProcess

#: Seconds that a healthy endpoint takes.
ANSWER_S = 0.005


class _Event(msgspec.Struct):
    """The fields of an event that are looked at."""

    messageId: str
    receivedAt: datetime


class Seen(msgspec.Struct, frozen=True):
    """One event at one endpoint. `at` is seconds of the wall clock, `age_s` since receipt."""

    id: str
    at: float
    again: bool
    age_s: float
    status: int


@dataclass
class Endpoint:
    """One path. The first request of all starts its clock."""

    seen: list[Seen] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    began: float | None = None
    free_at: float = 0.0
    asked_until: float = 0.0


class Endpoints:
    """`/ok/NAME`, `/hang/NAME`, `/slow/NAME` (one a second), `/throttle/SECONDS` (Retry-After),
    `/fail/SECONDS` (500 for so long), `/share/SECONDS` (15 % of successes for so long).
    """

    def __init__(self) -> None:
        self._endpoints: dict[str, Endpoint] = {}
        self._decode = msgspec.json.Decoder(_Event).decode
        self._chance = random.Random(1)

    def app(self) -> web.Application:
        """Events are posted singly, as webhooks are; `GET /seen/PATH` tells the record."""
        app = web.Application()
        app.router.add_get("/seen/{path:.*}", self._tell)
        app.router.add_post("/{path:.*}", self._take)
        return app

    async def _tell(self, request: web.Request) -> web.Response:
        endpoint = self._endpoints.get(request.match_info["path"], Endpoint())
        since = float(request.query.get("since", "0"))
        found = [seen for seen in endpoint.seen if seen.at >= since]
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def _take(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        endpoint = self._endpoints.setdefault(path, Endpoint())
        event = self._decode(await request.read())
        now = time.time()
        again = event.messageId in endpoint.ids
        endpoint.ids.add(event.messageId)
        if endpoint.began is None:
            endpoint.began = now
        kind, _, detail = path.partition("/")
        status, headers = await self._answer(endpoint, kind, detail, now)
        endpoint.seen.append(
            Seen(event.messageId, now, again, now - event.receivedAt.timestamp(), status)
        )
        return web.Response(status=status, headers=headers)

    async def _answer(
        self, endpoint: Endpoint, kind: str, detail: str, now: float
    ) -> tuple[int, dict[str, str]]:
        assert endpoint.began is not None
        match kind:
            case "hang":
                await asyncio.Event().wait()
            case "slow":
                endpoint.free_at = max(endpoint.free_at, now) + 1.0
                await asyncio.sleep(endpoint.free_at - now)
            case "throttle":
                if now < endpoint.asked_until:
                    return 429, {"Retry-After": detail}
                endpoint.asked_until = now + float(detail)
            case "fail":
                if now < endpoint.began + float(detail):
                    return 500, {}
            case "share":
                if now < endpoint.began + float(detail) and self._chance.random() > 0.15:
                    return 500, {}
            case _:
                await asyncio.sleep(ANSWER_S)
        return 200, {}


class EndpointsProcess(OwnProcess):
    """Endpoints in a process of their own; a context manager. `url` ends in a slash."""

    def __init__(self) -> None:
        super().__init__("tests.harness.endpoints")

    @property
    def address(self) -> str:
        """`host:port`."""
        return self.url.removeprefix("http://").rstrip("/")

    def seen(self, path: str, since: float = 0.0) -> list[Seen]:
        """What came to one endpoint, from that time (seconds of the wall clock) on."""
        with urllib.request.urlopen(  # noqa: S310 - http
            f"{self.url}seen/{path}?since={since}", timeout=30
        ) as answer:
            return msgspec.json.decode(answer.read(), type=list[Seen])


async def _serve() -> None:
    runner = web.AppRunner(Endpoints().app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    uvloop.run(_serve())
