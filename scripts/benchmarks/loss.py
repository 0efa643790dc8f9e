"""Row `loss`: random SIGKILLs of supervisor, zygote and workers under load.

Owns the killing and the reckoning: every id that was answered with 200 has to
be at the sink, the books have to balance, and nothing may have come twice more
often than batches in flight allow. The load sends a batch again when the
answer did not come, as SDKs do; deduplication makes that one acceptance.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from scripts.benchmarks.bulkhead import next_prefix
from scripts.benchmarks.comparison import Figure
from scripts.benchmarks.load import Load
from tests.harness.service import RunningService, ServiceFailed, webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until

#: Who is killed how often.
VICTIMS = {"worker": 6, "zygote": 2, "supervisor": 2}
WORKERS = 2
#: Batches that a worker takes at once, and events of a batch: what one kill may send again.
CREDITS = 16
BATCH_EVENTS = 100
#: Events a second; enough that every kill meets batches in flight.
RATE = 4_000.0
#: Longest wait until all is delivered after the last kill, in seconds.
DRAIN_TIMEOUT_S = 180.0
#: Longest wait until processes of a killed supervisor are gone, in seconds.
GONE_TIMEOUT_S = 10.0


def run(*, kills: int, seed: int | None) -> tuple[Sequence[Figure], bool]:
    """Kill `kills` times; the figures, and whether nothing was lost and all bounds held."""
    seed = random.randrange(1 << 32) if seed is None else seed
    chance = random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="bulkhead-loss-") as directory,
        SinkProcess() as sink,
    ):
        service = RunningService(Path(directory), _sections(sink.url))
        try:
            service.start()
            prefix = next_prefix()
            with Load(service.api_port, prefix, rate=RATE, connections=8) as load:
                load.start()
                killed, pids = _kill_at_random(service, kills, chance)
                load.stop()
                accepted = load.finish().message_ids(prefix)
            service.wait_for(lambda books: books["pending"] == 0, DRAIN_TIMEOUT_S)
            received = sink.received()
            books = service.books()
            service.stop()
            audit = service.command("audit", "--config", str(service.config_path))
            leftovers = _leftovers(pids)
        finally:
            service.kill()

    lost = len(accepted - received.keys())
    duplicates = sum(received.values()) - len(received)
    miscounted = abs(books["accepted"] - len(accepted))
    outcomes = sum(count for name, count in books.items() if name != "accepted")
    unbalanced = abs(books["accepted"] - outcomes) + (audit.returncode != 0)
    bound = WORKERS * CREDITS * BATCH_EVENTS
    kinds = ", ".join(f"{count} {name}s" for name, count in sorted(killed.items()))
    figures = [
        _figure("kills", sum(killed.values()), None, f"{kinds}; seed {seed}"),
        _figure("accepted events", len(accepted), None),
        _figure("lost events", lost, 0),
        _figure("books off by", unbalanced, 0),
        _figure("accepted but not counted so", miscounted, 0),
        _figure("duplicates a kill", duplicates / kills, bound, f"{duplicates} in all"),
        _figure("processes left behind", leftovers, 0),
    ]
    is_sound = all(f.goal is None or f.value <= f.goal for f in figures)
    return figures, is_sound


def _figure(name: str, value: float, goal: float | None, detail: str = "") -> Figure:
    """A count: it has no noise, and at most `goal` is meant to the letter."""
    return Figure(name, value, "", goal, False, 0.0, detail)


def _sections(url: str) -> dict[str, dict[str, object]]:
    sections = webhook_sections(
        url, workers=WORKERS, connection={"batch_events": BATCH_EVENTS, "linger": "20ms"}
    )
    sections["connections.hook"]["settings"] = {"url": url, "batch": True}
    sections["retry"] = {"first_delay": "100ms", "max_delay": "1s"}
    return sections


def _kill_at_random(
    service: RunningService, kills: int, chance: random.Random
) -> tuple[Counter[str], set[int]]:
    """Kill, restarting the supervisor where it was the victim; who was killed, all pids seen."""
    killed: Counter[str] = Counter()
    seen: set[int] = set()
    for _ in range(kills):
        # Kills come at any moment of a batch, and sometimes before the last one is repaired.
        time.sleep(chance.uniform(0.02, 0.2))
        (victim,) = chance.choices(list(VICTIMS), list(VICTIMS.values()))
        seen.update(_pids(service))
        if victim == "supervisor":
            service.kill()
            service.start()
        else:
            _kill_child(service, victim, chance)
        killed[victim] += 1
    return killed, seen


def _kill_child(service: RunningService, victim: str, chance: random.Random) -> None:
    """SIGKILL of the zygote or of any worker, once there is one."""
    found: list[int] = []

    def is_there() -> bool:
        status = service.admin("/status")
        zygote = status["zygote"]["pid"]
        pids = service.worker_pids() if victim == "worker" else [zygote]
        found[:] = [pid for pid in pids if pid]
        return bool(found)

    wait_until(is_there, DRAIN_TIMEOUT_S, f"there is a {victim} to kill")
    try:
        os.kill(chance.choice(found), signal.SIGKILL)
    except ProcessLookupError:
        # It has died of an earlier kill since; trying again finds its replacement.
        _kill_child(service, victim, chance)


def _pids(service: RunningService) -> set[int]:
    try:
        zygote = service.admin("/status")["zygote"]["pid"]
    except (OSError, ServiceFailed):
        return set()  # the supervisor is busy starting; the next kill will see them
    return {pid for pid in (*service.worker_pids(), zygote) if pid}


def _leftovers(pids: set[int]) -> int:
    """How many processes of the service are still alive though it has ended."""

    def alive() -> set[int]:
        return {pid for pid in pids if psutil.pid_exists(pid) and _is_ours(pid)}

    try:
        wait_until(lambda: not alive(), GONE_TIMEOUT_S, "the service's processes are gone")
    except TimeoutError:
        return len(alive())  # that is the figure
    return 0


def _is_ours(pid: int) -> bool:
    """Whether the process is one of Bulkhead's; a pid may have been given to someone else."""
    try:
        process = psutil.Process(pid)
        command = " ".join(process.cmdline())
        return process.status() != psutil.STATUS_ZOMBIE and "sandbox" in command
    except psutil.NoSuchProcess:
        return False
