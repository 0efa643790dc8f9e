"""Counts who holds what, as a worker's copy does, in a process that serves destinations.

Run as a program it serves the connections of its argument, gives each `EVENTS` events in one batch,
and prints the holdings; imported, it starts itself.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from destinations.kit.loading import load
from sandbox.heap.holders import holdings
from sandbox.heap.limits import Clock, SnapshotLimits
from sandbox.marks import MarkerWriter
from sandbox.protocol import Batch, Configure, Holdings
from sandbox.runner import Runner
from tests.sandbox.heap.tables import tables

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[3]
EVENTS = 50
TIMEOUT_S = 120.0


def held(connections: Mapping[str, str]) -> Holdings:
    """What connections hold once each has worked; of each the class of its destination."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.heap.holding", json.dumps(dict(connections))],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Holdings)


async def _live(connections: Mapping[str, str]) -> None:
    done = asyncio.Event()
    runner = Runner(
        lambda _: None,
        MarkerWriter(),
        lambda _: aiohttp.TCPConnector(),
        lambda _: None,
        lambda: 0.0,
    )
    runner.attach(asyncio.get_running_loop())
    names = {path: path.lower().replace(":", "-") for path in connections.values()}
    for path, name in names.items():
        runner.add(name, load(name, path))
    for number, (connection, path) in enumerate(connections.items(), 1):
        runner.configure(Configure(connection, names[path], {}, number))
        runner.start(Batch(number, connection, 60.0, [b'{"type": "track"}'] * EVENTS))
    runner.when_idle(done.set)
    await done.wait()
    copy = os.fork()
    if copy == 0:
        gc.disable()
        limits = SnapshotLimits(total_s=TIMEOUT_S)
        os.write(1, holdings(runner.principals(), Clock(limits), tables()))
        os._exit(0)
    _, status = os.waitpid(copy, 0)  # noqa: ASYNC222 - nothing else is to run meanwhile
    # What destinations left behind, tasks that never end, is not waited for.
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    sys.path[:0] = [str(HERE / "plugins")]
    uvloop.run(_live(json.loads(sys.argv[1])))
