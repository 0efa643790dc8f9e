"""`bulkhead run`: the service, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from supervisor.commands.context import config_option, load_config
from supervisor.commands.endpoint import CommandError, ConfigFailed
from supervisor.commands.terminal import say
from supervisor.config import ConfigError
from supervisor.queue import QueueUnavailable


@click.command()
@config_option
@click.option(
    "--accept-loss",
    "lost",
    metavar="COMMITS",
    type=click.IntRange(min=0),
    help="Start although the queue has less than it once had; the refusal says the number.",
)
@click.pass_context
def run(ctx: click.Context, config_path: Path, lost: int | None) -> None:
    """Run the service in the foreground.

    SIGTERM or SIGINT drains and exits with 0, SIGHUP reads the config anew.
    Logs go to standard error: JSON lines, or readable ones on a terminal.

    \b
    Example:
      bulkhead run --config /etc/bulkhead/bulkhead.toml
    """
    # Imported here: `--help` needs none of what a service needs.
    from supervisor.app import signals

    # Before the config is read: a SIGHUP from here on may mean what it holds by then.
    signals.remember_hangups()
    config = load_config(config_path)
    from supervisor.app import process
    from supervisor.queue import engines
    from supervisor.runtime.systemd import SocketsError
    from supervisor.state.format import StateFormatError
    from supervisor.state.paused import PausedError

    try:
        if lost is not None:
            is_accepted = engines.accept_loss(config.service.state_dir, lost)
            say(
                f"--accept-loss {lost}: "
                + (
                    "going on with what is there"
                    if is_accepted
                    else "not needed: no queue here is known to have had just so many commits"
                ),
                is_error=True,
            )
        code = process.run(config)
    except ConfigError as error:
        raise ConfigFailed("\n".join(error.errors)) from error
    except (SocketsError, PausedError, StateFormatError, QueueUnavailable) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(_why(error)) from error
    ctx.exit(code)


def _why(error: OSError) -> str:
    """What could not be bound, opened or written, as far as the system says it."""
    where = f"{error.filename}: " if error.filename else ""
    return f"the service cannot run: {where}{error.strerror or error}"
