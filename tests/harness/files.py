"""How many descriptors a process has, and may have.

Owns the limit of this process while a test runs. Must not be used where another thread opens files.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


def open_files(pid: int | str = "self") -> set[str]:
    """Numbers of a process's descriptors."""
    return set(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def room_for(files: int) -> Iterator[None]:
    """So many descriptors more may be opened."""
    _, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    filler = []
    try:
        # Every number below the limit is taken, but for so many.
        most = max(map(int, open_files())) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        while True:
            try:
                filler.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        resource.setrlimit(resource.RLIMIT_NOFILE, (most + files, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in filler:
            os.close(descriptor)
