"""When batches started, and where: a file that every side of `recover` appends to.

Owns the line format, `MONOTONIC_NS PID`; CLOCK_MONOTONIC is the same for all
processes of a machine. Must not import a peer: children of all kinds use it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

#: How much of the file's end `recent_pids` reads, in bytes.
RECENT_BYTES = 64 * 1024


def stamp(path: str) -> None:
    """Append a line for a batch that starts now in this process; such a write is atomic."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, b"%d %d\n" % (time.monotonic_ns(), os.getpid()))
    os.close(file)


def take(events: Sequence[str], stamps: str) -> None:
    """What the peers do with a list of events: decode each, as Bulkhead's workers do."""
    stamp(stamps)
    for event in events:
        json.loads(event)


def read(path: Path, offset: int = 0) -> list[tuple[int, int]]:
    """Whole lines from `offset` bytes on, as (nanoseconds, pid)."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []  # nobody has started a batch yet
    return [(int(at), int(pid)) for at, pid in (line.split() for line in lines)]


def recent_pids(path: Path) -> set[int]:
    """Processes that started one of the last few thousand batches, dead ones included."""
    offset = max(0, size(path) - RECENT_BYTES)
    lines = read(path, offset) if offset == 0 else _whole_lines(path, offset)
    return {pid for _, pid in lines}


def _whole_lines(path: Path, offset: int) -> list[tuple[int, int]]:
    """Lines behind the first line end after `offset`."""
    with path.open("rb") as file:
        file.seek(offset)
        return read(path, offset + len(file.readline()))


def size(path: Path) -> int:
    """Where the next line will go, in bytes."""
    return path.stat().st_size if path.exists() else 0
