"""`bulkhead send`: JSON lines of events through the tracking API.

Owns the command's options, its progress and its closing count; what is sent and
sent again is decided in `sender.py`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from supervisor.commands.context import SafeConsole, json_option, print_json
from supervisor.commands.endpoint import CommandError, Endpoint, EndpointType
from supervisor.commands.event_files import NOT_GZIP, EventFileError
from supervisor.commands.sender import (
    Counts,
    Rejected,
    Sender,
    Undelivered,
    batches,
    events_per_batch,
)
from supervisor.commands.terminal import say

#: Where the tracking API listens that was not told otherwise.
DEFAULT_URL = "http://127.0.0.1:8190"
#: Seconds between two lines of progress where there is no terminal.
_REPORT_EVERY_S = 5.0


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--write-key",
    required=True,
    envvar="BULKHEAD_WRITE_KEY",
    show_envvar=True,
    help="The write key of the source.",
)
@click.option(
    "--url",
    type=EndpointType(),
    default=DEFAULT_URL,
    show_default=True,
    help="The tracking API: http(s)://HOST:PORT or unix:PATH.",
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events per second.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to go on trying while nothing is taken.",
)
@json_option
@click.pass_context
def send(
    ctx: click.Context,
    file: Path,
    write_key: str,
    url: Endpoint,
    rate: float | None,
    patience: float,
    as_json: bool,
) -> None:
    """Send the events in FILE, one JSON object a line (- for standard input).

    An array of events is taken, too, and either may be gzipped.

    Events go in batches of up to 100. Where the service is full, draining or
    away they are sent again; events without a messageId are given one, so that
    none is taken twice. Lines that are no event are listed, and the exit code
    is 1.

    \b
    Examples:
      bulkhead send events.jsonl --write-key demo-write-key
      bulkhead send archive.jsonl.gz --write-key KEY --rate 500
    """
    counts = Counts()
    name = "standard input" if str(file) == "-" else str(file)
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(_opened(file))
            progress = stack.enter_context(_Progress(counts))
            sender = stack.enter_context(
                Sender(
                    url,
                    write_key,
                    patience_s=patience,
                    rate=rate,
                    on_wait=lambda why, wait_s: progress.say(f"{why}; again in {wait_s:.1f} s"),
                )
            )
            on_rejected = _reporter(name, progress)
            for batch in batches(stream, counts, on_rejected, events_per_batch(rate)):
                sender.send(batch, counts, on_rejected)
                progress.update()
    except Undelivered as error:
        raise CommandError(f"{error} ({_summary(counts)})") from error
    except EventFileError as error:
        raise CommandError(f"{name}: {error}") from error
    except NOT_GZIP as error:
        raise CommandError(f"{name}: cannot be unpacked: {error} ({_summary(counts)})") from error
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror or error}") from error
    if as_json:
        print_json(asdict(counts))
    else:
        say(_summary(counts))
    ctx.exit(1 if counts.rejected else 0)


def _opened(file: Path) -> AbstractContextManager[BinaryIO]:
    if str(file) == "-":
        return _Borrowed(sys.stdin.buffer)
    return file.open("rb")


class _Borrowed(AbstractContextManager[BinaryIO]):
    """A stream that is not ours to close."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def __enter__(self) -> BinaryIO:
        return self._stream

    def __exit__(self, *exc: object) -> None:
        return None


def _reporter(name: str, progress: _Progress) -> Callable[[Rejected], None]:
    def report(rejected: Rejected) -> None:
        progress.say(f"{name}:{rejected.line}: {rejected.code}: {rejected.message}")

    return report


def _summary(counts: Counts) -> str:
    return f"{counts.lines} events: {counts.accepted} accepted, {counts.rejected} rejected"


class _Progress:
    """A bar on a terminal, a line now and then elsewhere; both on standard error."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._bar: Progress | None = None
        self._reported_at = time.monotonic()
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("sending"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("accepted, {task.fields[rejected]} rejected"),
                TimeElapsedColumn(),
                console=SafeConsole(stderr=True),
            )
            self._task = self._bar.add_task("", total=None, rejected=0)

    def __enter__(self) -> _Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self) -> None:
        """Show the counts as they are."""
        if self._bar is not None:
            self._bar.update(
                self._task, completed=self._counts.accepted, rejected=self._counts.rejected
            )
        elif time.monotonic() - self._reported_at >= _REPORT_EVERY_S:
            self._reported_at = time.monotonic()
            self.say(_summary(self._counts))

    def say(self, text: str) -> None:
        """One line that stays."""
        if self._bar is not None:
            self._bar.console.print(text, soft_wrap=True)
        else:
            say(text, is_error=True)
