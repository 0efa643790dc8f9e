"""`bulkhead reload`: have the running service follow its config file, and say what changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
import msgspec

from sandbox.protocol import printable
from supervisor.admin.plan import PlannedChanges
from supervisor.commands.client import AdminClient
from supervisor.commands.context import admin_options, json_option, print_json, waiting
from supervisor.commands.terminal import say


class _Reloaded(msgspec.Struct, frozen=True):
    """What the service says of it."""

    reloaded: bool
    errors: list[str]
    changes: PlannedChanges


@click.command()
@json_option
@admin_options
@click.pass_context
def reload(ctx: click.Context, client: AdminClient, as_json: bool) -> None:
    """Have the service follow its config file, and print what changed or is wrong.

    Exits with 1 where the file was refused; the running config stays then.

    \b
    Example:
      bulkhead reload --config bulkhead.toml
    """
    with waiting("the config is read"):
        body = client.post("/reload")
    told = msgspec.json.decode(body, type=_Reloaded)
    if as_json:
        print_json(body)
    elif told.reloaded:
        for line in _lines(told.changes):
            say(printable(line))
    else:
        for error in told.errors:
            say(printable(error), is_error=True)
        say("refused: the running config stays in force", is_error=True)
    ctx.exit(0 if told.reloaded else 1)


def _lines(changes: PlannedChanges) -> Iterator[str]:
    if changes.is_empty:
        yield "nothing changed"
    pools, connections, sources = changes.pools, changes.connections, changes.sources
    yield from _named("pool", "new", pools.new)
    yield from _named("pool", "gone", pools.gone)
    yield from _named("pool", "has new workers", pools.replaced)
    yield from _named("pool", "retuned", pools.retuned)
    yield from _named("connection", "new", connections.new)
    for gone in connections.gone:
        yield f"connection {gone.name}: gone, {gone.pending} pending became dead letters"
    yield from _named("source", "new", sources.new)
    yield from _named("source", "gone", sources.gone)
    for kind, changed in (
        ("connection", connections.changed),
        ("source", sources.changed),
        ("section", changes.sections),
    ):
        for one in changed:
            yield f"{kind} {one.name}: changed {', '.join(one.keys)}"
    if changes.is_code_changed:
        yield "plugins: other code"
    yield from changes.needs_restart


def _named(kind: str, what: str, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield f"{kind} {name}: {what}"
