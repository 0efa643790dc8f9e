"""The file that a walk has its tables in, as the supervisor makes it with a worker."""

from __future__ import annotations

import os

from sandbox.protocol import TABLES_AT
from sandbox.protocol.limits import TABLES_BYTES


def tables(size: int = 8 * TABLES_BYTES) -> int:
    """Its descriptor, of a file with room for `size` bytes."""
    descriptor = os.memfd_create("tables", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, TABLES_AT + size)
    return descriptor
