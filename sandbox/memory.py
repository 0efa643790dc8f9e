"""What a worker keeps back for the moment in which its memory is used up.

Owns the ballast and the raising of the soft limit. The jail's layer `rlimits`
leaves room between soft and hard for this. Must not log: there may be no memory
for a line.
"""

from __future__ import annotations

import mmap
import resource

#: Bytes of address space that are given up first. They count against the limit and, since they are
#: never written to, take no memory.
BALLAST_BYTES = 8 * 1024 * 1024


class MemoryReserve:
    """One a worker."""

    def __init__(self) -> None:
        # Not bytes, which would be written to as they are made.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._ballast: mmap.mmap | None = mmap.mmap(-1, BALLAST_BYTES, flags)

    @property
    def is_whole(self) -> bool:
        """The reserve has not been needed yet."""
        return self._ballast is not None

    def release(self) -> None:
        """Make room: give up the ballast, and raise the soft limit to the hard one."""
        if self._ballast is not None:
            self._ballast.close()
            self._ballast = None
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def is_want_of_memory(error: BaseException) -> bool:
    """Whether a MemoryError is behind an exception, or among those of a group."""
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        found = todo.pop()
        if found is None or id(found) in seen:
            continue
        if isinstance(found, MemoryError):
            return True
        seen.add(id(found))
        todo += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            todo += found.exceptions
    return False
