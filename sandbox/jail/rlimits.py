"""Layer `rlimits`: what the kernel bounds a process in by itself.

Owns the numbers that no config sets. A limit that is lower already stays: whoever
started the service may be stricter than we are, and only root could raise it.
"""

from __future__ import annotations

import os
import resource
import threading

from sandbox.protocol import Limits

#: Largest file that a worker may write, a heap snapshot included, in bytes.
MAX_FILE_BYTES = 512 * 1024 * 1024
#: Bytes of stack: of the main thread at most, and of any other one. They count as data, touched
#: or not, and 8 MiB each would use up a memory limit with a dozen idle threads.
MAIN_STACK_BYTES, THREAD_STACK_BYTES = 8 * 1024 * 1024, 1024 * 1024
#: Threads and processes of a worker that has a uid of its own; the kernel counts by uid.
MAX_TASKS = 128
#: What a worker may take beyond its limit to write down why it reached it: at MemoryError the
#: soft limit is raised to the hard one, since a fork at the limit would fail. A fraction.
EVIDENCE_SHARE = 0.25
_EVIDENCE_LEAST_BYTES = 32 * 1024 * 1024


def apply(limits: Limits, *, has_own_uid: bool) -> str:
    """Set them all; "on", or why not.

    RLIMIT_DATA is counted from what the zygote has given us, which is shared
    with everybody until it is written to; RLIMIT_AS would count thread stacks
    and arenas that nobody touches.
    """
    soft = _data_bytes() + limits.memory_limit
    hard = soft + max(_EVIDENCE_LEAST_BYTES, int(limits.memory_limit * EVIDENCE_SHARE))
    wanted: list[tuple[int, int, int]] = [
        (resource.RLIMIT_DATA, soft, hard),
        (resource.RLIMIT_NOFILE, limits.max_open_files, limits.max_open_files),
        (resource.RLIMIT_CORE, 0, 0),  # a core file holds customers' data
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES, MAX_FILE_BYTES),
        (resource.RLIMIT_STACK, MAIN_STACK_BYTES, MAIN_STACK_BYTES),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_NICE, 0, 0),
        (resource.RLIMIT_RTPRIO, 0, 0),
        (resource.RLIMIT_SIGPENDING, MAX_TASKS, MAX_TASKS),
    ]
    if has_own_uid:
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
        ("FSIZE", MAX_FILE_BYTES),
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
