"""`bulkhead status --exits`: how workers ended, and what is to blame, from `GET /debug/exits`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sandbox.protocol import printable
from supervisor.admin.parameters import MAX_PAGE
from supervisor.commands.client import AdminClient
from supervisor.commands.context import console, duration, print_json, table
from supervisor.diagnostics.usage import Usage
from supervisor.runtime.units import size

#: Exits that are shown where `--all` is not given.
_MOST = 20


class Shown(msgspec.Struct, frozen=True):
    """One exit as the admin API tells it; what is not shown here is left out."""

    id: str
    at: str
    worker: str
    pid: int | None
    reason: str
    detail: str
    connection: str | None
    destination: str | None
    event: str | None
    unreported: int
    uptime_s: float
    usage: Usage | None
    stacks: str | None
    snapshot: str | None


class Page(msgspec.Struct, frozen=True):
    """One page of exits."""

    exits: Sequence[Shown]
    next: str | None


def _blamed(end: Shown) -> str:
    """A connection, or what was being imported before there was any."""
    if end.connection is None and end.destination is not None:
        return f"destination {end.destination}"
    return end.connection or "-"


def show_exits(client: AdminClient, show_all: bool, as_json: bool) -> None:
    """Print the newest exits, or as many as one page has."""
    body = client.get("/debug/exits", {"limit": str(MAX_PAGE if show_all else _MOST)})
    if as_json:
        print_json(body)
        return
    page = msgspec.json.decode(body, type=Page)
    shown = table(
        "",
        *("at", "worker", "pid", "reason", "blamed", "event", "lost", "ran", "CPU", "memory"),
        *("detail", "evidence"),
        numbers=("pid", "lost", "ran", "CPU", "memory"),
    )
    for end in page.exits:
        usage = end.usage
        evidence = [f"/debug/exits/{end.id}"]
        evidence += [f"snapshot {end.snapshot}"] if end.snapshot else []
        shown.add_row(
            end.at,
            printable(end.worker),
            str(end.pid or "-"),
            end.reason,
            printable(_blamed(end)),
            printable(end.event or "-"),
            str(end.unreported),
            duration(end.uptime_s),
            duration(usage.user_s + usage.system_s) if usage else "-",
            size(usage.max_rss_bytes) if usage else "-",
            printable(end.detail),
            printable(", ".join(evidence) + (" (with stacks)" if end.stacks else "")),
        )
    if page.next is not None:
        shown.caption = "and older ones" + ("" if show_all else " (--all)")
    console().print(shown)
