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
from supervisor.commands.terminal import say, say_lines

#: Command to module and attribute below `supervisor.commands`, and the first sentence of its help,
#: in the order of the help page. Said here as well, since the page of all would import all of them.
COMMANDS = {
    "run": ("run:run", "Run the service in the foreground."),
    "check": (
        "check:check",
        "Validate the config, import every destination in a jailed worker, and print the plan.",
    ),
    "status": (
        "status:status",
        "Show pools, workers, queues (those in trouble first), books and sandbox.",
    ),
    "send": (
        "send:send",
        "Send the events in FILE, one JSON object a line (- for standard input).",
    ),
    "explain": (
        "explain:explain",
        "Say where each delivery of the event MESSAGE_ID is, and why it is not delivered yet.",
    ),
    "tail": ("tail:tail", "Show events as SOURCE sends them, a line each, until interrupted."),
    "issues": (
        "issues:issues",
        "Show what goes wrong, grouped by cause: how often, since when, and what to do.",
    ),
    "audit": (
        "audit:audit",
        "Print the books, counted anew; exit with 1 where they do not balance.",
    ),
    "backup": ("backup:backup", "Copy the queue, as it is in this moment, to FILE."),
    "deadletters": (
        "deadletters:deadletters",
        "Failed and quarantined deliveries: list, show, replay, drop.",
    ),
    "reload": (
        "reload:reload",
        "Have the service follow its config file, and print what changed or is wrong.",
    ),
    "pause": (
        "connections:pause",
        "Send nothing more through CONNECTION until it is resumed; its queue is kept.",
    ),
    "resume": ("connections:resume", "Let CONNECTION send again after a pause or a trip."),
    "probe": (
        "connections:probe",
        "Let one batch of CONNECTION through now, to see whether its destination is back.",
    ),
    "recycle": ("recycle:recycle", "Have WORKER finish its batches, and replace it."),
    "heap": ("heap:heap", "What fills a worker's memory, and what holds it."),
    "stacks": (
        "stacks:stacks",
        "Print the Python stacks of every thread and task in WORKER, hung or not.",
    ),
    "try": (
        "try_:try_",
        "Show the HTTP requests that EVENT becomes at DESTINATION, and its outcome.",
    ),
    "record": (
        "record:record",
        "Send EVENT to DESTINATION for real, and keep requests and answers on a tape.",
    ),
    "replay": (
        "replay:replay",
        "Play tapes as the servers that they were recorded from, until interrupted.",
    ),
}


class _Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"supervisor.commands.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


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
    for argument in sys.argv[1:] if arguments is None else arguments:
        if not _is_text(argument):
            say(f"bulkhead: {argument[:200]} is no UTF-8, and no file's name", is_error=True)
            return 2
    try:
        code = cli.main(arguments, prog_name="bulkhead", standalone_mode=False)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "bulkhead"
        # click's own message for this case is the whole help.
        is_bare = isinstance(error, click.exceptions.NoArgsIsHelpError)
        message = "say what to do" if is_bare else " ".join(error.format_message().split())
        say(f"{where}: {message} (see `{where} --help`)", is_error=True)
        return 2
    except click.ClickException as error:
        say_lines(error.format_message(), is_error=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted", is_error=True)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _is_text(argument: str) -> bool:
    """Whether an argument is UTF-8, as names, ids and URLs are, or names a file of any bytes."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.path.lexists(argument.rpartition("=")[2])
    return True


if __name__ == "__main__":
    main()
