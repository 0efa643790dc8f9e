"""`bulkhead heap`: what fills a worker's memory.

Fetches snapshots from the service. Reads their files through the process of
`diagnostics/reports.py`, and never itself: what that process prints is text of a hostile file too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, BinaryIO

import click

from supervisor.commands.client import AdminClient, quoted
from supervisor.commands.context import admin_options, json_option, waiting
from supervisor.commands.endpoint import CommandError
from supervisor.commands.terminal import say, say_lines, write_evidence
from supervisor.diagnostics.reports import ReportFormat, report_command, report_environment
from supervisor.runtime.files import open_file

#: The process ends itself earlier; this is for the case that it cannot, in seconds.
_TIMEOUT_S = 900.0
_FILE_WIDTH = 120

_snapshot = click.Path(path_type=Path, exists=True, dir_okay=False)
_page = click.option(
    "--html",
    "page",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page for a browser to this file.",
)


class _Heap(click.Group):
    """`report` and `diff` read files; any other word is the worker whose heap is asked for."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return take.name, take, args


@click.group(cls=_Heap, subcommand_metavar="WORKER | report FILE | diff OLD NEW")
def heap() -> None:
    """What fills a worker's memory, and what holds it.

    \b
    Examples:
      bulkhead heap default-1                  take a snapshot, and save it here
      bulkhead heap report FILE                what fills it
      bulkhead heap diff OLD NEW               what grew
    `bulkhead heap WORKER --help` tells how a snapshot is taken.
    """


# The name is what usage shows after `bulkhead heap`, in place of the argument.
@click.command("WORKER")
@click.argument("worker", metavar="")
@click.option(
    "--format",
    "kind",
    type=click.Choice(("heapsnapshot", "summary", "hpy")),
    default="heapsnapshot",
    show_default=True,
    help="For Chrome DevTools, memlab and `heap report`; a partition by class and referrers; "
    "guppy's own file.",
)
@click.option(
    "--strings",
    type=click.Choice(("truncated", "full")),
    default="truncated",
    show_default=True,
    help="`full` has the values, which are customers' data.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where to; `-` is standard output.  [default: named by worker, pid and time, here]",
)
@admin_options
def take(client: AdminClient, worker: str, kind: str, strings: str, output: str | None) -> None:
    """Take a heap snapshot of WORKER, which goes on working, and save it.

    \b
    Examples:
      bulkhead heap default-1
      bulkhead heap default-1 --format summary -o -
    """
    query = {"format": kind, "strings": strings}
    with (
        waiting(f"{worker} writes its heap"),
        client.download(f"/debug/workers/{quoted(worker)}/heap", query) as (name, _, pieces),
    ):
        if output == "-":
            for piece in pieces:
                write_evidence(piece)
            return
        file = Path(output or Path(name).name)
        save(file, pieces)
    say(f"{file}: {file.stat().st_size} bytes")


def save(file: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that is there whole or not at all, for its owner only. Raises CommandError."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as out:
            out.writelines(pieces)
        partial.rename(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CommandError(f"{file}: cannot be written: {error.strerror}") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@heap.command()
@click.argument("file", type=_snapshot)
@_page
@json_option
def report(file: Path, page: Path | None, as_json: bool) -> None:
    """Tell what fills a heap: suspects, the paths to them, and objects by class.

    FILE is a heapsnapshot or a summary, gzipped or not.

    \b
    Examples:
      bulkhead heap report default-1.heapsnapshot
      bulkhead heap report default-1.heapsnapshot --html heap.html
    """
    with _opened(file) as snapshot:
        told = _run(_format(page, as_json), snapshot, file, file.name)
    _tell(told, page)


@heap.command()
@click.argument("old", type=_snapshot)
@click.argument("new", type=_snapshot)
@_page
@json_option
def diff(old: Path, new: Path, page: Path | None, as_json: bool) -> None:
    """Tell what grew between two heapsnapshots of one worker, and where it hangs.

    \b
    Example:
      bulkhead heap diff baseline.heapsnapshot default-1.heapsnapshot
    """
    with _opened(old) as before, _opened(new) as now:
        told = _run(_format(page, as_json), now, new, f"{old.name} → {new.name}", before)
    _tell(told, page)


def _opened(file: Path) -> BinaryIO:
    try:
        return open_file(file)
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error


def _format(page: Path | None, as_json: bool) -> ReportFormat:
    if page is not None and as_json:
        raise click.UsageError("--html and --json exclude each other")
    return "html" if page is not None else "json" if as_json else "text"


def _tell(told: bytes, page: Path | None) -> None:
    if page is None:
        say_lines(told.decode("utf-8", "replace").removesuffix("\n"))
        return
    try:
        # Names may be customers', where the snapshot has them: for its owner only, as that is.
        descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as out:
            out.write(told)
    except OSError as error:
        raise CommandError(f"{page}: cannot be written: {error.strerror}") from error
    say(f"written to {page}")


def _run(
    report_format: ReportFormat,
    snapshot: IO[bytes],
    path: Path,
    title: str,
    old: IO[bytes] | None = None,
) -> bytes:
    """The report of that process. Raises CommandError with its reason."""
    width = shutil.get_terminal_size((_FILE_WIDTH, 0)).columns if sys.stdout.isatty() else 0
    command = report_command(
        report_format,
        width=width or _FILE_WIDTH,
        title=title,
        old_fd=None if old is None else old.fileno(),
    )
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and our own arguments
                command,
                env=report_environment(),
                stdin=snapshot,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=() if old is None else (old.fileno(),),
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{path}: no report within {_TIMEOUT_S:g} s") from error
        if done.returncode == 0:
            return done.stdout
        errors.seek(0)
        said = errors.read(4096).decode("utf-8", "replace").strip().splitlines()
    reason = said[-1] if said else f"the process that reads it ended with {done.returncode}"
    raise CommandError(f"{path}: {reason}")
