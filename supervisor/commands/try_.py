"""`bulkhead try`: what an event becomes at a destination, and what becomes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from supervisor.commands.context import json_option, print_json
from supervisor.commands.endpoint import CommandError, ConfigFailed
from supervisor.commands.subject import Subject, events_of, subject
from supervisor.commands.terminal import say
from supervisor.config import ConfigError
from supervisor.dryrun.dry_run import DryRun, DryRunFailed
from supervisor.queue import OUTCOMES, NewEvent
from supervisor.tapes.scrub import Mask
from supervisor.tapes.tape import Answer, Call, outcome_line, text_of

#: Outcomes that are no failure.
_FINE = frozenset(outcome.value for outcome, row in OUTCOMES.items() if row.is_fine)
#: Longest body that is shown, in characters; `--json` has it whole.
_MAX_SHOWN = 4000
_HIDDEN_HEADERS = frozenset({"host", "accept", "accept-encoding", "user-agent", "content-length"})

R = TypeVar("R")


def subject_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command DESTINATION, EVENT and the options that name settings."""
    command = click.option(
        "--config",
        "config_path",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Take plugins, limits and trusted CAs from this config; DESTINATION may then be the "
        "name of one of its connections, whose settings are used.",
    )(command)
    command = click.argument("event", type=click.Path(path_type=Path, allow_dash=True))(command)
    return click.argument("destination")(command)


@click.command("try")
@subject_options
@click.option(
    "--settings",
    type=click.Path(path_type=Path),
    help='Settings in TOML or JSON, secrets as { env = "NAME" } or { file = "PATH" }.',
)
@click.option("--live", is_flag=True, help="Send for real.")
@json_option
@click.pass_context
def try_(
    ctx: click.Context,
    destination: str,
    event: Path,
    settings: Path | None,
    config_path: Path | None,
    live: bool,
    as_json: bool,
) -> None:
    """Show the HTTP requests that EVENT becomes at DESTINATION, and its outcome.

    EVENT is a file with an event, an array or batch of events, or one a line (`-`
    for standard input), gzipped or not. They run in a jailed worker as in production. Nothing is
    sent unless --live says so: answers are then assumed to be what the
    destination says of its server, and outcomes hold where they are. Secrets
    are not shown. Exits with 1 where an event was not delivered.

    \b
    Examples:
      bulkhead try mixpanel event.json --settings mixpanel.toml
      bulkhead try website-mixpanel event.json --config bulkhead.toml --live
    """
    chosen = subject(destination, settings, config_path)
    events = events_of(event)
    run = run_of(chosen, events, is_live=live)
    mask = Mask(chosen.connection.settings, chosen.secrets, run.kept.exchanges)
    if as_json:
        print_json(_as_json(chosen, events, run, mask, is_live=live))
    else:
        for line in _page(chosen, events, run, mask, is_live=live):
            say(line)
    ctx.exit(0 if all(result.outcome in _FINE for result in run.outcomes) else 1)


def run_of(chosen: Subject, events: Sequence[NewEvent], *, is_live: bool) -> DryRun:
    """Deliver `events`, for real where `is_live`. Raises CommandError or ConfigFailed."""
    # Imported here: what is wrong with files is told without a web framework.
    import uvloop

    from supervisor.dryrun.dry_run import deliver_once
    from supervisor.telemetry import log

    redact = log.configure(
        {*chosen.config.secrets, *chosen.secrets.values()}, level=logging.WARNING
    )
    try:
        return uvloop.run(deliver_once(chosen.config, chosen.connection, events, is_live=is_live))
    except DryRunFailed as error:
        name = chosen.connection.destination
        raise ConfigFailed(
            "\n".join(f"{name}: {redact(line)}" for line in str(error).splitlines())
        ) from error
    except ConfigError as error:
        raise ConfigFailed("\n".join(error.errors)) from error
    except OSError as error:
        raise CommandError(f"no worker can be started here: {error.strerror or error}") from error


def _page(
    chosen: Subject, events: Sequence[NewEvent], run: DryRun, mask: Mask, *, is_live: bool
) -> list[str]:
    how = "sent" if is_live else "dry run, nothing was sent; answers are assumed"
    count = "1 event" if len(events) == 1 else f"{len(events)} events"
    lines = [f"{chosen.connection.destination}: {count}, {how}"]
    for call, answer in run.kept.calls:
        lines += ["", *_call_lines(mask.call(call))]
        match answer:
            case Answer():
                lines += _answer_lines(mask.answer(answer), is_live=is_live)
            case why:
                lines.append(f"no answer: {mask.text(why)}")
    for text in run.tracebacks:
        lines += ["", "raised:", *_indented(mask.text(text))]
    if run.log:
        lines += ["", "logged:", *(f"  {mask.text(text)}" for text in run.log)]
    lines.append("")
    for event, result in zip(events, run.outcomes, strict=True):
        outcome = mask.text(outcome_line(result.outcome, result.detail, result.after_s))
        lines.append(f"{event.type} {event.message_id}: {outcome}")
    return lines


def _call_lines(call: Call) -> list[str]:
    headers = [
        f"  {name}: {value}" for name, value in call.headers if name.lower() not in _HIDDEN_HEADERS
    ]
    return [f"{call.method} {call.url}", *headers, *_body_lines(call.body)]


def _answer_lines(answer: Answer, *, is_live: bool) -> list[str]:
    word = "answer" if is_live else "assumed"
    headers = [f"  {name}: {value}" for name, value in answer.headers]
    flaw = f" (its body is {answer.flaw})" if answer.flaw else ""
    first = f"{word}: {answer.status} {answer.reason}".rstrip() + flaw
    return [first, *headers, *_body_lines(answer.body)]


def _body_lines(body: bytes) -> list[str]:
    text = text_of(body)
    if len(text) > _MAX_SHOWN:
        text = f"{text[:_MAX_SHOWN]}\n... ({len(text)} characters; --json has them)"
    return _indented(text) if text else []


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.rstrip("\n").splitlines()]


def _as_json(
    chosen: Subject, events: Sequence[NewEvent], run: DryRun, mask: Mask, *, is_live: bool
) -> object:
    return {
        "destination": chosen.connection.destination,
        "live": is_live,
        "events": [
            {
                "message_id": event.message_id,
                "type": event.type,
                "outcome": result.outcome,
                "detail": mask.text(result.detail),
                "after_s": result.after_s,
            }
            for event, result in zip(events, run.outcomes, strict=True)
        ],
        "requests": [
            {
                "method": shown.method,
                "url": shown.url,
                "headers": [list(pair) for pair in shown.headers],
                "body": text_of(shown.body),
                "answer": _answer_json(mask.answer(answer)) if isinstance(answer, Answer) else None,
                "no_answer": None if isinstance(answer, Answer) else mask.text(answer),
            }
            for call, answer in run.kept.calls
            for shown in (mask.call(call),)
        ],
        "raised": [mask.text(text) for text in run.tracebacks],
        "log": [mask.text(text) for text in run.log],
        "sandbox": run.layers,
    }


def _answer_json(answer: Answer) -> object:
    return {
        "status": answer.status,
        "headers": [list(pair) for pair in answer.headers],
        "body": text_of(answer.body),
        "flaw": answer.flaw,
    }
