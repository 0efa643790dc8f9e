"""`bulkhead deadletters`: list, show, replay and drop what failed."""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import click
import msgspec

from sandbox.protocol import printable
from supervisor.admin.parameters import DEFAULT_PAGE, MAX_PAGE
from supervisor.commands.client import AdminClient, quoted
from supervisor.commands.context import (
    admin_options,
    console,
    json_option,
    print_json,
    table,
)
from supervisor.commands.endpoint import CommandError
from supervisor.commands.terminal import say
from supervisor.queue import DEAD, Selection
from supervisor.runtime.rfc3339 import parse_rfc3339, rfc3339

R = TypeVar("R")

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Letter(msgspec.Struct, frozen=True):
    """One dead letter, as the admin API tells it; `event` is empty where it came in a list."""

    id: str
    connection: str
    message_id: str
    outcome: str
    reason: str
    attempts: int
    first_at: str | None
    last_at: str
    exit: str | None
    event: msgspec.Raw = msgspec.Raw()


class Page(msgspec.Struct, frozen=True):
    """One page of dead letters."""

    deadletters: list[Letter]
    next: str | None


class Chosen(NamedTuple):
    """The filters of the command line, as the admin API takes them; None where not given."""

    connection: str | None
    outcome: str | None
    error: str | None
    cause: str | None
    since: str | None
    until: str | None

    @property
    def is_all(self) -> bool:
        return all(value is None for value in self)


class _Moment(click.ParamType[str]):
    """RFC 3339, or how long ago."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        ago = re.fullmatch(r"(\d{1,6})([smhd])", value)
        if ago is not None:
            return rfc3339(time.time() - int(ago[1]) * _UNIT_S[ago[2]])
        try:
            return rfc3339(parse_rfc3339(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; write 2026-01-31T13:00:00Z, or 30m, 2h, 7d for ago")


def _filters(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the filters that all of them share, and its `chosen` what they mean."""

    @click.option("--connection", metavar="NAME", help="Only those of this connection.")
    @click.option(
        "--outcome",
        type=click.Choice([outcome.value for outcome in DEAD]),
        help="Only those that ended so.",
    )
    @click.option("--error", metavar="TEXT", help="Only those with this text in the reason.")
    @click.option(
        "--cause",
        metavar="TEXT",
        help="Only those whose reason has this cause, whole, as `bulkhead issues` shows it.",
    )
    @click.option("--since", type=_Moment(), help="Not older: RFC 3339, or 30m, 2h, 7d for ago.")
    @click.option("--until", type=_Moment(), help="Not newer, as --since.")
    @functools.wraps(command)
    def with_filters(
        *,
        connection: str | None,
        outcome: str | None,
        error: str | None,
        cause: str | None,
        since: str | None,
        until: str | None,
        **others: object,
    ) -> R:
        return command(chosen=Chosen(connection, outcome, error, cause, since, until), **others)

    return with_filters


@click.group()
def deadletters() -> None:
    """Failed and quarantined deliveries: list, show, replay, drop."""


@deadletters.command("list")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_PAGE),
    default=DEFAULT_PAGE,
    show_default=True,
    help="Most to show.",
)
@click.option("--after", metavar="ID", help="Go on after this one: the next page.")
@json_option
@_filters
@admin_options
def list_(
    client: AdminClient, chosen: Chosen, limit: int, after: str | None, as_json: bool
) -> None:
    """List dead letters, newest first.

    \b
    Example:
      bulkhead deadletters list --connection website-hook --error timeout --since 2h
    """
    body = client.get("/deadletters", {**chosen._asdict(), "limit": str(limit), "after": after})
    if as_json:
        print_json(body)
        return
    page = msgspec.json.decode(body, type=Page)
    if not page.deadletters:
        say("no dead letters" if chosen.is_all else "no dead letters match")
        return
    shown = table(
        "",
        *("id", "connection", "outcome", "attempts", "last", "message id", "reason"),
        numbers=("attempts",),
    )
    for letter in page.deadletters:
        shown.add_row(
            *map(
                printable,
                (
                    *(letter.id, letter.connection, letter.outcome, letter.attempts),
                    *(letter.last_at, letter.message_id, letter.reason),
                ),
            )
        )
    console().print(shown)
    if page.next is not None:
        say(f"there are more: --after {page.next}")


@deadletters.command()
@click.argument("letter_id", metavar="ID")
@json_option
@admin_options
def show(client: AdminClient, letter_id: str, as_json: bool) -> None:
    """Show one dead letter with its event."""
    body = client.get(f"/deadletters/{quoted(letter_id)}")
    if as_json:
        print_json(body)
        return
    letter = msgspec.json.decode(body, type=Letter)
    for name, value in (
        ("id", letter.id),
        ("connection", letter.connection),
        ("message id", letter.message_id),
        ("outcome", letter.outcome),
        ("reason", letter.reason),
        ("attempts", letter.attempts),
        ("first attempt", letter.first_at or "-"),
        ("last attempt", letter.last_at),
        ("worker exit", letter.exit or "-"),
    ):
        say(f"{name:<14} {printable(value)}")
    if bytes(letter.event):
        say("event")
        print_json(bytes(letter.event))


_dry_run = click.option("--dry-run", is_flag=True, help="Only say how many match.")
_ids = click.option("--id", "ids", multiple=True, metavar="ID", help="Only this one; repeatable.")


@deadletters.command()
@_ids
@_dry_run
@json_option
@_filters
@admin_options
def replay(
    client: AdminClient, chosen: Chosen, ids: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Send dead letters back to their queues, with a new retry window.

    \b
    Example:
      bulkhead deadletters replay --connection website-hook --since 2h --dry-run
    """
    done = _ask(client, "/deadletters/replay", chosen, ids, dry_run)
    _report(done, "replayed", dry_run, as_json)


@deadletters.command()
@_ids
@_dry_run
@click.option("--yes", is_flag=True, help="Do not ask before dropping all of them.")
@json_option
@_filters
@admin_options
def drop(
    client: AdminClient,
    chosen: Chosen,
    ids: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Forget dead letters and their events for good. The books keep counting them.

    \b
    Example:
      bulkhead deadletters drop --connection old-hook --until 30d
    """
    is_everything = chosen.is_all and not ids and not dry_run
    if is_everything and not yes and sys.stdin.isatty():
        is_meant = click.confirm("No filter is given: drop every dead letter?")
        if not is_meant:
            raise CommandError("nothing was dropped")
    done = _ask(client, "/deadletters/drop", chosen, ids, dry_run)
    _report(done, "dropped", dry_run, as_json)


def _ask(
    client: AdminClient, path: str, chosen: Chosen, ids: tuple[str, ...], dry_run: bool
) -> Selection:
    body = {name: value for name, value in chosen._asdict().items() if value is not None}
    if ids:
        body["ids"] = ids
    return msgspec.json.decode(client.post(path, {**body, "dry_run": dry_run}), type=Selection)


def _report(selection: Selection, what: str, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(selection)
    elif dry_run:
        say(f"{selection.matched} match; none was {what} (dry run)")
    else:
        say(f"{selection.matched} matched, {selection.done} {what}")
        if selection.done < selection.matched:
            say("the others belong to connections that the config does not have", is_error=True)
