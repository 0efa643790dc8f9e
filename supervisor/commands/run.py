"""`bulkhead run`: the service, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from supervisor.commands.context import config_option, load_config
from supervisor.commands.endpoint import CommandError, ConfigFailed
from supervisor.config import ConfigError
from supervisor.queue import QueueUnavailable


@click.command()
@config_option
@click.pass_context
def run(ctx: click.Context, config_path: Path) -> None:
    """Run the service in the foreground.

    SIGTERM or SIGINT drains and exits with 0, SIGHUP reads the config anew.
    Logs go to standard error: JSON lines, or readable ones on a terminal.

    \b
    Example:
      bulkhead run --config /etc/bulkhead/bulkhead.toml
    """
    config = load_config(config_path)
    # Imported here: `--help` needs none of what a service needs.
    from supervisor.app import service
    from supervisor.runtime.systemd import SocketsError
    from supervisor.state.paused import PausedError

    try:
        code = service.run(config)
    except ConfigError as error:
        raise ConfigFailed("\n".join(error.errors)) from error
    except (SocketsError, PausedError, QueueUnavailable) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(_why(error)) from error
    ctx.exit(code)


def _why(error: OSError) -> str:
    """What could not be bound, opened or written, as far as the system says it."""
    where = f"{error.filename}: " if error.filename else ""
    return f"the service cannot run: {where}{error.strerror or error}"
