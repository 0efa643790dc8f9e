"""`scripts/fuzz-frames`: so many cases by a seed, against a whole service in this process.

Owns the service, what feeds it, and what must hold: the supervisor raises nothing, grows by
nothing, ends no worker but the liars, and its books balance.
"""

from __future__ import annotations

import _sqlite3
import asyncio
import base64
import contextlib
import ctypes
import gc
import io
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import click
import psutil
import uvloop

from scripts.fuzzing.nursery import LIARS, Nursery, Tally
from supervisor.app.operator import Operator
from supervisor.app.service import NAMESERVERS, Service
from supervisor.config import load
from supervisor.core.lifecycle.pool_layout import RestartPolicy
from supervisor.errors import Refused
from supervisor.insight.issues import MOST_CAUSES
from supervisor.insight.sample_file import A_CAUSE, MAX_RECORD
from supervisor.runtime import allocator
from supervisor.telemetry import log

#: What the process may grow by after its first tenth: bytes beside SQLite's, and objects that the
#: collector knows. In a million cases there are 20,000 workers: one object that each leaves behind
#: is found. Bytes go up and down by half of this as batches and connections come and go.
MOST_GROWTH, MOST_OBJECTS = 16 * 1024 * 1024, 2_000
#: Cases by which its bounded memories are full, that of 2,000 exits last, and what they take:
#: bytes, and objects, of which an exit has some ten.
FULL_BY, FILLING, FILLING_OBJECTS = 100_000, 32 * 1024 * 1024, 20_000
#: Deliveries that are pending before no more events come: what waits is no growth of anything else.
MOST_PENDING = 2000
#: Connections that the liars serve.
CONNECTIONS = 8
#: Bytes of samples: of each connection so many issues, of each of which so many are kept; twice
#: that before those that made room for others are out of the file.
MOST_KEPT = 2 * CONNECTIONS * MOST_CAUSES * A_CAUSE * MAX_RECORD
#: How a liar may end. `signal` is our own doing, when all is said.
LIARS_END = {"protocol", "egress", "signal", "drain", "recycle", "timeout"}
#: Log lines of level error that a liar earns itself.
BY_THE_WAY = {
    "destination_log",
    "delivery_quarantined",
    "connection_tripped",
    "credentials_refused",
}
CONFIG = """
[service]
state_dir = "{state}"
drain_timeout = "5s"
[queue]
# Of the events that feed this the ids in memory are few, and as many after a minute as after ten.
dedupe_budget = "4MiB"
[api]
listen = "unix:{state}/api.sock"
[admin]
listen = "unix:{state}/admin.sock"
[retry]
first_delay = "10ms"
max_delay = "1s"
[pools.liars]
destinations = ["liar"]
workers = 4
spares = 4
block_timeout = "1h"
batch_timeout = "2s"
allow = ["127.0.0.1:{port}"]
[pools.honest]
destinations = ["honest"]
workers = 2
spares = 1
block_timeout = "1h"
[sources.liar]
write_key = "liar"
[sources.honest]
write_key = "honest"
[destinations.liar]
class = "none:None"
[destinations.honest]
class = "none:None"
[connections.honest]
source = "honest"
destination = "honest"
"""
CONNECTION = """
[connections.liar-{number}]
source = "liar"
destination = "liar"
"""


class LogWatch(io.StringIO):
    """The service's log: exits are counted, errors kept."""

    def __init__(self) -> None:
        super().__init__()
        self.exits: Counter[tuple[str, str]] = Counter()
        self.bad: list[str] = []

    def write(self, text: str) -> int:
        """Take a line."""
        for line in filter(None, text.splitlines()):
            entry = json.loads(line) if line.startswith("{") else {"level": "error"}
            if entry.get("message") == "worker_exited":
                self.exits[entry["pool"], entry["reason"]] += 1
            elif entry["level"] in ("error", "critical") and entry["message"] not in BY_THE_WAY:
                self.bad.append(line[:2000])
        return len(text)


