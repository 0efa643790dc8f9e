"""The door: takes a snapshot of this process and writes it to a descriptor.

Runs in a forked copy of the worker, which has one thread, `gc` switched off and
`fd` as its only descriptor of use, and ends when it is done. Nothing here
touches the event loop, logs, or runs code of the program that is looked at.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from typing import Literal

from sandbox.heap import heapsnapshot
from sandbox.heap.limits import MIB, Clock, SnapshotFailed, SnapshotLimits
from sandbox.heap.roots import Roots, capture
from sandbox.heap.strings import Policy, Strings
from sandbox.heap.summary import hpy_file, summarize
from sandbox.heap.walk import Walk

__all__ = ["Kind", "Roots", "SnapshotFailed", "SnapshotLimits", "capture", "write"]

Kind = Literal["heapsnapshot", "summary", "hpy"]

_DEFAULTS = SnapshotLimits()
_BUFFER_BYTES = MIB


def write(
    fd: int,
    kind: Kind,
    *,
    tables: int,
    strings: Policy = "truncated",
    limits: SnapshotLimits = _DEFAULTS,
    roots: Roots | None = None,
) -> None:
    """Write a snapshot of this process to `fd`, which stays open.

    tables: descriptor of the file for the walk's own tables, see `room`.
    strings: whether values are told ("full") or only their type and length; see `strings`.
    roots: what `capture` returned right before the fork. Without it, what other threads hold is
        missing: a fork does not have them.

    Raises SnapshotFailed, with the reason for an operator. What was written until then is no
    snapshot.
    """
    try:
        _write(fd, kind, tables, strings, limits, roots or capture())
    except MemoryError:
        raise SnapshotFailed("there was no memory left for the walk") from None
    except OSError as error:
        raise SnapshotFailed(_reason(error)) from error


def _write(
    fd: int, kind: Kind, tables: int, policy: Policy, limits: SnapshotLimits, roots: Roots
) -> None:
    # Whatever `gc` is told of from here on is not the worker's.
    gc.freeze()
    clock = Clock(limits)
    out = _Output(fd, limits, clock)
    # `write` and what it calls are not part of what is looked at.
    caller = sys._getframe(1)
    # Tables tell no values.
    strings = Strings(policy if kind == "heapsnapshot" else "truncated")
    graph = Walk(strings, limits, clock, tables).run(roots, caller)
    match kind:
        case "heapsnapshot":
            heapsnapshot.write(graph, out.write)
        case "summary":
            out.write(summarize(clock, graph))
        case "hpy":
            out.write(hpy_file(graph))
    out.flush()


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "the disk is full"
        case errno.EFBIG:
            return "the file grew beyond the limit of this process"
        case errno.EPIPE | errno.ECONNRESET:
            return "the request for it is gone"
        case errno.ENOMEM:
            return "there was no memory left for the walk"
        case _:  # any other number of the system, told in its own words
            return f"cannot write it: {error.strerror or error}"


class _Output:
    """Writes to a descriptor, all of it and within the limits."""

    def __init__(self, fd: int, limits: SnapshotLimits, clock: Clock) -> None:
        self._fd = fd
        self._clock = clock
        self._left = limits.file_bytes
        self._limit = limits.file_bytes
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        """Take a piece. Raises SnapshotFailed at a limit, OSError where it cannot be written."""
        self._buffer += data
        if len(self._buffer) >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is there."""
        self._clock.check()
        self._left -= len(self._buffer)
        if self._left < 0:
            raise SnapshotFailed(f"the file grew beyond {self._limit} bytes")
        with memoryview(self._buffer) as rest:
            done = 0
            while done < len(rest):
                done += os.write(self._fd, rest[done:])
        self._buffer.clear()
