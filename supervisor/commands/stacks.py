"""`bulkhead stacks`: where a worker is, hung or not."""

from __future__ import annotations

import click

from supervisor.commands.client import AdminClient, quoted
from supervisor.commands.context import admin_options
from supervisor.commands.terminal import say_lines


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
    say_lines(text.rstrip("\n"))
