"""`bulkhead tail`: what a source sends, or what is not taken of it, from `GET /tap/{source}`.

Owns how often the service is asked and the line that a row becomes. What it shows is a sample where
more comes than is kept, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import click
import msgspec

from sandbox.protocol import printable_json
from supervisor.commands.client import AdminClient, quoted
from supervisor.commands.context import admin_options, json_option
from supervisor.commands.terminal import say

#: Seconds between two questions, and rows that one answer has at most.
EVERY_S = 1.0
MOST_ROWS = 200
_MARKS = {"taken": "+", "repeat": "=", "rejected": "!"}


class TailedRow(msgspec.Struct, frozen=True):
    """One row, as the admin API tells it; what is not shown is left out."""

    n: int
    at: str
    outcome: str
    message_id: str | None
    type: str | None
    name: str | None
    code: str | None
    reason: str | None
    cause: str | None
    to: Sequence[str]
    body: str | None
    size_bytes: int


class TailedPage(msgspec.Struct, frozen=True):
    """One answer."""

    seen: int
    rejected_seen: int
    next: int
    rows: Sequence[msgspec.Raw]


@click.command("tail")
@click.argument("source")
@click.option("--rejected", is_flag=True, help="What was not taken, and why.")
@click.option("--body", is_flag=True, help="Show what was sent, too, as far as you may see it.")
@click.option(
    "-n",
    "--rows",
    type=click.IntRange(0, MOST_ROWS),
    default=10,
    show_default=True,
    help="Rows to begin with, of what has come already.",
)
@click.option("--no-follow", is_flag=True, help="Show these and end.")
@json_option
@admin_options
def tail(
    client: AdminClient,
    source: str,
    rejected: bool,
    body: bool,
    rows: int,
    no_follow: bool,
    as_json: bool,
) -> None:
    """Show events as SOURCE sends them, a line each, until interrupted.

    At low rates these are all; above some fifty a second a sample, and how many were
    left out is said. With --json, a row is one line of JSON.

    \b
    Examples:
      bulkhead tail website
      bulkhead tail website --rejected
      bulkhead tail website --json | jq .body
    """
    path = f"/tap/{quoted(source)}"
    ring = "rejected" if rejected else "taken"
    page = _ask(client, path, {"ring": ring, "limit": str(max(1, rows))})
    _show(page.rows if rows else (), body=body, as_json=as_json)
    try:
        while not no_follow:
            time.sleep(EVERY_S)
            before = page
            asked = {"ring": ring, "limit": str(MOST_ROWS), "after": str(before.next)}
            page = _ask(client, path, asked)
            _show(page.rows, body=body, as_json=as_json)
            came = _seen(page, rejected) - _seen(before, rejected)
            if came > len(page.rows):
                say(f"a sample: {len(page.rows)} of {came} that came", is_error=True)
    except KeyboardInterrupt:
        return  # that is how one ends it


def _seen(page: TailedPage, rejected: bool) -> int:
    return page.rejected_seen if rejected else page.seen


def _ask(client: AdminClient, path: str, query: dict[str, str]) -> TailedPage:
    return msgspec.json.decode(client.get(path, query), type=TailedPage)


def _show(rows: Sequence[msgspec.Raw], *, body: bool, as_json: bool) -> None:
    for raw in rows:
        if as_json:
            say(printable_json(bytes(raw).decode()))
        else:
            say(line_of(msgspec.json.decode(raw, type=TailedRow), body=body))


def line_of(row: TailedRow, *, body: bool) -> str:
    """When, what became of it, what it is, and where it goes or why it was not taken."""
    return "  ".join(_parts(row, body=body))


def _parts(row: TailedRow, *, body: bool) -> Iterator[str]:
    yield row.at
    yield _MARKS.get(row.outcome, "?")
    yield " ".join(part for part in (row.type, row.name) if part) or "?"
    if row.message_id:
        yield row.message_id
    if row.outcome == "repeat":
        yield "a repeat"
    elif row.outcome == "rejected":
        why = row.reason or row.cause or ""
        yield f"{row.code}: {why}" if row.reason else why
    else:
        yield "to " + ", ".join(row.to) if row.to else "to nobody"
    if body:
        yield row.body if row.body is not None else f"({row.size_bytes} bytes)"
