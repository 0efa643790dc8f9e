"""How many descriptors this process may have, who gets which share of them, and a reserve.

Owns the arithmetic of RLIMIT_NOFILE, and the few descriptors that are held for what must not fail
when none is left: to replace a worker that has died. Must not know what they are used for.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

#: What the kernel says where it has no room now, and may have some in a moment. Whoever gets one of
#: these between a decision and its end has a fact to tell, and tries again later.
REFUSED = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS}
)
#: Descriptors that are held in reserve: what one worker takes while it is forked, or a zygote.
RESERVE = 16
#: Connections that the admin API may have at least.
LEAST_ADMIN = 8


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all descriptors: what each may have open at once. The rest is for workers and the disk."""

    tracking: int
    admin: int
    egress: int

    @classmethod
    def of(cls, most_files: int) -> Shares:
        """Three eighths for senders, a sixteenth for operators, a quarter on the way out."""
        return cls(most_files * 3 // 8, max(LEAST_ADMIN, most_files // 16), most_files // 4)


def raise_limit() -> int:
    """Raise this process's soft limit to the hard one, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Reserve:
    """`size` descriptors that are given up to whoever `attempt`s what must not fail."""

    def __init__(self, size: int = RESERVE) -> None:
        self._size = size
        self._held: list[int] = []
        self.restock()

    def attempt(self, make: Callable[[], T]) -> T:
        """What `make` makes, with the descriptors of the reserve where there are no others.

        Raises OSError where they do not suffice, or for any other reason. `make` leaves nothing
        behind where it raises.
        """
        try:
            return make()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._held:
                raise
        self.close()
        return make()

    def restock(self) -> None:
        """Take back what was given up, as far as there is any; to be called from time to time."""
        try:
            while len(self._held) < self._size:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return  # next time

    def close(self) -> None:
        """Give all of them up."""
        while self._held:
            os.close(self._held.pop())
