"""`bulkhead pause`, `resume` and `probe`: by hand what the breaker does."""

from __future__ import annotations

import click

from supervisor.commands.client import AdminClient, quoted
from supervisor.commands.context import admin_options
from supervisor.commands.terminal import say


@click.command()
@click.argument("connection")
@admin_options
def pause(client: AdminClient, connection: str) -> None:
    """Send nothing more through CONNECTION until it is resumed; its queue is kept.

    \b
    Example:
      bulkhead pause website-mixpanel
    """
    client.post(f"/connections/{quoted(connection)}/pause")
    say(f"{connection} is paused; `bulkhead resume {connection}` lets it go on")


@click.command()
@click.argument("connection")
@admin_options
def resume(client: AdminClient, connection: str) -> None:
    """Let CONNECTION send again after a pause or a trip."""
    client.post(f"/connections/{quoted(connection)}/resume")
    say(f"{connection} sends again")


@click.command()
@click.argument("connection")
@admin_options
def probe(client: AdminClient, connection: str) -> None:
    """Let one batch of CONNECTION through now, to see whether its destination is back."""
    client.post(f"/connections/{quoted(connection)}/probe")
    say(f"one batch of {connection} may go now; `bulkhead status` shows what came of it")
