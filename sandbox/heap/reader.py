"""What every process that reads a snapshot does first: it limits itself, and goes to jail.

A snapshot is hostile input. Before a byte of it is read, the process can no more open files, reach
a network or take memory and time without limit.
"""

from __future__ import annotations

import gzip
import io
import resource
from collections.abc import Collection
from typing import IO, cast

from sandbox.jail import alone

_READ_BYTES = 1 << 16


def limit(memory_bytes: int, cpu_s: int) -> None:
    """Take no more memory, seconds of CPU or file size than this, and leave no core."""
    for kind, most in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, memory_bytes),
    ):
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(kind, (most, most))


def enter_jail(keep: Collection[int] = ()) -> None:
    """The layers of a worker's jail that this machine has. Raises OSError half-way through.

    What is imported later must have been imported before: another user may not be able to read it.
    """
    alone.enter(keep)


def unpacked(raw: IO[bytes]) -> io.BufferedReader:
    """The stream, gunzipped where it is gzipped; `file` bounds what it takes of it."""
    # cast: any stream of bytes will do, and typeshed wants a raw one.
    stream = io.BufferedReader(cast(io.RawIOBase, raw), _READ_BYTES)
    if stream.peek(2)[:2] != b"\x1f\x8b":
        return cast(io.BufferedReader, stream)
    return cast(io.BufferedReader, io.BufferedReader(gzip.GzipFile(fileobj=stream), _READ_BYTES))
