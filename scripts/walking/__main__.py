"""`scripts/walk`: the walks of the journeys, and with `structure` the shape of the house.

Owns the options, the tables and the form of the JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from scripts.walking.figures import GRADE_A, Structure, structure
from scripts.walking.journeys import Journey, record
from scripts.walking.walks import Walk, crossings, trace, walk, within

#: This checkout.
HERE = Path(__file__).resolve().parents[2]

_root_option = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=HERE,
    help="Another checkout to look at; this one where it is not given.",
)
_json_option = click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the figures there, too.",
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--journey",
    "journeys",
    type=click.Choice([*(journey.value for journey in Journey), "all"]),
    default="all",
    show_default=True,
)
@click.option(
    "--runs", type=click.IntRange(1, 100), default=1, show_default=True, help="Walks of each."
)
@click.option(
    "--idle",
    "idle_s",
    type=click.FloatRange(0.1, 600),
    default=6.0,
    show_default=True,
    help="Seconds without work before each walk; what runs in them is left out of it.",
)
@click.option(
    "--within",
    "function",
    metavar="NAME",
    help="Only what a function of this qualified name calls.",
)
@click.option(
    "--crossings",
    "shown",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    help="Show so many pairs of modules that the last walk of a journey changes between most.",
)
@click.option(
    "--trace",
    "trace_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the calls there, indented by who called.",
)
@_root_option
@_json_option
@click.pass_context
def main(
    ctx: click.Context,
    journeys: str,
    runs: int,
    idle_s: float,
    function: str | None,
    shown: int,
    trace_path: Path | None,
    root: Path,
    json_path: Path | None,
) -> None:
    """Count the modules that an event, a death and a reload pass, and how often they go back.

    Each walk has a service of its own: one worker, two connections, and the hook
    of `sys.setprofile` in all threads of the supervisor. The first event of a
    service is walked, with what has to be made for it.

    \b
    Examples:
      scripts/walk --runs 3
      scripts/walk --journey death --crossings 20 --trace death.txt
      scripts/walk --journey reload --within Service._follow
      scripts/walk structure --root ../other-checkout
    """
    if ctx.invoked_subcommand is not None:
        return
    found: list[tuple[Journey, Walk]] = []
    lines: list[str] = []
    crossed: dict[Journey, Counter[tuple[str, str]]] = {}
    for journey in Journey if journeys == "all" else [Journey(journeys)]:
        for run in range(runs):
            steps = record(journey, root.resolve(), idle_s=idle_s)
            if function is not None:
                steps = within(steps, function)
            found.append((journey, walk(steps)))
            crossed[journey] = crossings(steps)
            lines += [f"# {journey}, run {run + 1}", *trace(steps)]
    _show_walks(found)
    if shown:
        _show_crossings(crossed, shown)
    if trace_path is not None:
        trace_path.write_text("\n".join(lines) + "\n")
    if json_path is not None:
        _write(json_path, [_as_json(journey, walked) for journey, walked in found])


def _show_walks(found: Sequence[tuple[Journey, Walk]]) -> None:
    table = Table()
    for column in ("journey", "modules", "changes", "back", "calls", "seconds", "modules by room"):
        table.add_column(column, justify="left" if "j" in column or "room" in column else "right")
    for journey, walked in found:
        rooms = ", ".join(f"{room or 'top level'} {n}" for room, n in walked.by_room().items())
        table.add_row(
            journey,
            str(len(walked.modules)),
            str(walked.changes),
            str(walked.returns),
            str(walked.calls),
            f"{walked.seconds:.3f}",
            rooms,
        )
    Console().print(table)


def _show_crossings(crossed: Mapping[Journey, Counter[tuple[str, str]]], shown: int) -> None:
    table = Table()
    for column in ("journey", "changes", "between", "and"):
        table.add_column(column, justify="right" if column == "changes" else "left")
    for journey, counted in crossed.items():
        for (one, other), n in counted.most_common(shown):
            table.add_row(journey, str(n), one, other)
    Console().print(table)


def _as_json(journey: Journey, walked: Walk) -> dict[str, Any]:  # Any: plain JSON
    return {"journey": journey, "returns": walked.returns, **asdict(walked)}


@main.command("structure")
@click.option(
    "--word",
    "words",
    multiple=True,
    default=("lane", "told", "trial"),
    show_default=True,
    help="Count identifiers with this in them; more than once.",
)
@_root_option
@_json_option
def structure_command(words: tuple[str, ...], root: Path, json_path: Path | None) -> None:
    """Rooms, floors, arrows, cycles, sizes, maintainability and names, from the source."""
    found = structure(root.resolve(), words)
    _show_structure(found)
    if json_path is not None:
        _write(json_path, asdict(found))


def _show_structure(found: Structure) -> None:
    console = Console()
    table = Table()
    for column in ("package", "rooms", "floors", "arrows", "circles of rooms"):
        table.add_column(column, justify="right" if column in "rooms floors arrows" else "left")
    for one in found.shapes:
        circles = "; ".join(_short(one.package, circle) for circle in one.circles)
        table.add_row(one.package, str(one.rooms), str(one.floors), str(one.arrows), circles)
    console.print(table)
    rows = Table(show_header=False)
    upward = "no layers are configured" if found.upward is None else str(len(found.upward))
    rows.add_row("modules", str(found.modules))
    rows.add_row("arrows upward", "\n".join([upward, *(found.upward or ())]))
    rows.add_row("cycles of modules when they run", _lines(found.running_cycles))
    rows.add_row("cycles more for the type checker", _lines(found.typing_cycles))
    for size, count in found.larger.items():
        rows.add_row(f"modules over {size} lines", str(count))
    rows.add_row(
        f"maintainability not over {GRADE_A:g}",
        "\n".join(f"{name} {index}" for name, index in found.unmaintainable.items()) or "none",
    )
    rows.add_row(
        f"names of several classes: {len(found.shared_names)}",
        ", ".join(f"{name} {len(homes)}" for name, homes in found.shared_names.items()),
    )
    for word, (count, files) in found.words.items():
        rows.add_row(f"identifiers with {word!r}", f"{count} in {files} modules")
    console.print(rows)


def _short(package: str, names: Sequence[str]) -> str:
    return ", ".join(name.removeprefix(f"{package}.") for name in names)


def _lines(cycles: Sequence[Sequence[str]]) -> str:
    return "\n".join([str(len(cycles)), *(", ".join(cycle) for cycle in cycles)])


def _write(path: Path, figures: Any) -> None:  # Any: plain JSON
    path.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main(prog_name="scripts/walk")
