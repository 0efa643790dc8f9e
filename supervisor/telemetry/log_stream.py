"""Where the lines of a running service go: a bounded buffer, and a thread that writes it out.

Owns what nobody else may wait for: standard error is whatever the operator made it, a pipe to a
collector that hangs, a terminal that is paused, a file on a full disk. Whoever writes here never
waits; what finds no room is dropped and counted, and told in one line when there is room again.
Must not know the form of a line, nor make the descriptor non-blocking: a terminal is shared with
the shell that we were started from.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
import time
from collections import deque

import structlog

_log = structlog.get_logger(__name__)

#: Bytes that wait to be written, at most: thousands of lines, for a reader that is slow.
MAX_WAITING = 4 * 1024 * 1024
#: Bytes that are written at once.
PIECE_BYTES = 64 * 1024
#: Seconds of rest after a write that failed: a full disk, a terminal that is gone.
REST_S = 0.5
#: Seconds that the end of the process waits for what is not written yet.
LAST_LINES_S = 1.0


class LogStream(io.TextIOBase):
    """A text stream for any thread, whose `write` never blocks.

    `descriptor` stays its maker's, and is written to by one thread alone, which may hang in it
    for as long as the process lives: it holds nothing that others need, and no exit waits for it.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        # A condition's own lock is one that its holder may take again: to collect garbage may
        # write a line, in the midst of writing one.
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_writing = False
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._untold = 0

    @classmethod
    def of_process(cls) -> LogStream:
        """One that ends in standard error; nowhere, where this process was started without."""
        if sys.stderr is None:
            return cls(os.open(os.devnull, os.O_WRONLY))
        return cls(sys.stderr.fileno())

    @property
    def lines_dropped(self) -> int:
        """Lines that were lost, since the start."""
        return self._dropped

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property where typeshed has a variable
        """What text is written in."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # see above
        """What becomes of characters that UTF-8 does not have."""
        return "backslashreplace"

    def fileno(self) -> int:
        """The descriptor that it ends in."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person may look at it."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Take a line, or drop it where too much waits already."""
        data = text.encode(self.encoding, self.errors)
        with self._changed:
            if self._waiting_bytes + len(data) > MAX_WAITING:
                self._lost(1)
            elif data:
                self._waiting.append(data)
                self._waiting_bytes += len(data)
                if self._thread is None:
                    # A daemon: the end of the process does not wait for one that hangs.
                    self._thread = threading.Thread(
                        target=self._write_out, name="log-writer", daemon=True
                    )
                    self._thread.start()
                self._changed.notify_all()
        return len(text)

    def drain(self, timeout_s: float = LAST_LINES_S) -> bool:
        """Wait until all is written, at most `timeout_s` seconds; whether it is."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._is_writing, timeout_s
            )

    def _lost(self, lines: int) -> None:
        self._dropped += lines
        self._untold += lines

    # --- the thread ---

    def _write_out(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                lines = self._next_lines()
                self._is_writing = True
            is_written = self._write_all(b"".join(lines))
            with self._changed:
                self._waiting_bytes -= sum(map(len, lines))
                if not is_written:
                    self._lost(len(lines))
                # Not while more waits: it is what was there before the loss.
                untold = 0 if self._waiting or not is_written else self._untold
                self._untold -= untold
            if untold:
                _log.warning(
                    "log_lines_dropped",
                    lines=untold,
                    reason="standard error was not read, or could not be written to",
                )
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
            if not is_written:
                time.sleep(REST_S)

    def _next_lines(self) -> list[bytes]:
        lines = [self._waiting.popleft()]
        size = len(lines[0])
        while self._waiting and size + len(self._waiting[0]) <= PIECE_BYTES:
            lines.append(self._waiting.popleft())
            size += len(lines[-1])
        return lines

    def _write_all(self, data: bytes) -> bool:
        """Write, for as long as that takes; whether it could be."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                # Somebody who shares the terminal or pipe with us made it so.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                return False  # a full disk, a reader that is gone: there is no place to say so
        return True
