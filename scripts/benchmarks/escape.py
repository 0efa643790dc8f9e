"""Row `escape`: the jail's attack list, as root and as an ordinary user.

Owns the table that is printed. The attacks are `sandbox.jail.attacks`, the
processes that try them `tests.harness.jailed`.
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.harness import jailed


def run(json_path: Path | None) -> bool:
    """Print what stopped what, from a run; whether it is as the jail's own table says."""
    found = {who: jailed.results(who) for who in ("root", "user")}
    for who, results in found.items():
        _print(who, results)
    faults = [
        f"as {who}: {fault}"
        for who, results in found.items()
        for fault in jailed.faults(results, is_root=who == "root")
    ]
    through = [
        f"as {who}: {name}: gets through all layers"
        for who, results in found.items()
        for name, code in results["all"].items()
        if code == 0
    ]
    console = Console()
    for line in (*through, *faults):
        console.print(line, style="bold red", highlight=False)
    if not through and not faults:
        console.print("none gets through; with a layer missing or alone, as the table says")
    if json_path is not None:
        json_path.write_text(json.dumps({"results": found, "faults": faults}, indent=2))
    return not through and not faults


def _print(who: str, results: jailed.Results) -> None:
    """A row an attack: which layers stop it alone, and what is missing where it gets through."""
    table = Table(title=f"As {who}", title_justify="left")
    for column in ("attack", "with none", "with all", "stopped alone by", "only for want of"):
        table.add_column(column)
    for name, with_all in results["all"].items():
        table.add_row(
            name,
            _text(results["none"][name]),
            _text(with_all),
            "the kernel" if results["none"][name] else _alone(name, results),
            ", ".join(
                layer
                for layer in jailed.TRIED
                if results.get(f"without {layer}", {}).get(name) == 0
            ),
        )
    Console(width=140).print(table)


def _alone(name: str, results: jailed.Results) -> str:
    return ", ".join(layer for layer in jailed.TRIED if results.get(f"only {layer}", {}).get(name))


def _text(code: int) -> str:
    return "stopped" if code else "through"
