"""`bulkhead audit`: the books, and whether they balance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from sandbox.protocol import printable
from supervisor.commands.client import AdminClient
from supervisor.commands.context import (
    admin_client,
    console,
    json_option,
    load_config,
    print_json,
    table,
)
from supervisor.commands.endpoint import CommandError, Endpoint, EndpointType
from supervisor.commands.terminal import say
from supervisor.queue import Books, QueueUnavailable


class Audit(msgspec.Struct, frozen=True):
    """The answer of `GET /books`: the sum, and each connection's part of it."""

    books: Books
    balanced: bool
    connections: Mapping[str, Books]


@click.command()
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Read this state directory, beside a running service or without one.",
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the state directory of this config file.",
)
@click.option(
    "--admin", type=EndpointType(), help="Ask the running service there instead of reading files."
)
@click.option("--token", envvar="BULKHEAD_ADMIN_TOKEN", show_envvar=True, help="The admin token.")
@json_option
@click.pass_context
def audit(
    ctx: click.Context,
    state_dir: Path | None,
    config_path: Path | None,
    admin: Endpoint | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Print the books, counted anew; exit with 1 where they do not balance.

    The books are read from the state directory where --state-dir or --config
    names one, else from the running service.

    \b
    accepted = delivered on first try + delivered on retry + failed
             + unsupported + filtered + quarantined + pending

    \b
    Examples:
      bulkhead audit --config bulkhead.toml
      bulkhead audit --admin http://127.0.0.1:9190
    """
    if admin is None and (state_dir is not None or config_path is not None):
        if state_dir is None and config_path is not None:
            state_dir = load_config(config_path).service.state_dir
        assert state_dir is not None
        found = _offline(state_dir)
    else:
        found = _online(admin_client(admin, token, config_path))
    if as_json:
        print_json(found)
    else:
        _print(found)
    if not found.balanced:
        raise CommandError(_imbalance(found))
    ctx.exit(0)


def _online(client: AdminClient) -> Audit:
    return msgspec.json.decode(client.get("/books"), type=Audit)


def _offline(state_dir: Path) -> Audit:
    if not state_dir.is_dir():
        raise CommandError(f"{state_dir}: there is no such state directory (service.state_dir)")
    # Imported here: the online way needs no engine.
    from supervisor.queue import engines

    try:
        connections = engines.audit(state_dir)
    except QueueUnavailable as error:
        raise CommandError(str(error)) from error
    total = Books(
        **{
            name: sum(getattr(books, name) for books in connections.values())
            for name in Books.__struct_fields__
        }
    )
    is_balanced = all(books.is_balanced for books in connections.values())
    return Audit(total, is_balanced, connections)


def _print(found: Audit) -> None:
    columns = tuple(name.replace("_", " ") for name in Books.__struct_fields__)
    shown = table("", "connection", *columns, numbers=columns)
    for name, books in sorted(found.connections.items()):
        shown.add_row(printable(name), *_counts(books))
    shown.add_section()
    shown.add_row("all", *_counts(found.books), style="bold")
    console().print(shown)
    if found.balanced:
        say("the books balance")


def _counts(books: Books) -> list[str]:
    return [str(getattr(books, name)) for name in Books.__struct_fields__]


def _imbalance(found: Audit) -> str:
    wrong = [
        f"{name} is off by {books.excess:+d}"
        for name, books in sorted(found.connections.items())
        if not books.is_balanced
    ]
    if not found.books.is_balanced:
        wrong.append(f"the sum is off by {found.books.excess:+d}")
    return "the books do not balance: " + ", ".join(wrong)
