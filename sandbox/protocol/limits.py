"""Numbers that both sides of the wire hold a worker to, each written once. Pure.

Owns what the jail sets and the supervisor checks by itself, since a worker's word is no proof. Must
not hold what only one side needs: that stands where it is used.
"""

from __future__ import annotations

#: Profiles of the jail, tightest first. `relaxed` lets a worker make memory executable, for what
#: compiles at run time (cffi and ctypes callbacks on some machines, numba), and use anonymous
#: files.
PROFILES = ("strict", "relaxed")
#: Threads and processes of one worker: the control group's `pids.max`, and RLIMIT_NPROC for a
#: worker that has a uid of its own.
MAX_TASKS = 128
#: What a worker may take beyond its memory limit to write down why it reached the limit, as a share
#: of the limit, and in bytes at least.
EVIDENCE_SHARE, EVIDENCE_BYTES = 0.25, 32 * 1024 * 1024


def evidence_allowance(memory_limit: int) -> int:
    """Bytes beyond `memory_limit` that a worker may use once it has run out of memory.

    At MemoryError the jail's soft limit is raised to the hard one, since a fork at the limit would
    fail; the supervisor ends the worker past the same figure.
    """
    return max(EVIDENCE_BYTES, int(memory_limit * EVIDENCE_SHARE))
