"""What destinations print and log: lines to the supervisor at a bounded rate, the rest counted.

Owns the rate, and the streams that stand in for standard output and error.
Each line goes under the connection in whose context it was written. What is
written past Python (by C code, to descriptors 1 and 2) goes through a pipe that
the supervisor reads; it is none of ours.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable

from sandbox.protocol import LINES_PER_S, WORKER_LINES_PER_S

#: Longest line, in characters.
MAX_LINE = 2_000
#: Line ends of a text that are looked for one by one.
FEW = 8

#: Level, connection, text, and how many lines before it were dropped.
Say = Callable[[int, str, str, int], None]


class Lines:
    """The lines of all connections of a worker, `most` in a second; for any thread."""

    def __init__(
        self, say: Say, connection: Callable[[], str], most: int = WORKER_LINES_PER_S
    ) -> None:
        self._most = most
        self._say = say
        self._connection = connection
        self._second = 0
        self._sent: dict[str, int] = {}
        self._dropped: dict[str, int] = {}

    def room(self, connection: str, lines: int = 1) -> int:
        """How many of `lines` may be sent now; the others are counted as dropped."""
        room = min(lines, self._left(connection))
        if room:
            self._sent[connection] = self._sent.get(connection, 0) + room
        if room < lines:
            self._dropped[connection] = self._dropped.get(connection, 0) + lines - room
        return room

    def _left(self, connection: str) -> int:
        """Lines that this second has left."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._sent.clear()
        own = LINES_PER_S - self._sent.get(connection, 0)
        return max(0, min(own, self._most - sum(self._sent.values())))

    def send(self, level: int, connection: str, text: str) -> None:
        """A line for which there was room."""
        self._say(level, connection, clean(text), self._dropped.pop(connection, 0))

    def write(self, level: int, text: str) -> None:
        """Text of some lines, of the connection that runs now."""
        connection = self._connection()
        count = _newlines(text) + (not text.endswith("\n"))
        room = self.room(connection, count)
        if room:
            # Cut first: a line may be as long as all memory.
            for line in text[: room * MAX_LINE].split("\n")[:room]:
                if line.strip():
                    self.send(level, connection, line)

    def tell_dropped(self) -> None:
        """Say how many lines were dropped of connections that have been silent since."""
        for connection in list(self._dropped):
            # This line is ours: where it has no room it is not one that was dropped.
            if self._left(connection):
                self.room(connection)
                self.send(logging.WARNING, connection, "more was written than is kept")


class PrintStream(io.TextIOBase):
    """Stands in for `sys.stdout` and `sys.stderr`."""

    def __init__(self, lines: Lines, level: int, descriptor: int) -> None:
        super().__init__()
        self._lines = lines
        self._level = level
        self._descriptor = descriptor
        self._begun = ""
        self.buffer = _Bytes(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property where typeshed has a variable
        """As of the streams that it stands in for."""
        return "utf-8"

    def fileno(self) -> int:
        """The descriptor, which leads to the supervisor as well."""
        return self._descriptor

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Take text; a line is sent once it is whole."""
        begun = self._begun
        if text == "\n" and not begun:
            return 1  # a blank line, or the end of one that was too long to be kept
        end = text.rfind("\n") + 1
        if end or len(begun) + len(text) > MAX_LINE:
            whole, self._begun = (text[:end], text[end:]) if end else (text, "")
            self._lines.write(self._level, begun + whole)
        else:
            self._begun = begun + text
        self._begun = self._begun[:MAX_LINE]
        return len(text)


class _Bytes(io.RawIOBase):
    """What writes bytes to a text stream's `buffer` gets."""

    def __init__(self, text: PrintStream) -> None:
        super().__init__()
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        taken = bytes(data)  # type: ignore[call-overload]  # whatever bytes() takes, else TypeError
        self._text.write(taken.decode("utf-8", "replace"))
        return len(taken)


class Handler(logging.Handler):
    """Log records as lines, of `connection` or, where that is None, of the one that runs."""

    def __init__(self, lines: Lines, connection: str | None, running: Callable[[], str]) -> None:
        super().__init__()
        self._lines = lines
        self._named = connection
        self._running = running

    def emit(self, record: logging.LogRecord) -> None:
        """Send it, unless there were too many of late: then it is not even formatted."""
        connection = self._running() if self._named is None else self._named
        if not self._lines.room(connection):
            return
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a format string that does not fit
            text = f"unprintable log line: {type(error).__name__}: {error}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {type(record.exc_info[1]).__name__}"
        self._lines.send(record.levelno, connection, text)


def take_over(lines: Lines, running: Callable[[], str]) -> None:
    """From now on, what is printed or logged without a logger of ours goes through `lines`."""
    sys.stdout = PrintStream(lines, logging.INFO, 1)
    sys.stderr = PrintStream(lines, logging.WARNING, 2)
    logging.getLogger().addHandler(Handler(lines, None, running))


def _newlines(text: str) -> int:
    """How many there are. str.count takes sixty times as long as str.find where there are few."""
    at = -1
    for count in range(FEW):
        at = text.find("\n", at + 1)
        if at < 0:
            return count
    return FEW + text.count("\n", at + 1)


def clean(text: object) -> str:
    """At most MAX_LINE characters, all of which UTF-8 has."""
    return str(text)[:MAX_LINE].encode("utf-8", "replace").decode()
