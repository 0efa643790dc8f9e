"""Layer `rlimits`: what the kernel bounds a process in by itself.

Owns the numbers that no config sets and only the jail knows. A limit that is lower already stays:
the service may have been started under stricter ones, and only root could raise them.
"""

from __future__ import annotations

import os
import resource
import threading

from sandbox.protocol import MAX_TASKS, SCRATCH_DISK_BYTES, Limits, evidence_allowance

#: Bytes of stack: of the main thread at most, and of any other one. They count as data, touched
#: or not, and 8 MiB each would use up a memory limit with a dozen idle threads.
MAIN_STACK_BYTES, THREAD_STACK_BYTES = 8 * 1024 * 1024, 1024 * 1024


def apply(limits: Limits, *, has_own_uid: bool) -> str:
    """Set them all; "on", or why not.

    RLIMIT_DATA is counted from what the zygote has given us, which is shared
    with everybody until it is written to; RLIMIT_AS would count thread stacks
    and arenas that are never touched.
    """
    soft = _data_bytes() + limits.memory_limit
    hard = soft + evidence_allowance(limits.memory_limit)
    wanted: list[tuple[int, int, int]] = [
        (resource.RLIMIT_DATA, soft, hard),
        (resource.RLIMIT_NOFILE, limits.max_open_files, limits.max_open_files),
        (resource.RLIMIT_CORE, 0, 0),  # a core file holds customers' data
        # No file is larger than its whole folder may be. Snapshots are written to a pipe.
        (resource.RLIMIT_FSIZE, SCRATCH_DISK_BYTES, SCRATCH_DISK_BYTES),
        (resource.RLIMIT_STACK, MAIN_STACK_BYTES, MAIN_STACK_BYTES),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_NICE, 0, 0),
        (resource.RLIMIT_RTPRIO, 0, 0),
        (resource.RLIMIT_SIGPENDING, MAX_TASKS, MAX_TASKS),
    ]
    if has_own_uid:  # the kernel counts by uid
        wanted.append((resource.RLIMIT_NPROC, MAX_TASKS, MAX_TASKS))
    try:
        for which, soft, hard in wanted:
            _lower(which, soft, hard)
    except (OSError, ValueError) as error:
        return f"refused by the kernel: {error}"
    threading.stack_size(THREAD_STACK_BYTES)
    return "on"


def faults(limits: Limits) -> str:
    """What is not as `apply` leaves it; empty where all is."""
    for name, most in (
        ("NOFILE", limits.max_open_files),
        ("CORE", 0),
        ("FSIZE", SCRATCH_DISK_BYTES),
        ("MEMLOCK", 0),
    ):
        _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        if hard == resource.RLIM_INFINITY or hard > most:
            return f"RLIMIT_{name} can be raised to {hard}"
    if resource.getrlimit(resource.RLIMIT_DATA)[1] == resource.RLIM_INFINITY:
        return "RLIMIT_DATA is not set"
    return ""


def _lower(which: int, soft: int, hard: int) -> None:
    _, old = resource.getrlimit(which)
    if old != resource.RLIM_INFINITY:
        soft, hard = min(soft, old), min(hard, old)
    resource.setrlimit(which, (soft, hard))


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process now: the sixth figure of statm, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