@contextlib.asynccontextmanager
async def _server() -> AsyncIterator[int]:
    """Takes connections on loopback and closes them; the port."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, backlog=1024)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _feed(service: Service, socket_path: str, source: str) -> None:
    """Events for the connections of a source, as long as few are pending."""
    headers = {"Authorization": "Basic " + base64.b64encode(f"{source}:".encode()).decode()}
    number = 0
    fed = [name for name in service.config.connections if name.startswith(source)]
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket_path)) as http:
        while True:
            await asyncio.sleep(0.05)
            if sum(service.queue.depth(name).pending for name in fed) > MOST_PENDING:
                continue
            batch = [
                {"type": "track", "event": "e", "userId": "u", "messageId": f"m{number + n}"}
                for n in range(50)
            ]
            number += len(batch)
            body = {"batch": batch}
            async with http.post("http://api/v1/batch", json=body, headers=headers) as answer:
                await answer.read()


async def _reopen(service: Service) -> None:
    """Deaths trip connections and pools, and here nothing is but deaths: undo that."""
    operator = Operator(service)
    while True:
        for number in range(CONNECTIONS):
            with contextlib.suppress(Refused):
                await operator.resume(f"liar-{number}")
        await asyncio.sleep(0.2)


async def _fuzz(seed: int, cases: int, seconds: float) -> list[str]:
    """Run; what did not hold, one line each."""
    watch = LogWatch()
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(f"loop: {context}"[:2000]))
    process = psutil.Process()
    os.environ[NAMESERVERS] = "127.0.0.1:1"
    async with _server() as port:
        with tempfile.TemporaryDirectory(prefix="bulkhead-fuzz-") as directory:
            path = Path(directory, "bulkhead.toml")
            connections = "".join(CONNECTION.format(number=n) for n in range(CONNECTIONS))
            path.write_text(  # noqa: ASYNC240 - nothing runs yet
                CONFIG.format(state=directory, port=port) + connections
            )
            config = load(path, environ={})
            places = [("127.0.0.1", port), ("nowhere.invalid", 443), ("10.0.0.1", 443)]
            tally = Tally(seed, cases, [*places, ("undeclared.invalid", 443)])
            service = Service(config, log.configure(stream=watch))
            fleet = service.fleet
            nursery = Nursery(fleet._answered, tally)
            fleet.zygote = nursery  # type: ignore[assignment]  # all that is asked of a zygote
            starting = asyncio.create_task(service.start([], asyncio.Event()))
            await starting
            # A fuzzer's workers do nothing but die; the service would take its time for them.
            service.runners[LIARS].layout.policy = RestartPolicy(0.0, 0.0, sys.maxsize)
            helpers = [
                asyncio.ensure_future(_feed(service, f"{directory}/api.sock", "liar")),
                asyncio.ensure_future(_feed(service, f"{directory}/api.sock", "honest")),
                asyncio.ensure_future(_reopen(service)),
            ]
            started = time.monotonic()
            grown_from, objects, files = 0, 0, 0
            allowed, allowed_objects = MOST_GROWTH, MOST_OBJECTS
            lag_s = 0.0
            while tally.left > 0:
                before = time.monotonic()
                await asyncio.sleep(0.1)
                lag_s = max(lag_s, time.monotonic() - before - 0.1)
                if not grown_from and tally.said > cases // 10:
                    gc.collect()
                    grown_from, files = _memory(process), process.num_fds()
                    objects = len(gc.get_objects())
                    if tally.said < FULL_BY:
                        allowed += FILLING
                        allowed_objects += FILLING_OBJECTS
                if time.monotonic() - started > seconds:
                    tally.left = 0
            took_s = time.monotonic() - started
            gc.collect()
            growth = _memory(process) - grown_from
            more_objects = len(gc.get_objects()) - objects
            more_files = process.num_fds() - files
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            honest = service.queue.books_by_connection()["honest"]
            await service.stop(starting, asyncio.Event())
            faults += await _settlement(watch, path)
            kept_bytes = (path.parent / "samples").stat().st_size
    if kept_bytes > MOST_KEPT:
        faults.append(f"{kept_bytes / 2**20:.1f} MiB of samples were kept")
    if honest.accepted != honest.delivered_first_try + honest.pending:
        faults.append(f"honest deliveries were touched: {honest}")
    if growth > allowed:
        faults.append(f"grew by {growth / 2**20:.0f} MiB")
    if more_objects > allowed_objects:
        faults.append(f"{more_objects:,} more objects than at first")
    if more_files > 300:
        faults.append(f"{more_files} more open files than at first")
    damaged = sum(n for kind, n in tally.kinds.items() if "," in kind)
    print(
        f"seed {seed}: {tally.said:,} cases ({damaged:,} damaged) in {took_s:.0f} s,"
        f" {tally.said / took_s:,.0f}/s; {tally.workers:,} workers;"
        f" grew by {growth / 2**20:.1f} MiB, {more_objects:+,} objects, {more_files:+d} open files;"
        f" longest turn {lag_s * 1000:.0f} ms; {honest.delivered_first_try:,} honest deliveries;"
        f" {kept_bytes / 1024:,.0f} KiB of samples"
    )
    for (pool, reason), n in sorted(watch.exits.items()):
        print(f"  {pool}: {n:,} ended by {reason}")
    return faults


def _memory(process: psutil.Process) -> int:
    """Resident bytes without what SQLite has, whose page caches fill as its file grows.

    These have bounds of their own: see `cache_size` in `supervisor/queue/sqlite/schema.py`.
    """
    used = ctypes.CDLL(_sqlite3.__file__).sqlite3_memory_used
    used.restype = ctypes.c_int64
    return int(process.memory_info().rss) - int(used())


async def _settlement(watch: LogWatch, config: Path) -> list[str]:
    """What the log and the books say against the service."""
    faults = [f"log: {line}" for line in watch.bad[:5]]
    for (pool, reason), n in watch.exits.items():
        if reason not in (LIARS_END if pool == LIARS else {"drain"}):
            faults.append(f"{n} workers of {pool} ended by {reason}")
    command = [sys.executable, "-m", "supervisor", "audit", "--config", str(config)]
    audit = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    if await audit.wait():
        faults.append("the books do not balance")
    return faults


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cases", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--seconds", type=float, default=1200.0, show_default=True, help="At most.")
@click.option("--seed", type=int, default=None, help="Of all that is said; printed.")
def main(cases: int, seconds: float, seed: int | None) -> None:
    """Say hostile frames and datagrams to a service; exit 1 where it does not stand that."""
    if seed is None:
        seed = int.from_bytes(os.urandom(4))
    allocator.settle()  # as the service does: what a burst leaves behind is no growth
    faults = uvloop.run(_fuzz(seed, cases, seconds))
    for fault in faults[:20]:
        print(f"FAULT: {fault}", file=sys.stderr)
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main(prog_name="scripts/fuzz-frames")
