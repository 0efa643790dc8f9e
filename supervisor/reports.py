"""How the process that reads heap snapshots is started.

A snapshot is hostile input: it is read by a process of its own, which limits
itself, and which takes descriptors and no file names. The supervisor never
imports what reads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

ReportFormat = Literal["text", "json", "html"]

#: What of our environment it is given: nothing secret is among it.
_KEPT_ENVIRONMENT = ("LANG", "LC_ALL", "LC_CTYPE")


def report_command(
    report_format: ReportFormat, *, width: int = 120, title: str = "", old_fd: int | None = None
) -> Sequence[str]:
    """The program and its arguments. The snapshot goes to its standard input.

    width: columns of the terminal. title: what a page says that it is of. old_fd: the descriptor,
    inherited, of an older snapshot to compare with.

    It exits with 0 and the report on standard output, or with 1 and one line on standard error.
    """
    command = [sys.executable, "-P", "-m", "sandbox.heap.report", "--format", report_format]
    command += [f"--width={width}", f"--title={title}"]
    if old_fd is not None:
        command.append(f"--old={old_fd}")
    return command


def report_environment() -> Mapping[str, str]:
    """The environment of that process."""
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment
