"""The process that reads heap snapshots: how it is started, and run without blocking.

A snapshot is hostile input: it is read by a process of its own, which limits
itself, and which takes descriptors and no file names. The supervisor never
imports what reads it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

from supervisor import PACKAGES
from supervisor.runtime.threads import in_thread
from supervisor.workers.resources.priority import as_usual
from supervisor.workers.resources.stillness import STILL_S, Stillness

ReportFormat = Literal["text", "json", "html"]

#: Seconds that a report may take; the process ends itself earlier.
TIMEOUT_S = 900.0
#: Seconds that a report waits for its turn, and between two looks whether its process goes on.
TURN_S, LOOK_S = 60.0, 1.0
#: Most bytes of its last words that are read.
_MAX_ERROR = 4096
#: What of our environment it is given: nothing secret is among it.
_KEPT_ENVIRONMENT = ("LANG", "LC_ALL", "LC_CTYPE")


def report_command(
    report_format: ReportFormat, *, width: int = 120, title: str = "", old_fd: int | None = None
) -> Sequence[str]:
    """The program and its arguments. The snapshot goes to its standard input.

    width: columns of the terminal. title: what a page says that it is of. old_fd: the descriptor,
    inherited, of an older snapshot to compare with.

    It exits with 0 and the report on standard output, or with 1 and one line on standard error.
    """
    command = [sys.executable, "-P", "-m", "sandbox.heap.report", "--format", report_format]
    command += [f"--width={width}", f"--title={title}"]
    if old_fd is not None:
        command.append(f"--old={old_fd}")
    return command


def report_environment() -> Mapping[str, str]:
    """The environment of that process."""
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment["PYTHONPATH"] = str(PACKAGES)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment


class ReportFailed(Exception):
    """There is no report of a snapshot; the text says why."""


class ReportOverdue(ReportFailed):
    """The process that makes it let its time pass."""


class Reporter:
    """Runs one report at a time, since each may take gigabytes.

    `started` and `ended` hear of its process id: it is a child of ours that is no stray.
    """

    def __init__(self, started: Callable[[int], None], ended: Callable[[int], None]) -> None:
        self._started = started
        self._ended = ended
        self._one = asyncio.Lock()

    async def run(
        self, snapshot: Path, report_format: ReportFormat, title: str, *, old: Path | None = None
    ) -> bytes:
        """The report, or with an `old` snapshot what grew since.

        Raises ReportFailed; a caller that is cancelled ends the process.
        """
        try:
            async with asyncio.timeout(TURN_S):
                await self._one.acquire()
        except TimeoutError:
            raise ReportFailed(
                "another report is being made, and one is made at a time; ask again later"
            ) from None
        try:
            return await self._run(snapshot, report_format, title, old)
        finally:
            self._one.release()

    async def _run(
        self, snapshot: Path, report_format: ReportFormat, title: str, old: Path | None
    ) -> bytes:
        try:
            process = _start(snapshot, report_format, title, old)
        except OSError as error:
            raise ReportFailed(f"the report cannot be started: {error.strerror}") from error
        self._started(process.pid)
        try:
            talk = in_thread("report", partial(process.communicate, timeout=TIMEOUT_S))
        except RuntimeError as error:
            process.kill()
            process.communicate()
            self._ended(process.pid)
            raise ReportFailed(f"nobody to read the report: {error}") from error
        stillness = Stillness(process.pid)
        try:
            while not talk.done():
                await asyncio.wait({talk}, timeout=LOOK_S)
                if stillness.is_still:
                    raise ReportOverdue(f"its process has stood still for {STILL_S:g} s")
            said, errors = await talk
        except subprocess.TimeoutExpired:
            raise ReportOverdue(f"no report within {TIMEOUT_S:g} s") from None
        finally:
            process.kill()
            await asyncio.wait({talk})
            process.wait()
            self._ended(process.pid)
        if process.returncode != 0:
            lines = errors[-_MAX_ERROR:].decode("utf-8", "replace").strip().splitlines()
            reason = lines[-1] if lines else f"its process ended with {process.returncode}"
            raise ReportFailed(reason)
        return said


def _start(
    snapshot: Path, report_format: ReportFormat, title: str, old: Path | None
) -> subprocess.Popen[bytes]:
    with ExitStack() as opened:
        file = opened.enter_context(snapshot.open("rb"))
        older = () if old is None else (opened.enter_context(old.open("rb")).fileno(),)
        # Not asyncio's: its child watcher would reap processes that are ours to reap.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
            report_command(report_format, title=title, old_fd=older[0] if older else None),
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=older,
            env=report_environment(),
            cwd="/",
            start_new_session=True,
        )
    as_usual(process.pid)
    return process
