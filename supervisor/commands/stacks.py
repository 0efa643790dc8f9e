"""`bulkhead stacks`: where a worker is, hung or not."""

from __future__ import annotations

import click

from supervisor.commands.client import AdminClient, quoted
from supervisor.commands.context import admin_options, printable


@click.command()
@click.argument("worker")
@admin_options
def stacks(client: AdminClient, worker: str) -> None:
    """Print the Python stacks of every thread and task in WORKER, hung or not.

    \b
    Example:
      bulkhead stacks default-1
    """
    text = client.get(f"/debug/workers/{quoted(worker)}/stacks").decode("utf-8", "replace")
    # Names in it are a destination's own.
    click.echo("\n".join(map(printable, text.splitlines())))
