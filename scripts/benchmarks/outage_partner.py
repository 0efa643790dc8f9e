"""The partner of row `outage`: the simulator's model as a real endpoint, in a process of its own.

Owns the record of what came: when, for the first time or again, how old, and
whether it was taken. Events are posted singly, as webhooks are. Its clock
starts with the second in which the first one comes. `Partner` starts it and
asks it.
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

from scripts.simulator.destinations import Limited
from scripts.simulator.scenarios import Outage
from tests.harness.own_process import OwnProcess


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """One event that came, `at` seconds after the beginning; `age_s` since its receipt."""

    id: str
    at: float
    is_again: bool
    age_s: float
    was_taken: bool


class Record(msgspec.Struct, frozen=True):
    """All that came since `began`, seconds of the wall clock."""

    began: float
    arrivals: list[Arrival]


class _Event(msgspec.Struct):
    """The fields of an event that are looked at."""

    messageId: str
    receivedAt: datetime


@dataclass
class _Endpoint:
    """Answers as the model does, in its time."""

    model: Limited
    began: float | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    async def take(self, request: web.Request) -> web.Response:
        now = time.time()
        event = msgspec.json.decode(await request.read(), type=_Event)
        if self.began is None:
            self.began = float(int(now))
        at = now - self.began
        answer = self.model.answer(1, at, self.chance)
        is_again = event.messageId in self.known
        self.known.add(event.messageId)
        age_s = now - event.receivedAt.timestamp()
        was_taken = bool(answer.taken)
        self.arrivals.append(Arrival(event.messageId, at, is_again, age_s, was_taken))
        await asyncio.sleep(answer.took_s)
        return web.Response(status=200 if was_taken else 500)

    async def tell(self, request: web.Request) -> web.Response:
        record = Record(self.began or 0.0, self.arrivals)
        return web.Response(body=msgspec.json.encode(record), content_type="application/json")


class Partner(OwnProcess):
    """The partner of an outage; a context manager."""

    def __init__(self, outage: Outage) -> None:
        super().__init__("scripts.benchmarks.outage_partner", msgspec.json.encode(outage).decode())

    def record(self) -> Record:
        """What came so far."""
        with urllib.request.urlopen(self.url, timeout=30) as answer:  # noqa: S310 - http
            return msgspec.json.decode(answer.read(), type=Record)


async def _serve(outage: Outage) -> None:
    endpoint = _Endpoint(outage.partner())
    app = web.Application()
    app.router.add_post("/", endpoint.take)
    app.router.add_get("/", endpoint.tell)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outage", help="its figures, as JSON")
    uvloop.run(_serve(msgspec.json.decode(parser.parse_args().outage, type=Outage)))
