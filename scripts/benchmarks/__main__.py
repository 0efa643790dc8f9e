"""`scripts/bench ROW`: one subcommand a row of the goals, a table and JSON out.

Owns the options. What is measured is each row's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from scripts.benchmarks import (
    blame,
    blast,
    browser,
    connect,
    deliver,
    durable,
    escape,
    fair,
    insight,
    jailtax,
    loss,
    mapping,
    memory,
    outage,
    pause,
    recover,
    report,
    scale,
    soak,
    tax,
    watchers,
)
from scripts.benchmarks.comparison import PAIRS
from scripts.simulator.scenarios import Outage

Command = TypeVar("Command", bound=Callable[..., Any])  # Any: click passes options by name


def _json_option(command: Command) -> Command:
    path = click.Path(dir_okay=False, writable=True, path_type=Path)
    return click.option("--json", "json_path", type=path, help="Write the result there, too.")(
        command
    )


def _pairs_option(command: Command) -> Command:
    return click.option(
        "--pairs", type=click.IntRange(1, 100), default=PAIRS, show_default=True, help="A B pairs."
    )(command)


def _seconds_option(default: float) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        return click.option(
            "--seconds",
            type=click.FloatRange(0.1, 600),
            default=default,
            show_default=True,
            help="Length of one run.",
        )(command)

    return add


def _workers_option(default: int) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        return click.option(
            "--workers", type=click.IntRange(1, 64), default=default, show_default=True
        )(command)

    return add


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure Bulkhead against its goals, peers in the same run."""


@main.command("durable")
@_seconds_option(5.0)
@_pairs_option
@_workers_option(1)
@_json_option
def durable_command(seconds: float, pairs: int, workers: int, json_path: Path | None) -> None:
    """Events/s through disk and worker; beside it Celery prefork with Redis."""
    report.show("durable", durable.run(seconds=seconds, pairs=pairs, workers=workers), json_path)


@main.command("deliver")
@click.option("--events", type=click.IntRange(100), default=20_000, show_default=True)
@_pairs_option
@_json_option
def deliver_command(events: int, pairs: int, json_path: Path | None) -> None:
    """Webhooks/s; beside it a bare aiohttp client on the same core."""
    report.show("deliver", deliver.run(events=events, pairs=pairs), json_path)


@main.command("jailtax")
@click.option("--events", type=click.IntRange(100), default=8_000, show_default=True)
@click.option("--starts", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=6, show_default=True)
@_json_option
def jailtax_command(events: int, starts: int, rounds: int, json_path: Path | None) -> None:
    """`deliver` with all layers of the jail, and beside it without any."""
    figures = jailtax.run(events=events, starts=starts, rounds=rounds)
    report.show("jailtax", figures, json_path)


