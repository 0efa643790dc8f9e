"""`scripts/simulate SCENARIO`: the table on the terminal, and a plot where one is asked for.

Owns the options.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from scripts.simulator import report, scenarios
from scripts.simulator.engine import Guard
from scripts.simulator.figures import Result

Command = TypeVar("Command", bound=Callable[..., Any])  # Any: click passes options by name


def _options(command: Command) -> Command:
    path = click.Path(dir_okay=False, writable=True, path_type=Path)
    command = click.option(
        "--plot", type=path, help="Draw it there; the suffix (.svg, .png) is the format."
    )(command)
    return click.option("--seed", type=int, default=1, show_default=True)(command)


def _show(results: list[Result], plot: Path | None, began: float) -> None:
    console = Console()
    for result in results:
        report.show(result, console)
    simulated = sum(result.until for result in results)
    console.print(
        f"{simulated:,.0f} s simulated in {time.monotonic() - began:.0f} s",
        highlight=False,
    )
    if plot is not None:
        report.plot(results, plot)
        console.print(f"plot: {plot}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run the scheduler's core against modelled destinations, on a virtual clock."""


@main.command("outage")
@click.option("--rate", type=click.FloatRange(1, 16_000), default=160.0, show_default=True)
@_options
def outage_command(rate: float, seed: int, plot: Path | None) -> None:
    """A partner at 15 % for 105 minutes, then well again: with the retry governor and without."""
    began = time.monotonic()
    of = scenarios.Outage(per_s=rate)
    results = [scenarios.outage(of, guard=guard, seed=seed) for guard in Guard]
    _show(results, plot, began)


@main.command("giant")
@click.option("--connections", type=click.IntRange(1, 100_000), default=10_000, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 3600), default=30.0, show_default=True)
@_options
def giant_command(connections: int, seconds: float, seed: int, plot: Path | None) -> None:
    """Ten thousand connections, of which one has half of the traffic; and without that one."""
    began = time.monotonic()
    results = [
        scenarios.giant(connections=connections, seconds=seconds, with_giant=with_giant, seed=seed)
        for with_giant in (True, False)
    ]
    _show(results, plot, began)


@main.command("bursts")
@click.option("--days", type=click.FloatRange(0.1, 365), default=30.0, show_default=True)
@_options
def bursts_command(days: float, seed: int, plot: Path | None) -> None:
    """A month of hourly bursts to a destination with a rate limit."""
    began = time.monotonic()
    _show([scenarios.bursts(days=days, seed=seed)], plot, began)


@main.command("sick")
@click.argument("kind", type=click.Choice(sorted(scenarios.SICK)))
@_options
def sick_command(kind: str, seed: int, plot: Path | None) -> None:
    """Nine healthy connections beside one that is sick; and without it."""
    began = time.monotonic()
    _show([scenarios.sick(one, seed=seed) for one in (kind, None)], plot, began)


if __name__ == "__main__":
    main(prog_name="scripts/simulate")
