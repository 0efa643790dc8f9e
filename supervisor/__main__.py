"""`bulkhead`: from the command line to the command.

Owns the list of commands, exit codes (0 done, 1 the work failed, 2 wrong usage
or config) and the one-line form of errors. A command's module is imported when
it is asked for, so that `--help` does not wait for a web framework.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from supervisor import VERSION

#: Command to module and attribute below `supervisor.commands`, in the order of the help page.
COMMANDS = {
    "run": "run:run",
    "check": "check:check",
    "status": "status:status",
    "send": "send:send",
    "explain": "explain:explain",
    "audit": "audit:audit",
    "deadletters": "deadletters:deadletters",
    "pause": "connections:pause",
    "resume": "connections:resume",
    "probe": "connections:probe",
    "recycle": "recycle:recycle",
    "heap": "heap:heap",
    "stacks": "stacks:stacks",
    "try": "try_:try_",
    "record": "record:record",
    "replay": "replay:replay",
}


class _Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(f"supervisor.commands.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="bulkhead")
def cli() -> None:
    """Bulkhead runs destinations for customer-data events in sandboxed workers.

    Start with `bulkhead check --config FILE`, then `bulkhead run --config FILE`.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit the process."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="bulkhead", standalone_mode=False)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "bulkhead"
        # click's own message for this case is the whole help.
        is_bare = isinstance(error, click.exceptions.NoArgsIsHelpError)
        message = "say what to do" if is_bare else " ".join(error.format_message().split())
        click.echo(f"{where}: {message} (see `{where} --help`)", err=True)
        return 2
    except click.ClickException as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
