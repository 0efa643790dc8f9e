"""`bulkhead recycle`: a fresh process for a worker."""

from __future__ import annotations

import click

from supervisor.commands.client import AdminClient, quoted
from supervisor.commands.context import admin_options
from supervisor.commands.terminal import say


@click.command()
@click.argument("worker")
@admin_options
def recycle(client: AdminClient, worker: str) -> None:
    """Have WORKER finish its batches, and replace it.

    \b
    Example:
      bulkhead recycle default-1
    """
    client.post(f"/workers/{quoted(worker)}/recycle")
    say(f"{worker} drains and is replaced")
