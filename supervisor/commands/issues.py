"""`bulkhead issues`: what goes wrong, by its cause, from `GET /issues`."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from sandbox.protocol import printable
from supervisor.commands.client import AdminClient
from supervisor.commands.context import admin_options, console, json_option, print_json, table
from supervisor.commands.terminal import say

#: Issues that are shown at most.
MOST = 500


class ShownIssue(msgspec.Struct, frozen=True):
    """One issue, as the admin API tells it."""

    id: str
    kind: str
    connection: str | None
    source: str | None
    cause: str
    count: int
    first_seen: str
    last_seen: str
    open: bool
    action: str


class IssuePage(msgspec.Struct, frozen=True):
    """One answer."""

    issues: Sequence[ShownIssue]
    next: str | None


@click.command()
@click.option("--connection", help="Of this connection alone.")
@click.option("--source", help="Of what this source sent and was not taken.")
@click.option(
    "--kind",
    type=click.Choice(("failed", "retry", "quarantined", "rejected", "credentials")),
    help="Only those of this kind.",
)
@click.option("--all", "show_all", is_flag=True, help="Those of more than an hour ago, too.")
@json_option
@admin_options
def issues(
    client: AdminClient,
    connection: str | None,
    source: str | None,
    kind: str | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """Show what goes wrong, grouped by cause: how often, since when, and what to do.

    \b
    Examples:
      bulkhead issues
      bulkhead issues --connection website-crm --all
    """
    asked = {"connection": connection, "source": source, "kind": kind, "limit": str(MOST)}
    body = client.get("/issues", {**asked, "open": None if show_all else "yes"})
    if as_json:
        print_json(body)
        return
    page = msgspec.json.decode(body, type=IssuePage)
    if not page.issues:
        say("no issue" if show_all else "no issue in the last hour (--all for older ones)")
        return
    shown = table("", "last seen", "first seen", "kind", "of", "count", "cause", "what to do")
    for issue in page.issues:
        shown.add_row(
            issue.last_seen,
            issue.first_seen,
            issue.kind,
            printable(issue.connection or f"source {issue.source}"),
            f"{issue.count:,}",
            printable(issue.cause),
            issue.action,
        )
    if page.next is not None:
        shown.caption = "and others (--connection, --kind)"
    console().print(shown)
