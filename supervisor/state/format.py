"""The format of the state directory's small files: which number it has, and how older ones follow.

Owns the file `format` and the steps for all that lies beside the queue; the queue's engine has a
number and steps of its own. A change that older code cannot read is one more step, never a change
of an older one. A step may be cut off by a kill and is then done again: it has to be repeatable.
Must not know what the files are used for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from supervisor.runtime.durable import write_durably

#: Its name in the state directory. A directory without it is of format 1.
FILE: Final = "format"
#: Bumped with every change of the files that older code cannot read.
VERSION: Final = 1

Step = Callable[[Path], None]

#: By the number of the format that a step leaves behind; it leads to the next one.
STEPS: Final[Mapping[int, Step]] = {}


class StateFormatError(Exception):
    """The directory is of a format that this version cannot read; the text says what to do."""


def require_known(state_dir: Path, newest: int = VERSION) -> int:
    """The number of a directory's format. Raises StateFormatError for a newer one, and OSError."""
    path = state_dir / FILE
    try:
        text = path.read_bytes()[:32].decode(errors="replace").strip()
    except FileNotFoundError:
        return 1
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise StateFormatError(
            f"{path}: says {text!r}, and is the number of the directory's format: write "
            f"{newest} into it if this version of the service wrote the directory last"
        )
    if int(text) > newest:
        raise StateFormatError(newer(state_dir, int(text), newest))
    return int(text)


def newer(state_dir: Path, number: int, newest: int) -> str:
    """What is told to who starts older code on a newer directory."""
    return (
        f"{state_dir}: was written by a newer version of the service (format {number}; this "
        f"version reads formats up to {newest}): start that version again, or put back a backup "
        "from before the upgrade"
    )


def bring_forward(
    state_dir: Path, newest: int = VERSION, steps: Mapping[int, Step] = STEPS
) -> None:
    """Bring the files to format `newest`. For the owner of the directory alone.

    Raises StateFormatError and OSError.
    """
    number = require_known(state_dir, newest)
    while number < newest:
        steps[number](state_dir)
        number += 1
        _write(state_dir, number)
    if not (state_dir / FILE).exists():
        _write(state_dir, number)


def _write(state_dir: Path, number: int) -> None:
    write_durably(state_dir / FILE, f"{number}\n".encode())
