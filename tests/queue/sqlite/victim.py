"""A process that uses a queue until it is killed, and says what it did.

Prints `taken ID` once an event's append has returned, and `sent CONNECTION ID`
ahead of each verdict of delivery. What is printed has happened; what happened
need not be printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from supervisor.queue import Bury, Delivered, NewEvent, Outcome, Postpone, Queue, Release, Verdict
from tests.queue.given import SPECS, TO_A, TO_B, TO_BOTH, event, id_of, sqlite_queue, take


def say(*lines: str) -> None:
    """Print whole lines at once: a pipe takes them or not."""
    os.write(1, "".join(f"{line}\n" for line in lines).encode())


async def produce(queue: Queue, life: str, part: int, chance: random.Random) -> None:
    """Append batches of all sizes."""
    for batch in range(10_000):
        events: list[NewEvent] = [
            event(f"{life}-{part}-{batch}-{n}", chance.choice((TO_A, TO_B, TO_BOTH)), size=200)
            for n in range(chance.choice((1, 2, 30, 100)))
        ]
        await queue.append("web", events, time.time())
        say(*(f"taken {one.message_id} {','.join(one.route.pending)}" for one in events))


async def consume(queue: Queue, connection: str, chance: random.Random) -> None:
    """Decide what is pending, in all ways there are."""
    while True:
        lease = await take(queue, connection, most=60, retries=chance.random() < 0.4)
        if lease is None:
            await asyncio.sleep(0.001)
            continue
        verdicts: list[tuple[int, Verdict]] = []
        for index, delivery in enumerate(lease.deliveries):
            roll = chance.random()
            if roll < 0.85:
                say(f"sent {connection} {id_of(delivery.body)}")
                verdicts.append((index, Delivered()))
            elif roll < 0.92:
                verdicts.append((index, Postpone(chance.random() / 50, "busy")))
            elif roll < 0.96:
                verdicts.append((index, Bury(Outcome.FAILED, "refused")))
            else:
                verdicts.append((index, Release()))
        await queue.settle(lease, verdicts)


async def main(state_dir: Path, life: str) -> None:
    """Open the queue and use it."""
    queue = sqlite_queue(state_dir, time.time)
    await queue.start(SPECS, lambda connection: None)
    chance = random.Random(life)
    await asyncio.gather(
        *(produce(queue, life, part, chance) for part in range(3)),
        *(consume(queue, connection, chance) for connection in SPECS),
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
