"""The headroom between a worker's soft and hard limit of memory, as seen and given from outside.

A MemoryError needs memory itself. Where not even thirty bytes are left,
CPython 3.11 tries for ever to make the number that says where the exception
came from (`exception_unwind` in ceval.c goes back to itself while that fails), so
the worker never gets to tell that it ran out. It is let go on from here.
"""

from __future__ import annotations

import contextlib
import resource
from enum import Enum, auto
from pathlib import Path

#: A worker whose data comes so near to a limit has met it: the interpreter takes memory by the
#: mebibyte.
NEAR_BYTES = 2 * 1024 * 1024


class Headroom(Enum):
    """What a worker may still allocate."""

    SOME = auto()
    MORE_ON_DEMAND = auto()
    """Nothing, until its soft limit is raised to the hard one."""
    NONE = auto()


def of(pid: int) -> Headroom:
    """Of a process; SOME where it is gone, or has no limit."""
    try:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return Headroom.SOME
    data = next((line for line in status.splitlines() if line.startswith(b"VmData:")), b"_ 0")
    if soft == resource.RLIM_INFINITY or int(data.split()[1]) * 1024 < soft - NEAR_BYTES:
        return Headroom.SOME
    return Headroom.NONE if soft == hard else Headroom.MORE_ON_DEMAND


def give(pid: int) -> None:
    """Raise the soft limit to the hard one; nothing where it is gone."""
    with contextlib.suppress(OSError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        resource.prlimit(pid, resource.RLIMIT_DATA, (hard, hard))
