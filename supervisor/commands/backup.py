"""`bulkhead backup`: a consistent copy of the queue in one file.

Owns the way to the file: written aside, whole or not there, for its owner's eyes only. What a
backup is and how it is read back, the queue's engine knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from supervisor.commands.context import SafeConsole, admin_client, load_config
from supervisor.commands.endpoint import CommandError, Endpoint, EndpointType
from supervisor.commands.terminal import say
from supervisor.queue import QueueUnavailable
from supervisor.runtime.durable import sync_folder
from supervisor.runtime.units import size


class _Where(msgspec.Struct):
    """The part of `GET /status` that is asked for."""

    state_dir: str


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Copy the queue of this state directory.",
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Copy the queue of the state directory of this config file.",
)
@click.option(
    "--admin", type=EndpointType(), help="Ask the running service there for its state directory."
)
@click.option("--token", envvar="BULKHEAD_ADMIN_TOKEN", show_envvar=True, help="The admin token.")
@click.option("--force", is_flag=True, help="Replace FILE where it exists.")
def backup(
    file: Path,
    state_dir: Path | None,
    config_path: Path | None,
    admin: Endpoint | None,
    token: str | None,
    force: bool,
) -> None:
    """Copy the queue, as it is in this moment, to FILE.

    The service may run meanwhile, or be stopped. Run it on the service's
    machine, as its user. FILE is there when it is whole, or not at all.

    \b
    To restore: stop the service, copy FILE to queue.db in the state directory,
    start the service.

    \b
    Examples:
      bulkhead backup /backup/bulkhead-monday.db --config bulkhead.toml
      bulkhead backup queue-copy.db --admin http://127.0.0.1:9190
    """
    if state_dir is None:
        if config_path is not None and admin is None:
            state_dir = load_config(config_path).service.state_dir
        else:
            answer = admin_client(admin, token, config_path).get("/status")
            state_dir = Path(msgspec.json.decode(answer, type=_Where).state_dir)
    _require_seen(state_dir)
    # Imported here: `--help` needs no engine.
    from supervisor.queue import engines

    try:
        with _aside(file, force=force) as draft, _bar() as progress:
            engines.back_up(state_dir, draft, progress)
    except QueueUnavailable as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or file}: {error.strerror or error}") from error
    say(f"{file}: {size(file.stat().st_size)}")


def _require_seen(state_dir: Path) -> None:
    try:
        is_there = state_dir.is_dir() and os.access(state_dir, os.R_OK | os.W_OK | os.X_OK)
    except PermissionError:  # of a folder above it
        is_there = False
    if not is_there:
        raise CommandError(
            f"{state_dir}: there is no such state directory (service.state_dir) on this machine, "
            "or this user has no access to it: run this as the service's user"
        )


@contextmanager
def _aside(file: Path, *, force: bool) -> Iterator[Path]:
    """A file beside `file` that takes its name when all went well, and goes when it did not."""
    _require_free(file, force=force)
    draft = file.with_name(f"{file.name}.part")
    fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(f"{draft}: another backup writes there") from error
        try:
            os.fchmod(fd, 0o600)
            os.ftruncate(fd, 0)  # of one that was killed
            yield draft
            _require_free(file, force=force)
            draft.rename(file)
            sync_folder(file.absolute().parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):  # it has its name already
                draft.unlink()
            raise
    finally:
        os.close(fd)


def _require_free(file: Path, *, force: bool) -> None:
    if not force and os.path.lexists(file):
        raise CommandError(f"{file}: exists; choose another name, or --force to replace it")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line each tenth of the way elsewhere until it is done."""
    console = SafeConsole(stderr=True)
    if console.is_terminal:
        with Progress(
            TextColumn("pages"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        ) as bar:
            task = bar.add_task("pages", total=None)
            yield lambda done, all_: bar.update(task, completed=done, total=all_)
        return
    said = 0

    def tell(done: int, all_: int) -> None:
        nonlocal said
        tenths = 10 * done // max(1, all_)
        if said < tenths < 10:
            said = tenths
            say(f"{tenths * 10} %: {done} of {all_} pages", is_error=True)

    yield tell
