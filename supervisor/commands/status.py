"""`bulkhead status`: the service on one page, from `GET /status`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import click
import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sandbox.protocol import printable
from supervisor.commands.client import AdminClient
from supervisor.commands.context import (
    admin_options,
    console,
    duration,
    json_option,
    print_json,
    table,
)
from supervisor.commands.exits import show_exits
from supervisor.queue import Books
from supervisor.runtime.units import size
from supervisor.telemetry.status import (
    LastExit,
    PoolState,
    QueueState,
    QueueStatus,
    ServiceState,
    Status,
    WorkerState,
)

#: Queues on the page where `--all` is not given.
_MOST_QUEUES = 20
#: Connections that are named of a group.
_MOST_NAMES = 5
#: Seconds between two looks.
_WATCH_S = 1.0

#: What deserves a look first.
_WORST_FIRST = (
    QueueState.TRIPPED,
    QueueState.BACKING_OFF,
    QueueState.PAUSED,
    QueueState.THROTTLED,
    QueueState.OPEN,
    QueueState.DISABLED,
)
_STYLES: dict[str, str] = {
    ServiceState.STARTING: "yellow",
    ServiceState.DRAINING: "yellow",
    PoolState.DEGRADED: "yellow",
    PoolState.FAILED: "bold red",
    WorkerState.STOPPED: "red",
    WorkerState.BUSY: "green",
    QueueState.TRIPPED: "bold red",
    QueueState.BACKING_OFF: "yellow",
    QueueState.THROTTLED: "yellow",
    QueueState.PAUSED: "yellow",
    QueueState.DISABLED: "dim",
}


@click.command()
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--all", "show_all", is_flag=True, help="All queues, and not just the worst.")
@click.option("--exits", is_flag=True, help="How workers ended, newest first, instead.")
@json_option
@admin_options
def status(client: AdminClient, watch: bool, show_all: bool, exits: bool, as_json: bool) -> None:
    """Show pools, workers, queues (those in trouble first), books and sandbox.

    \b
    Examples:
      bulkhead status
      bulkhead status --watch
      bulkhead status --exits
      bulkhead status --json | jq '.queues[] | select(.state != "open")'
    """
    if watch and (as_json or not sys.stdout.isatty()):
        raise click.UsageError("--watch is for a terminal, and not with --json")
    if exits:
        if watch:
            raise click.UsageError("--exits is no page to watch")
        show_exits(client, show_all, as_json)
        return
    if as_json:
        print_json(client.get("/status"))
        return
    most = sys.maxsize if show_all else _MOST_QUEUES
    if not watch:
        console().print(dashboard(_fetch(client), most))
        return
    with Live(dashboard(_fetch(client), most), console=console(), screen=True) as live:
        while True:
            time.sleep(_WATCH_S)
            live.update(dashboard(_fetch(client), most), refresh=True)


def _fetch(client: AdminClient) -> Status:
    return msgspec.json.decode(client.get("/status"), type=Status)


def dashboard(status: Status, most_queues: int) -> RenderableType:
    """The page: what runs, what waits, what has become of all that was accepted."""
    return Group(
        _headline(status), "", *_pools(status), _queues(status, most_queues), "", *_foot(status)
    )


def _headline(status: Status) -> Text:
    line = Text.assemble(
        (f"bulkhead {status.version}", "bold"),
        "  ",
        _state(status.state),
        f"  up {duration(status.uptime_s)}  pid {status.pid}  zygote ",
        str(status.zygote.pid or "none"),
    )
    if status.store.intake != "open":
        line.append(f"\nintake stopped: {printable(status.store.intake)}", "bold red")
    if status.store.log_held:
        line.append(f"\n{printable(status.store.log_held)}", "yellow")
    if status.unanswered:
        last = status.unanswered[-1]
        line.append(f"\n{printable(f'no answer from {last.who}, {last.at}: {last.why}')}", "yellow")
    return line


def _pools(status: Status) -> Iterator[RenderableType]:
    shown = table(
        "",
        *("worker", "pid", "state", "memory", "in flight", "batches", "events", "restarts", "up"),
        "last exit",
        numbers=("pid", "memory", "in flight", "batches", "events", "restarts", "up"),
    )
    for pool in status.pools:
        why = f"  {printable(pool.state_reason)}" if pool.state_reason else ""
        warm = sum(spare.state is WorkerState.IDLE for spare in pool.spares)
        yield Text.assemble(
            ("pool ", "bold"),
            (pool.name, "bold"),
            "  ",
            _state(pool.state),
            f"  workers {len(pool.workers)}, warm spares {warm} of {len(pool.spares)}{why}",
        )
        for worker in pool.workers:
            shown.add_row(
                worker.id,
                str(worker.pid or "-"),
                _state(worker.state),
                size(worker.rss_bytes),
                str(worker.inflight_batches),
                str(worker.batches),
                str(worker.events),
                str(worker.restarts),
                duration(worker.uptime_s),
                _exit(worker.last_exit),
            )
        for one in pool.apart:
            shown.add_row(
                f"{pool.name}:{one.connection}",
                str(one.pid or "-"),
                _state(one.state),
                size(one.rss_bytes),
                *("", "", "", ""),
                duration(one.uptime_s),
                "apart, until it is proven" if one.why is None else f"apart: {one.why.text}",
            )
        for group in pool.leaks_together:
            names = ", ".join(group.connections[:_MOST_NAMES])
            more = len(group.connections) - _MOST_NAMES
            whose = "unknown which"
            if group.held_by is not None:
                whose = f"held by {printable(group.held_by)} and nobody's in particular"
            yield Text(
                f"  some of {printable(names)}{f' and {more} more' if more > 0 else ''} leak"
                f" {size(round(group.bytes_per_event))} an event, {whose}",
                "yellow",
            )
    yield shown
    yield ""


def _exit(last: LastExit | None) -> str:
    if last is None:
        return "-"
    blamed = f" of {last.connection}" if last.connection else ""
    return printable(f"{last.at} {last.reason}{blamed}: {last.detail}")


def _queues(status: Status, most: int) -> Table:
    ordered = sorted(status.queues, key=_badness)
    left_out = len(ordered) - most
    shown = table(
        "",
        *("connection", "destination", "pool", "state", "pending", "in flight", "oldest", "next"),
        "why",
        numbers=("pending", "in flight", "oldest", "next"),
    )
    for queue in ordered[:most]:
        shown.add_row(
            queue.connection,
            queue.destination,
            queue.pool,
            _state(queue.state),
            str(queue.depth),
            str(queue.inflight),
            duration(queue.oldest_s),
            duration(queue.next_attempt_in_s),
            printable(queue.state_reason),
        )
    if left_out > 0:
        shown.caption = f"and {left_out} more (--all)"
    return shown


def _badness(queue: QueueStatus) -> tuple[int, float, int, str]:
    return (
        _WORST_FIRST.index(queue.state),
        -(queue.oldest_s or 0.0),
        -queue.depth,
        queue.connection,
    )


def _foot(status: Status) -> Iterator[RenderableType]:
    names = Books.__struct_fields__
    counts = ", ".join(f"{getattr(status.books, n)} {n.replace('_', ' ')}" for n in names)
    yield Text.assemble(("books    ", "bold"), counts)
    if not status.books.is_balanced:
        yield Text("         they do not balance: run `bulkhead audit`", "bold red")
    store = status.store
    yield Text.assemble(
        ("queue    ", "bold"),
        f"{size(store.live_bytes)} of {size(store.max_bytes)}, "
        f"dead letters {size(store.dead_letter_bytes)}",
        f", {store.evicted} evicted" if store.evicted else "",
        f", {store.dead_letters_dropped} dead letters dropped"
        if store.dead_letters_dropped
        else "",
    )
    dedupe = status.dedupe
    yield Text.assemble(
        ("dedupe   ", "bold"),
        f"window {duration(dedupe.window_s)}, {dedupe.ids} ids, {dedupe.dropped} repeats dropped",
    )
    on = [layer for layer, state in status.sandbox.items() if state == "on"]
    yield Text.assemble(("sandbox  ", "bold"), f"on: {', '.join(on) or 'nothing'}")
    for layer, why in status.sandbox.items():
        if why != "on":
            yield Text.assemble("         ", (f"{layer} is off: {printable(why)}", "yellow"))
    yield Text.assemble(("scratch  ", "bold"), printable(status.limits.scratch))
    for what in status.limits.unheld:
        yield Text.assemble("         ", (f"not limited: {printable(what)}", "yellow"))


def _state(state: str) -> Text:
    return Text(state, _STYLES.get(state, ""))
