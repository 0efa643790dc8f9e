"""The headroom between a worker's soft and hard limit of memory, as seen and given from outside.

A MemoryError needs memory itself. Where not even thirty bytes are left,
CPython 3.11 tries for ever to make the number that says where the exception
came from (`exception_unwind` in ceval.c goes back to itself while that fails), so
the worker never gets to tell that it ran out. It is let go on from here.
"""

from __future__ import annotations

import re
import resource
from enum import Enum, auto
from pathlib import Path

#: A worker whose data comes so near to a limit has met it: the interpreter takes memory by the
#: mebibyte.
NEAR_BYTES = 2 * 1024 * 1024


#: Lines of /proc/PID/limits and /proc/PID/status; "unlimited" is no number, and no limit.
_LIMIT = re.compile(rb"^Max data size +(\d+) +(\d+) ", re.M)
_DATA = re.compile(rb"^VmData:\s+(\d+) kB", re.M)


class Headroom(Enum):
    """What a worker may still allocate."""

    SOME = auto()
    MORE_ON_DEMAND = auto()
    """Nothing, until its soft limit is raised to the hard one."""
    NONE = auto()


def of(pid: int) -> Headroom:
    """Of a process; SOME where it is gone, or has no limit."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_bytes()
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return Headroom.SOME
    limit, data = _LIMIT.search(limits), _DATA.search(status)
    if limit is None or data is None:
        return Headroom.SOME
    if int(data[1]) * 1024 < int(limit[1]) - NEAR_BYTES:
        return Headroom.SOME
    return Headroom.NONE if limit[1] == limit[2] else Headroom.MORE_ON_DEMAND


def raise_soft_limit(pid: int) -> bool:
    """Raise the soft limit to the hard one; whether we may.

    A process of another user takes CAP_SYS_RESOURCE, which not every root has.
    """
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        resource.prlimit(pid, resource.RLIMIT_DATA, (hard, hard))
    except OSError:
        return False
    return True