@main.command("connect")
@click.option("--starts", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--rounds", type=click.IntRange(2, 1_000), default=16, show_default=True)
@_json_option
def connect_command(starts: int, rounds: int, json_path: Path | None) -> None:
    """A worker's HTTP through the broker, kept-alive and new; plain aiohttp beside it."""
    report.show("connect", connect.run(starts=starts, rounds=rounds), json_path)


@main.command("tax")
@_seconds_option(3.0)
@_pairs_option
@_workers_option(2)
@_json_option
def tax_command(seconds: float, pairs: int, workers: int, json_path: Path | None) -> None:
    """Events/s of a pool; beside it plain processes with the same class."""
    report.show("tax", tax.run(seconds=seconds, pairs=pairs, workers=workers), json_path)


@main.command("recover")
@click.option("--kills", type=click.IntRange(4, 10_000), default=100, show_default=True)
@click.option("--alone", is_flag=True, help="Leave the peers out.")
@_json_option
def recover_command(kills: int, alone: bool, json_path: Path | None) -> None:
    """Time from SIGKILL of a worker to its replacement's first batch; peers beside it."""
    report.show("recover", recover.run(kills=kills, with_peers=not alone), json_path)


@main.command("memory")
@_workers_option(8)
@_json_option
def memory_command(workers: int, json_path: Path | None) -> None:
    """Private memory of one more idle worker."""
    report.show("memory", memory.run(workers=workers), json_path)


@main.command("scale")
@click.option("--events", type=click.IntRange(1_000), default=200_000, show_default=True)
@click.option("--backlog", type=click.IntRange(1_000), default=1_000_000, show_default=True)
@click.option(
    "--connections",
    type=click.IntRange(1, 100_000),
    multiple=True,
    default=scale.CONNECTIONS,
    show_default=True,
)
@_json_option
def scale_command(
    events: int, backlog: int, connections: tuple[int, ...], json_path: Path | None
) -> None:
    """CPU an event and memory, by the number of connections and with a backlog."""
    figures = scale.run(events=events, backlog=backlog, connections=connections)
    report.show("scale", figures, json_path)


@main.command("fair")
@_seconds_option(15.0)
@_pairs_option
@_json_option
def fair_command(seconds: float, pairs: int, json_path: Path | None) -> None:
    """p99 of nine healthy connections beside a sick one, of five kinds; and without it."""
    report.show("fair", fair.run(seconds=seconds, pairs=pairs), json_path)


@main.command("outage")
@click.option(
    "--rate",
    type=click.FloatRange(20, 1_000),
    default=160.0,
    show_default=True,
    help="Events a second.",
)
@click.option(
    "--outage",
    "outage_s",
    type=click.FloatRange(2, 120),
    default=10.0,
    show_default=True,
    help="Seconds with 15 % of good answers.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw both runs there; the suffix (.svg, .png) is the format.",
)
@_json_option
def outage_command(rate: float, outage_s: float, plot: Path | None, json_path: Path | None) -> None:
    """A partner's outage, real and simulated; exit 1 where retries exceed the proven rate."""
    of = Outage(per_s=rate, before_s=8.0, outage_s=outage_s, after_s=4 * outage_s + 30.0)
    figures, is_sound = outage.run(of, plot)
    report.show("outage", figures, json_path)
    if not is_sound:
        raise SystemExit(1)


@main.command("pause")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@_json_option
def pause_command(rounds: int, json_path: Path | None) -> None:
    """The longest stop of a worker while its heap is dumped; dumps in the process beside it."""
    report.show("pause", pause.run(rounds=rounds), json_path)


@main.command("insight")
@click.option("--rounds", type=click.IntRange(2, 1_000), default=6, show_default=True)
@click.option("--events", type=click.IntRange(1_000), default=1_000_000, show_default=True)
@_json_option
def insight_command(rounds: int, events: int, json_path: Path | None) -> None:
    """CPU that samples, counts and causes cost an event and a request, beside empty calls."""
    report.show("insight", insight.run(rounds=rounds, events=events), json_path)


@main.command("browser")
@click.option("--minutes", type=click.FloatRange(0.5, 600), default=60, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(1), default=5_000, show_default=True, help="Events a second."
)
@_json_option
def browser_command(minutes: float, rate: float, json_path: Path | None) -> None:
    """Whether the console stays flat in a browser that is left open, and how fast it shows."""
    report.show("browser", browser.run(minutes=minutes, rate=rate), json_path)


@main.command("watchers")
@_seconds_option(30.0)
@_json_option
def watchers_command(seconds: float, json_path: Path | None) -> None:
    """What sixteen open consoles cost at ten thousand connections, and how late the loop is."""
    report.show("watchers", watchers.run(seconds=seconds), json_path)


@main.command("mapping")
@click.option("--rounds", type=click.IntRange(2, 1_000), default=11, show_default=True)
@_json_option
def mapping_command(rounds: int, json_path: Path | None) -> None:
    """CPU that each destination's mapping takes, from stored bytes to the request's body."""
    report.show("mapping", mapping.run(rounds=rounds), json_path)


@main.command("blast")
@click.option(
    "--rows",
    default="",
    metavar="NAME,...",
    help=f"Of the torture list; all where none is named: {', '.join(blast.names())}.",
)
@click.option("--quick", is_flag=True, help="One pair of two seconds a row: shows that it works.")
@_seconds_option(6.0)
@_pairs_option
@_json_option
def blast_command(
    rows: str, quick: bool, seconds: float, pairs: int, json_path: Path | None
) -> None:
    """What one misbehaving connection of ten costs the other nine."""
    chosen = [row for row in rows.split(",") if row]
    unknown = set(chosen) - set(blast.names())
    if unknown:
        raise click.UsageError(f"there is no row {', '.join(sorted(unknown))}")
    if quick:
        seconds, pairs = 2.0, 1
    report.show("blast", blast.run(rows=chosen, seconds=seconds, pairs=pairs), json_path)


@main.command("blame")
@click.option("--rows", default="", metavar="NAME,...", help="Of the torture list; else all.")
@click.option("--rounds", type=click.IntRange(1, 100), default=4, show_default=True)
@click.option("--hogs", type=click.IntRange(0, 64), default=blame.HOGS, show_default=True)
@click.option("--leaks/--no-leaks", default=True, help="Also two that leak, of ten.")
@_json_option
def blame_command(rows: str, rounds: int, hogs: int, leaks: bool, json_path: Path | None) -> None:
    """Who is blamed, and for what, beside busy loops; exit 1 where a verdict is wrong."""
    chosen = [row for row in rows.split(",") if row]
    unknown = set(chosen) - set(blame.names())
    if unknown:
        raise click.UsageError(f"there is no row {', '.join(sorted(unknown))}")
    figures, is_sound = blame.run(rows=chosen, rounds=rounds, hogs=hogs, leaks=leaks)
    report.show("blame", figures, json_path)
    if not is_sound:
        raise SystemExit(1)


@main.command("soak")
@click.option("--minutes", type=click.FloatRange(0.2, 120), default=10.0, show_default=True)
@_json_option
def soak_command(minutes: float, json_path: Path | None) -> None:
    """All habits of the torture list at once at full rate; exit 1 where anything grows."""
    figures, is_sound = soak.run(minutes=minutes)
    report.show("soak", figures, json_path)
    if not is_sound:
        raise SystemExit(1)


@main.command("loss")
@click.option(
    "--kills",
    type=click.IntRange(1, 100_000),
    default=1_000,
    show_default=True,
    help="As many in each of the seven phases.",
)
@click.option("--seed", type=int, default=None, help="Of the choice of victims; printed.")
@_json_option
def loss_command(kills: int, seed: int | None, json_path: Path | None) -> None:
    """SIGKILLs under load, at any moment and while the service reloads, copies its log, evicts,
    replays, starts and stops; exit 1 where anything accepted is lost."""
    figures, is_sound = loss.run(kills=kills, seed=seed)
    report.show("loss", figures, json_path)
    if not is_sound:
        raise SystemExit(1)


@main.command("escape")
@_json_option
def escape_command(json_path: Path | None) -> None:
    """The jail's attacks, by set of layers; exit 1 where the jail's own table is wrong."""
    if not escape.run(json_path):
        raise SystemExit(1)


if __name__ == "__main__":
    main(prog_name="scripts/bench")
