"""Files that somebody named: a config, settings, a secret, an event, a tape.

Owns that reading one ends: a pipe that nobody writes into, a terminal, a device without
end and a file without bound are refused, or read for a limited time. Every error is an
OSError whose `strerror` says what was wrong. Must not know what is in a file.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from pathlib import Path
from typing import BinaryIO

#: Seconds within which the other side of a pipe has to have written all, `<(command)` of a shell.
PIPE_WAIT_S = 30.0
_PIECE_BYTES = 1 << 20
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: Path) -> BinaryIO:
    """A regular file, to be read. Raises OSError, also for what is no regular file.

    Opening never waits, as it would for a pipe that nobody writes into. A zero byte in the
    path is an OSError, too.
    """
    return os.fdopen(_open(path, may_be_pipe=False), "rb")


def read_file(path: Path, *, most_bytes: int, may_be_pipe: bool = False) -> bytes:
    """The first `most_bytes` + 1 bytes, so that the caller sees what is too large.

    `may_be_pipe`: a pipe is read, too, to its end and at most for PIPE_WAIT_S; not for
    what the event loop reads. Raises OSError.
    """
    fd = _open(path, may_be_pipe=may_be_pipe)
    try:
        until = time.monotonic() + PIPE_WAIT_S
        # Not select(2), which knows no descriptor past 1023: a busy service has none below.
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        parts: list[bytes] = []
        left = most_bytes + 1
        while left > 0:
            if not waiting.poll(1000 * max(0.0, until - time.monotonic())):
                raise OSError(errno.ETIMEDOUT, f"nothing ended it within {PIPE_WAIT_S:g} s")
            part = os.read(fd, min(left, _PIECE_BYTES))
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def _open(path: Path, *, may_be_pipe: bool) -> int:
    try:
        # Without O_NONBLOCK, opening a pipe waits for its other side.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError as error:
        raise OSError(errno.EINVAL, f"there is no such name: {error}") from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) or (may_be_pipe and stat.S_ISFIFO(mode)):
        return fd
    os.close(fd)
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
    raise OSError(errno.EINVAL, f"it is {kind}, and no regular file")
