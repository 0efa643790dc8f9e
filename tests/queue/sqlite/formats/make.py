"""Makes a small state directory with something of everything in it, by the code as it stands.

Run before a change of the format, with the code of the format that is left behind:
`python -m tests.queue.sqlite.formats.make FOLDER`. Folders in use are never made anew.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import tempfile
from pathlib import Path

from supervisor.queue import DeadLettered, Delivered, Outcome, Postpone, Release
from supervisor.queue.sqlite.schema import DATABASE
from supervisor.state import backoff, paused
from tests.queue.given import (
    SPECS,
    T0,
    TO_A,
    TO_B,
    TO_BOTH,
    SetClock,
    events,
    settle_all,
    sqlite_queue,
    taken,
)


async def fill(state_dir: Path) -> None:
    """Ten delivered, five retries, five dead letters, ten released, and twenty for others."""
    clock = SetClock()
    queue = sqlite_queue(state_dir, clock)
    await queue.start(SPECS, lambda connection: None)
    await queue.append("web", events(range(30), TO_A, size=100), T0)
    await queue.append("web", events(range(30, 40), TO_B, size=100), T0)
    await queue.append("web", events(range(40, 50), TO_BOTH, size=100), T0)
    lease = await taken(queue)
    assert len(lease.deliveries) == 40
    await queue.settle(lease, [(n, Delivered()) for n in range(10)])
    await queue.settle(lease, [(n, Postpone(300.0, "busy")) for n in range(10, 15)])
    dead = DeadLettered(Outcome.FAILED, "refused: 400")
    await queue.settle(lease, [(n, dead) for n in range(15, 20)])
    await queue.settle(lease, [(n, Release()) for n in range(20, 40)])
    await settle_all(queue, await taken(queue, "b"), Release())
    await queue.close()


def make(folder: Path) -> None:
    """Write the database packed, and what the service keeps beside it."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(fill(Path(made)))
        packed = gzip.compress((Path(made) / DATABASE).read_bytes(), mtime=0)
    (folder / f"{DATABASE}.gz").write_bytes(packed)
    (folder / paused.FILE).write_text('["b"]')
    (folder / backoff.FILE).write_text(f'{{"b":{T0 + 900}}}')


if __name__ == "__main__":
    make(Path(sys.argv[1]))
