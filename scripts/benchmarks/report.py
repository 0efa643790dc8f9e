"""What a benchmark prints and writes: a table for people, JSON for programs.

Owns the description of machine and commit. Must not judge figures.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scripts.benchmarks.comparison import Figure


def environment() -> dict[str, str | int]:
    """Machine, date and commit, so that a figure can be placed years later."""
    return {
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "modified": "yes" if _git("status", "--porcelain", "--untracked-files=no") else "no",
    }


def show(row: str, figures: Sequence[Figure], json_path: Path | None) -> None:
    """Print the table of a row, and write its JSON where asked to."""
    facts = environment()
    table = Table(title=f"{row} · {facts['date']} · commit {facts['commit']}", title_justify="left")
    for column in ("figure", "value", "goal", "A/A noise", "verdict", "detail"):
        table.add_column(column)
    for figure in figures:
        sign = "≥" if figure.is_more_better else "≤"
        table.add_row(
            figure.name,
            f"{figure.value:,.4g} {figure.unit}",
            "" if figure.goal is None else f"{sign} {figure.goal:,.4g} {figure.unit}",
            f"{figure.noise:.1%}",
            str(figure.disposition),
            figure.detail,
        )
    console = Console()
    console.print(table)
    console.print(f"{facts['machine']}, {facts['cores']} cores, Linux {facts['kernel']}")
    if json_path is not None:
        result: dict[str, Any] = {  # Any: plain JSON
            "row": row,
            "environment": facts,
            "figures": [asdict(f) | {"verdict": str(f.disposition)} for f in figures],
        }
        json_path.write_text(json.dumps(result, indent=2) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # a source archive has no commit to name
