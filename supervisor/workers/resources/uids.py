"""Which user each worker runs as, where the service may choose: a uid of its own.

The kernel counts processes, and lets signals and files pass, by uid; one of its
own keeps a worker apart from its neighbours in all of that. Pure but for the
look at what this process may do.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from sandbox.protocol import Withheld
from supervisor.workers.resources.procfs import capabilities

#: Uids that no convention gives to anybody; see https://systemd.io/UIDS-GIDS/. Each service takes
#: a block of them by the place of its state, so that two on a machine share none.
FIRST_UID, BLOCKS, BLOCK_SIZE = 1_900_000_000, 4096, 4096
#: What a user namespace has that maps no more than the usual 65,536.
_SMALL_NAMESPACE_FIRST, _SMALL_NAMESPACE_SIZE = 61_184, 4096
#: Bits of <linux/capability.h> that giving a worker another uid takes, and killing it then.
_NEEDED = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7}


@dataclass(frozen=True, slots=True)
class WorkerUids:
    """`size` uids from `first`; or why there are none."""

    first: int
    size: int
    withheld: str = ""

    def of(self, child: int) -> int | Withheld:
        """The uid of the worker with that number; two that live at a time have different ones."""
        if self.withheld:
            return Withheld(self.withheld)
        return self.first + child % self.size


def available(state_dir: Path) -> WorkerUids:
    """What this process, running with `state_dir`, may give its workers."""
    return choose(
        state_dir,
        uid=os.geteuid(),
        capabilities=capabilities(),
        uid_map=Path("/proc/self/uid_map").read_text(),
    )


def choose(state_dir: Path, *, uid: int, capabilities: int, uid_map: str) -> WorkerUids:
    """The same for any process: `capabilities` are its effective ones, `uid_map` as in /proc."""
    if uid != 0:
        return WorkerUids(0, 0, f"not started as root: workers share the service's uid {uid}")
    if lacking := [name for name, bit in _NEEDED.items() if not capabilities >> bit & 1]:
        return WorkerUids(0, 0, f"root, but without {', '.join(lacking)}: workers share its uid")
    block = zlib.crc32(os.fsencode(state_dir)) % BLOCKS
    for first, size in (
        (FIRST_UID + block * BLOCK_SIZE, BLOCK_SIZE),
        (_SMALL_NAMESPACE_FIRST, _SMALL_NAMESPACE_SIZE),
    ):
        if _is_mapped(first, size, uid_map):
            return WorkerUids(first, size)
    return WorkerUids(0, 0, "this user namespace maps no uids for workers")


def _is_mapped(first: int, size: int, uid_map: str) -> bool:
    for line in uid_map.splitlines():
        inside, _, count = map(int, line.split())
        if inside <= first and first + size <= inside + count:
            return True
    return False
