"""Row `loss`: SIGKILLs of supervisor, zygote and workers under load, whatever is under way.

Owns the reckoning, phase by phase: every id that was answered with 200 has to be at both sinks,
the books have to balance, and nothing may have come twice more often than batches in flight
allow. The load sends a batch again when the answer did not come, as SDKs do; deduplication makes
that one acceptance. Every event goes to two connections; what becomes a dead letter of one is
replayed, so that it has to arrive, too. `loss_phases` has the killing.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from scripts.benchmarks.bulkhead import next_prefix
from scripts.benchmarks.comparison import Figure
from scripts.benchmarks.load import Load
from scripts.benchmarks.loss_phases import SHAKY, STEADY, Killer, Phase, Tally
from tests.harness.service import RunningService
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until

WORKERS = 2
#: Batches that a worker takes at once, and events of a batch.
CREDITS = 16
BATCH_EVENTS = 100
#: What one of these deaths may send again, in what all workers may have: WORKERS x CREDITS batches.
DEATHS = {"worker": 1, "child": 1, "zygote": 0, "supervisor": 2}
#: Events a second; enough that every kill meets batches in flight.
RATE = 3_000.0
#: The same where a checkpoint is waited for, which comes after so many bytes.
CHECKPOINT_RATE = 8_000.0
#: Longest wait until processes of a killed supervisor are gone, in seconds.
GONE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Reckoning:
    """One phase, once all is delivered: events, and how far what was promised is off."""

    phase: Phase
    tally: Tally
    accepted: int
    lost: int
    repeats: int
    unbalanced: int

    @property
    def most_repeats(self) -> int:
        """How many the contract allows."""
        deaths = sum(DEATHS[victim] * n for victim, n in self.tally.killed.items())
        return deaths * WORKERS * CREDITS * BATCH_EVENTS


def run(*, kills: int, seed: int | None) -> tuple[Sequence[Figure], bool]:
    """Kill `kills` times, in each phase as often; figures, and whether all bounds held."""
    seed = random.randrange(1 << 32) if seed is None else seed
    with (
        tempfile.TemporaryDirectory(prefix="bulkhead-loss-") as directory,
        SinkProcess() as steady,
        SinkProcess() as shaky,
        click.progressbar(_shares(kills).items(), label="phases", file=sys.stderr) as phases,
    ):
        sinks = {STEADY: steady, SHAKY: shaky}

        def sections(more: Mapping[str, object]) -> dict[str, dict[str, object]]:
            return _sections(sinks, more)

        service = RunningService(Path(directory), sections({}))
        killer = Killer(service, sections, shaky, random.Random(seed))
        try:
            service.start()
            found = [_reckon(service, sinks, killer, phase, n) for phase, n in phases]
            received = [sink.received() for sink in sinks.values()]
            books = service.admin("/books")["connections"]
            service.stop()
            audit = service.command("audit", "--config", str(service.config_path))
            leftovers = _leftovers(killer.seen)
        finally:
            service.kill()

    accepted = sum(one.accepted for one in found)
    killed = sum((one.tally.killed for one in found), Counter[str]())
    kinds = ", ".join(f"{n} times {name}" for name, n in sorted(killed.items()))
    repeats = sum(sum(counts.values()) - len(counts) for counts in received)
    unbalanced = sum(one.unbalanced for one in found) + (audit.returncode != 0)
    miscounted = sum(abs(books[name]["accepted"] - accepted) for name in sinks)
    figures = [figure for one in found for figure in _figures(one)] + [
        _figure("kills", sum(killed.values()), None, f"{kinds}; seed {seed}"),
        _figure("accepted events", accepted, None, "each goes to two connections"),
        _figure("lost deliveries", sum(one.lost for one in found), 0),
        _figure("books off by", unbalanced, 0),
        _figure("accepted but not counted so", miscounted, 0),
        _figure("repeats", repeats, sum(one.most_repeats for one in found)),
        _figure("processes left behind", leftovers, 0),
    ]
    is_sound = all(f.goal is None or f.value <= f.goal for f in figures)
    return figures, is_sound


def _shares(kills: int) -> dict[Phase, int]:
    """Kills by phase: as many each, and the remainder to the first ones."""
    each, more = divmod(kills, len(Phase))
    shares = {phase: each + (index < more) for index, phase in enumerate(Phase)}
    return {phase: n for phase, n in shares.items() if n}


def _reckon(
    service: RunningService,
    sinks: Mapping[str, SinkProcess],
    killer: Killer,
    phase: Phase,
    kills: int,
) -> Reckoning:
    prefix = next_prefix()
    rate = CHECKPOINT_RATE if phase is Phase.CHECKPOINT else RATE
    with Load(service.api_port, prefix, rate=rate, connections=8) as load:
        load.start()
        tally = killer.kill(phase, kills)
        load.stop()
        accepted = load.finish().message_ids(prefix)
    killer.settle()
    lost = repeats = 0
    for sink in sinks.values():
        received = sink.received()
        lost += len(accepted - received.keys())
        repeats += sum(n - 1 for name, n in received.items() if name in accepted)
    books = service.admin("/books")["connections"]
    unbalanced = sum(
        abs(2 * of_one["accepted"] - sum(of_one.values()))
        for of_one in (books[name] for name in sinks)
    )
    return Reckoning(phase, tally, len(accepted), lost, repeats, unbalanced)


def _figures(one: Reckoning) -> list[Figure]:
    kills = one.tally.killed.total()
    kinds = ", ".join(f"{n} times {name}" for name, n in sorted(one.tally.killed.items()))
    under_way = f"{kinds}; {one.tally.under_way} while it was under way"
    return [
        _figure(f"{one.phase}: kills", kills, None, under_way),
        _figure(f"{one.phase}: lost", one.lost, 0, f"of {one.accepted} events"),
        _figure(f"{one.phase}: books off by", one.unbalanced, 0),
        _figure(f"{one.phase}: repeats", one.repeats, one.most_repeats),
    ]


def _figure(name: str, value: float, goal: float | None, detail: str = "") -> Figure:
    """A count: it has no noise, and at most `goal` is meant to the letter."""
    return Figure(name, value, "", goal, False, 0.0, detail)


def _sections(
    sinks: Mapping[str, SinkProcess], shaky: Mapping[str, object]
) -> dict[str, dict[str, object]]:
    """Two webhooks of one source; `shaky` are further keys of the one of that name."""
    sections: dict[str, dict[str, object]] = {
        "retry": {"first_delay": "100ms", "max_delay": "1s"},
        "pools.default": {
            "destinations": ["*"],
            "workers": WORKERS,
            "allow": [sink.url.removeprefix("http://").rstrip("/") for sink in sinks.values()],
        },
    }
    for name, sink in sinks.items():
        sections[f"connections.{name}"] = {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": sink.url, "batch": True},
            "batch_events": BATCH_EVENTS,
            "linger": "20ms",
            **(shaky if name == SHAKY else {}),
        }
    return sections


def _leftovers(seen: set[psutil.Process]) -> int:
    """How many processes of the service are still alive though it has ended."""

    def alive() -> int:
        return sum(map(_is_alive, seen))

    try:
        wait_until(lambda: not alive(), GONE_TIMEOUT_S, "the service's processes are gone")
    except TimeoutError:
        return alive()  # that is the figure
    return 0


def _is_alive(process: psutil.Process) -> bool:
    """By its time of birth, too: a pid may have been given to someone else."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
