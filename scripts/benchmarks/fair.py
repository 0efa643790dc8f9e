"""Row `fair`: nine healthy connections beside one whose endpoint is sick, and without it.

Owns the sick endpoints' list and the goal. Latency is from receipt to arrival
at the endpoint, which reads it off each event; one source feeds all ten
connections, so they all have the same load.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from contextlib import ExitStack

import aiohttp

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure, interleave, percentile
from tests.harness.endpoints import EndpointsProcess
from tests.harness.service import WRITE_KEY, free_port

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
    """The ratio of p99 for each kind, `seconds` a run."""
    figures: list[Figure] = []
    for kind, path in SICK.items():
        states: list[str] = []

        def beside(path: str | None = path, states: list[str] = states) -> float:
            return _p99_s(path, with_sick=True, seconds=seconds, states=states)

        def alone() -> float:
            return _p99_s(None, with_sick=False, seconds=seconds, states=[])

        result = interleave(beside, alone, pairs)
        detail = f"alone {min(result.b) * 1e3:.1f} ms; {states[-1]}"
        figures.append(Figure(kind, result.ratio, "x p99", GOAL_RATIO, False, result.noise, detail))
    return figures


def _p99_s(path: str | None, *, with_sick: bool, seconds: float, states: list[str]) -> float:
    """The healthy connections' p99; what `/status` says of the sick one goes to `states`."""
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
        if with_sick:
            queues = service.admin("/status")["queues"]
            sick = next(queue for queue in queues if queue["connection"] == "sick")
            states.append(f"{sick['state']}: {sick['waiting_for']}")
        ages = [
            seen.age_s for n in range(HEALTHY) for seen in endpoints.seen(f"ok/{n}", since=warm)
        ]
        return percentile(ages, 0.99)


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
