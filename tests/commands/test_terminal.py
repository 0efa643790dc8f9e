"""What a person sees: commands run in a process of their own, on a real terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.commands.servers import Script, serving, tracking_app

#: Seconds for what takes one or two on a quiet machine.
PATIENCE_S = 60.0


@contextmanager
def on_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`bulkhead` on a pseudo-terminal; yields the process and the terminal's other end."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "supervisor", *arguments]
    env = {**os.environ, "COLUMNS": "150", "LINES": "40", "TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def read_until(terminal: int, wanted: str) -> str:
    """Everything that was shown until `wanted` was, or until the process ended.

    Raises TimeoutError where that takes longer than PATIENCE_S.
    """
    shown = b""
    until = time.monotonic() + PATIENCE_S
    while wanted.encode() not in shown:
        if not select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0]:
            raise TimeoutError(f"{wanted!r} is not shown, but {shown[-500:]!r}")
        try:
            shown += os.read(terminal, 65_536)
        except OSError:  # how Linux says that nobody holds the other end any more
            break
    return shown.decode(errors="replace")


def test_sending_shows_a_bar(tmp_path: Path) -> None:
    """On a terminal `send` draws a progress bar and ends with the counts."""
    file = tmp_path / "events.jsonl"
    file.write_text('{"type":"track","event":"e","userId":"u"}\n' * 300)
    with (
        serving(tracking_app(Script())) as url,
        on_terminal("send", str(file), "--write-key", "k", "--url", url) as (process, terminal),
    ):
        shown = read_until(terminal, "300 events: 300 accepted, 0 rejected")
        assert "sending" in shown
        assert "300 events: 300 accepted, 0 rejected" in shown
        assert process.wait(10) == 0


def test_watching_goes_on_until_interrupted(admin: str) -> None:
    """`status --watch` looks again and again, and Ctrl-C ends it."""
    with on_terminal("status", "--watch", "--admin", admin) as (process, terminal):
        for _ in range(2):
            assert "website-hook" in read_until(terminal, "sandbox")
        process.send_signal(signal.SIGINT)
        read_until(terminal, "interrupted")
        assert process.wait(10) == 130


def test_dropping_everything_asks_first(admin: str) -> None:
    """On a terminal, `deadletters drop` without a filter drops nothing without a yes."""
    with on_terminal("deadletters", "drop", "--admin", admin) as (process, terminal):
        read_until(terminal, "[y/N]")
        os.write(terminal, b"n\n")
        assert "nothing was dropped" in read_until(terminal, "nothing was dropped")
        assert process.wait(10) == 1
