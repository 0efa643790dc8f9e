"""A plan for people: tables and sentences.

Owns the looks of `bulkhead check`; what is in a plan is `supervisor.dryrun.check_report`'s.
Must not print by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from sandbox.protocol import printable
from supervisor.commands.context import duration, table
from supervisor.dryrun.check_report import CheckReport, PlannedConnection, orphan_text
from supervisor.dryrun.jail_selftest import Attempt
from supervisor.runtime.units import size

_NOT_ASKED = "-"


def renderables(plan: CheckReport) -> Iterator[RenderableType]:
    """The plan in reading order: pools, connections, what is wrong, what would be lost, jail."""
    yield _pools(plan)
    yield Text()
    yield _connections(plan)
    if lines := [*_problems(plan)]:
        yield Text("\nWould not run", style="bold red")
        yield Text("\n".join(lines))
    if plan.orphans:
        yield Text("\nIn the queue, and not in this config", style="bold yellow")
        yield Text("\n".join(printable(orphan_text(orphan)) for orphan in plan.orphans))
    if plan.notes:
        yield Text("\nNotes", style="bold")
        yield Text("\n".join(map(printable, plan.notes)))
    if plan.layers:
        yield Text()
        layers = table("Sandbox layers on this machine", "layer", "state")
        for name, state in plan.layers.items():
            layers.add_row(
                name, Text(printable(state), style="green" if state == "on" else "yellow")
            )
        yield layers


def attempts_table(attempts: Iterable[Attempt]) -> RenderableType:
    """What the jail's self-test has found."""
    rows = table("Attacks on the jail", "attack", "ended with", "stopped by")
    for attempt in attempts:
        rows.add_row(
            printable(attempt.attack),
            Text(
                printable(attempt.error or "GOT THROUGH"),
                style="green" if attempt.is_stopped else "bold red",
            ),
            ", ".join(attempt.layers) or "the kernel",
        )
    return rows


def _pools(plan: CheckReport) -> RenderableType:
    rows = table(
        "Pools",
        "pool",
        "destinations",
        "workers",
        "spares",
        "memory",
        "soft",
        "batch timeout",
        "files",
        "network",
        numbers=("workers", "spares", "memory", "soft", "batch timeout", "files"),
    )
    for pool in plan.pools:
        rows.add_row(
            pool.pool,
            ", ".join(pool.destinations) or _NOT_ASKED,
            str(pool.workers),
            str(pool.spares),
            size(pool.memory_limit),
            size(pool.memory_soft_limit),
            duration(pool.batch_timeout_s),
            str(pool.max_open_files),
            ", ".join((pool.network, *pool.allow)),
        )
    return rows


def _connections(plan: CheckReport) -> RenderableType:
    rows = table(
        "Connections",
        "connection",
        "source",
        "destination",
        "pool",
        "types",
        "hosts",
        "batch",
        "concurrency",
        "rate",
        numbers=("batch", "concurrency", "rate"),
    )
    for connection in plan.connections:
        rows.add_row(
            connection.connection if connection.enabled else f"{connection.connection} (disabled)",
            connection.source,
            connection.destination,
            connection.pool,
            printable(", ".join(connection.types)) if connection.types is not None else _NOT_ASKED,
            printable(", ".join(connection.hosts)) if connection.hosts is not None else _NOT_ASKED,
            _batch(connection),
            str(connection.max_concurrency),
            f"{connection.rate_limit:g}/s" if connection.rate_limit else "no limit",
        )
    return rows


def _batch(connection: PlannedConnection) -> str:
    parts = []
    if connection.batch_events is not None:
        parts.append(str(connection.batch_events))
    if connection.batch_bytes is not None:
        parts.append(size(connection.batch_bytes))
    return ", ".join(parts) or _NOT_ASKED


def _problems(plan: CheckReport) -> Iterator[str]:
    for connection in plan.connections:
        for problem in connection.problems:
            yield printable(f"connections.{connection.connection}: {problem}")
