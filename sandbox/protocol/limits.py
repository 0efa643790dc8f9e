"""Numbers that both sides of the wire hold a worker to, each written once. Pure.

Owns what the jail sets and the supervisor checks by itself, since a worker's word is no proof. Must
not hold what only one side needs: that stands where it is used.
"""

from __future__ import annotations

#: Profiles of the jail, tightest first. `relaxed` lets a worker make memory executable and load
#: native code at any time, for what compiles at run time (cffi and ctypes callbacks on some
#: machines, numba).
PROFILES = ("strict", "relaxed")
#: Threads and processes of one worker: the control group's `pids.max`, and RLIMIT_NPROC for a
#: worker that has a uid of its own.
MAX_TASKS = 128
#: Bytes of a worker's scratch folder: in a tmpfs of its own, which is memory and counts as such,
#: and on a disk, where no file may be larger either. Files and folders in it.
SCRATCH_TMPFS_BYTES, SCRATCH_DISK_BYTES = 32 * 1024 * 1024, 256 * 1024 * 1024
SCRATCH_ENTRIES = 1000
#: Lines that one connection may log in a second, all of a worker together, and exceptions that
#: nothing catches; the rest is counted and dropped, by the worker or else by the supervisor.
LINES_PER_S, WORKER_LINES_PER_S, STRAY_LINES_PER_S = 50, 100, 20
#: What a worker may take beyond its memory limit to write down why it reached the limit, as a share
#: of the limit, and in bytes at least.
EVIDENCE_SHARE, EVIDENCE_BYTES = 0.25, 32 * 1024 * 1024
#: Bytes for tables of a heap snapshot beyond the memory limit.
TABLES_BYTES = 64 * 1024 * 1024


def evidence_allowance(memory_limit: int) -> int:
    """Bytes beyond `memory_limit` that a worker may use once it has run out of memory.

    At MemoryError the jail's soft limit is raised to the hard one, since a fork at the limit would
    fail; the supervisor ends the worker past the same figure.
    """
    return max(EVIDENCE_BYTES, int(memory_limit * EVIDENCE_SHARE))


def tables_bytes(memory_limit: int) -> int:
    """Bytes that the tables of a heap snapshot may take, in the file behind the marker page.

    A heap of small objects takes about as much as it is large; what workers inherit is a heap too.
    """
    return memory_limit + TABLES_BYTES
