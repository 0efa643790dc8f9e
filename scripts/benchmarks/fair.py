"""Row `fair`: nine healthy connections beside one whose endpoint is sick, and without it.

Owns the sick endpoints' list and the goal. Latency is from receipt to arrival
at the endpoint, which reads it off each event; one source feeds all ten
connections, so they all have the same load.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import aiohttp
import click

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure, beside, percentile
from tests.harness.endpoints import EndpointsProcess
from tests.harness.ports import free_port
from tests.harness.service import WRITE_KEY

GOAL_RATIO = 1.25
HEALTHY = 9
#: Events a second, for each of the ten connections.
RATE = 60.0
#: Events of a request.
BATCH = 5
#: By name, the endpoint's path; None: nobody listens.
SICK: dict[str, str | None] = {
    "hanging": "hang/1",
    "one a second": "slow/1",
    "429, Retry-After 30": "throttle/30",
    "500 for ten minutes": "fail/600",
    "refusing": None,
}


def run(*, seconds: float, pairs: int) -> Sequence[Figure]:
    """The ratio of p99 for each kind, `seconds` a run; one without a sick one is for all kinds."""
    states: dict[str, str] = {}
    many = {kind: partial(_beside, kind, seconds, states) for kind in SICK}
    runs = pairs * (len(many) + 2)
    with click.progressbar(length=runs, label="runs", file=sys.stderr) as bar:
        found = beside(many, partial(_alone, seconds), pairs, lambda: bar.update(1))
    return [
        Figure(
            kind,
            both.ratio(_p99),
            "x p99",
            GOAL_RATIO,
            False,
            both.noise(_p99),
            f"{both.a[-1] * 1e3:.1f} ms, alone {statistics.mean(both.b[-1]) * 1e3:.1f} ms in the"
            f" last round; {states[kind]}",
        )
        for kind, both in found.items()
    ]


def _p99(found: float) -> float:
    return found


def _alone(seconds: float) -> float:
    return _p99_s(None, with_sick=False, seconds=seconds)[0]


def _beside(kind: str, seconds: float, states: dict[str, str]) -> float:
    p99_s, states[kind] = _p99_s(SICK[kind], with_sick=True, seconds=seconds)
    return p99_s


def _p99_s(path: str | None, *, with_sick: bool, seconds: float) -> tuple[float, str]:
    """The healthy connections' p99, and what `/status` says of the sick one."""
    with ExitStack() as stack:
        endpoints = stack.enter_context(EndpointsProcess())
        nobody = f"127.0.0.1:{free_port()}"
        urls = {f"healthy-{n}": f"{endpoints.url}ok/{n}" for n in range(HEALTHY)}
        if with_sick:
            urls["sick"] = f"http://{nobody}/" if path is None else endpoints.url + path
        sections: dict[str, dict[str, object]] = {
            "pools.default": {"destinations": ["*"], "allow": [endpoints.address, nobody]}
        }
        for name, url in urls.items():
            sections[f"connections.{name}"] = {
                "source": "test",
                "destination": "webhooks",
                "settings": {"url": url},
            }
        service = stack.enter_context(bulkhead.running(sections))
        warm = time.time() + 2.0
        prefix = bulkhead.next_prefix()
        asyncio.run(_send(service.url, prefix, seconds + 2.0))
        state = ""
        if with_sick:
            queues = service.admin("/status")["queues"]
            sick = next(queue for queue in queues if queue["connection"] == "sick")
            state = f"{sick['state']}: {sick['waiting_for']}"
        ages = [
            seen.age_s for n in range(HEALTHY) for seen in endpoints.seen(f"ok/{n}", since=warm)
        ]
        return percentile(ages, 0.99), state


async def _send(url: str, prefix: str, seconds: float) -> None:
    """A few events at a time, at an even rate, for so long."""
    headers = {"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with aiohttp.ClientSession() as http:
        for number in range(int(seconds * RATE / BATCH)):
            await asyncio.sleep(began + number * BATCH / RATE - loop.time())
            batch = [
                {
                    "type": "track",
                    "messageId": f"{prefix}-{number}-{n}",
                    "userId": f"user-{n}",
                    "event": "Measured",
                }
                for n in range(BATCH)
            ]
            async with http.post(f"{url}/v1/batch", json={"batch": batch}, headers=headers) as said:
                if said.status != 200:
                    raise RuntimeError(f"status {said.status}: {await said.text()}")
