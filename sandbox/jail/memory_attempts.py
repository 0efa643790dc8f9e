"""What destinations with intent try to have more memory than anybody counts.

As in `attempts.py`: harmless where they get through, and an error where they are stopped. Must not
know which layer stops one.
"""

from __future__ import annotations

import errno
import mmap

from sandbox.jail.attempts import Targets

_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_GROWS_DOWN, _HUGE = 0x100, 0x4_0000
_HUGE_PAGE_BYTES = 2 * 1024**2


def map_shared(t: Targets) -> None:
    mmap.mmap(-1, 4096, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)


def map_zeros(t: Targets) -> None:
    with open("/dev/zero", "rb") as zeros:
        mmap.mmap(zeros.fileno(), 4096, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)


def map_huge(t: Targets) -> None:
    try:
        mmap.mmap(-1, _HUGE_PAGE_BYTES, flags=_PRIVATE | _HUGE)
    except OSError as error:
        # Where the call is allowed, and this machine has set no huge pages aside.
        if error.errno != errno.ENOMEM:
            raise


def take_stack(t: Targets) -> None:
    mmap.mmap(-1, 4096, flags=_PRIVATE | _GROWS_DOWN)


def take_memory(t: Targets) -> None:
    mmap.mmap(-1, 10 * 1024**3, flags=_PRIVATE)
