"""What workers write to standard output and error past Python: C code, and children of theirs.

Owns the reading end of one process's pipe: a worker's, or the zygote's. It is read at a
bounded rate, so that a flood costs the supervisor little and the writer only waits; what is
more than a few lines a second is counted and dropped. Must not log.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

#: Lines a second that are passed on, and most characters of one.
LINES_PER_S, MAX_LINE = 20, 500
#: Bytes that are read at once, and how many in a row before others get their turn.
READ_BYTES, READS = 64 * 1024, 4
#: Seconds of rest after so many reads: 50 MiB a second at most.
REST_S = 0.005


@dataclass(frozen=True, slots=True)
class Printed:
    """`size_bytes` were written since the last time; `lines` are the first few of them."""

    size_bytes: int
    lines: tuple[str, ...]


def output_pipe() -> tuple[int, int]:
    """The two ends of a pipe: ours, which does not block, and the writer's. Raises OSError."""
    ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(theirs, True)
    return ours, theirs


class Output:
    """Reads `descriptor`, which it owns and which does not block, and tells `on_printed`."""

    def __init__(self, descriptor: int, on_printed: Callable[[Printed], None]) -> None:
        self._descriptor = descriptor
        self._on_printed = on_printed
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._second = 0
        self._told = 0
        self._loop.add_reader(descriptor, self._readable)

    def close(self) -> None:
        """Read what is left, at most what one turn reads, and let go."""
        if self._descriptor < 0:
            return
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._descriptor)
        self._take()
        os.close(self._descriptor)
        self._descriptor = -1

    def _readable(self) -> None:
        is_full = self._take()
        if is_full is None:
            # The worker has closed its end, or is gone: `close` follows, or nothing any more.
            self._loop.remove_reader(self._descriptor)
        elif is_full:
            self._loop.remove_reader(self._descriptor)
            self._rest = self._loop.call_later(REST_S, self._go_on)

    def _go_on(self) -> None:
        self._rest = None
        self._loop.add_reader(self._descriptor, self._readable)

    def _take(self) -> bool | None:
        """Read; whether there may be more, None where nothing will come any more."""
        size, first, more = 0, b"", True
        for _ in range(READS):
            try:
                data = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                more = False
                break
            if not data:
                self._tell(size, first)
                return None
            size += len(data)
            first = first or data[: LINES_PER_S * MAX_LINE]
        self._tell(size, first)
        return more

    def _tell(self, size: int, first: bytes) -> None:
        if not size:
            return
        second = int(self._loop.time())
        if second != self._second:
            self._second, self._told = second, 0
        text = first.decode("utf-8", "replace")
        lines = [line[:MAX_LINE] for line in text.split("\n") if line.strip()]
        lines = lines[: LINES_PER_S - self._told]
        self._told += len(lines)
        self._on_printed(Printed(size, tuple(lines)))
