"""What commands share: their options, the config they name, and how they print.

Owns the meaning of `--config`, `--admin`, `--token` and `--json`, and the one
console. Nothing here talks to a service.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from sandbox.protocol import printable, printable_json, printable_lines
from supervisor.commands.client import AdminClient
from supervisor.commands.endpoint import ConfigFailed, Endpoint, EndpointType, parse_endpoint
from supervisor.commands.terminal import say_lines
from supervisor.config import Config, ConfigError, load

#: Where a service listens that was not told otherwise.
DEFAULT_ADMIN = "http://127.0.0.1:9190"
#: Columns of a table that nobody looks at on a terminal.
_FILE_WIDTH = 200

R = TypeVar("R")

config_option = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The config file (TOML).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal that something is under way, and nothing elsewhere."""
    shown = SafeConsole(stderr=True)
    if not shown.is_terminal:
        yield
        return
    with shown.status(printable(text)):
        yield


def load_config(path: Path) -> Config:
    """The config at `path`, its secrets resolved. Raises ConfigFailed with all its errors."""
    try:
        return load(path, environ=os.environ)
    except ConfigError as error:
        raise ConfigFailed("\n".join(error.errors)) from error


def admin_client(admin: Endpoint | None, token: str | None, path: Path | None) -> AdminClient:
    """The client for what the options name: `--admin` and `--token` go before the config."""
    if path is not None and (admin is None or token is None):
        config = load_config(path).admin
        listen = config.listen
        if listen.host in ("", "0.0.0.0", "::"):  # noqa: S104  # compared with, not listened on
            own = f"http://127.0.0.1:{listen.port}"
        else:
            own = str(listen) if listen.path is not None else f"http://{listen}"
        # A token goes only to the service whose config it is in.
        token = token or (config.token if admin is None else None)
        admin = admin or parse_endpoint(own)
    return AdminClient(admin or parse_endpoint(DEFAULT_ADMIN), token)


def admin_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command `--admin`, `--token` and `--config`, and its `client` what they mean."""

    @click.option(
        "--admin",
        type=EndpointType(),
        help=f"The service's admin API: http://HOST:PORT or unix:PATH.  [default: from --config, "
        f"else {DEFAULT_ADMIN}]",
    )
    @click.option(
        "--token", envvar="BULKHEAD_ADMIN_TOKEN", show_envvar=True, help="The admin token."
    )
    @click.option(
        "--config",
        "config_path",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Take address and token from this config file.",
    )
    @functools.wraps(command)
    def with_client(
        *, admin: Endpoint | None, token: str | None, config_path: Path | None, **others: object
    ) -> R:
        return command(client=admin_client(admin, token, config_path), **others)

    return with_client


class SafeConsole(Console):
    """A rich console that obeys its own styles, and nothing that stands in what it prints."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        # No markup: what is printed may come from a destination's server.
        super().__init__(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich does, with each segment's text made harmless."""
        for text, style, control in super().render(renderable, options):
            # A control segment is rich's own: a cursor that moves, a screen that is cleared.
            yield Segment(text if control else printable_lines(text), style, control)


def console() -> SafeConsole:
    """Standard output; as wide as a terminal, or as a file likes."""
    return SafeConsole(width=None if sys.stdout.isatty() else _FILE_WIDTH)


def table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """A table; the columns in `numbers` are aligned to the right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        is_number = name in numbers
        made.add_column(
            name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold"
        )
    return made


def print_json(body: bytes | object) -> None:
    """A service's JSON answer, or a value, indented."""
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    say_lines(printable_json(msgspec.json.format(encoded, indent=2).decode("utf-8", "replace")))


def duration(seconds: float | None) -> str:
    """`12 ms`, `3.4 s`, `5 m 12 s`, `3 h 4 m` or `2 d 1 h`; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{max(seconds, 0.0) * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, name, part_size, part in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part_size} {part}"
    return f"{whole} s"
