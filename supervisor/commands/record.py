"""`bulkhead record`: real traffic of an event, kept on a tape without secrets and personal data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from supervisor.commands.endpoint import CommandError
from supervisor.commands.subject import Subject, events_of, subject
from supervisor.commands.terminal import say
from supervisor.commands.try_ import run_of, subject_options
from supervisor.dryrun.dry_run import DryRun
from supervisor.queue import NewEvent
from supervisor.tapes.scrub import Leak, scrubbed
from supervisor.tapes.tape import About, Tape, dumps, outcome_line


@click.command()
@subject_options
@click.option(
    "--settings",
    type=click.Path(path_type=Path),
    help='Settings in TOML or JSON, secrets as { env = "NAME" } or { file = "PATH" }.',
)
@click.option(
    "--tape",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write; it is replaced. Names of recorded tapes end in -real.yaml.",
)
@click.pass_context
def record(
    ctx: click.Context,
    destination: str,
    event: Path,
    settings: Path | None,
    config_path: Path | None,
    path: Path,
) -> None:
    """Send EVENT to DESTINATION for real, and keep requests and answers on a tape.

    Secrets and personal data are replaced before anything is written: settings
    that are references or named like a secret, tokens, credentials, and the
    event's ids, traits and addresses. Look at the tape before you publish it.
    Exits with 1 where nothing was sent.

    \b
    Example:
      bulkhead record mixpanel event.json --settings mixpanel.toml --tape track-real.yaml
    """
    chosen = subject(destination, settings, config_path)
    events = events_of(event)
    started = datetime.now(UTC).replace(microsecond=0)
    run = run_of(chosen, events, is_live=True)
    for sent, result in zip(events, run.outcomes, strict=True):
        outcome = outcome_line(result.outcome, result.detail, result.after_s)
        say(f"{sent.type} {sent.message_id}: {outcome}")
    for number, exchange in enumerate(run.kept.exchanges, 1):
        if flaw := exchange.answer.flaw:
            say(
                f"answer {number}: its body is {flaw}; the tape plays what came as if it were whole"
            )
    if not run.kept.exchanges:
        raise CommandError("no request was answered, so that there is nothing to keep")
    try:
        tape = scrubbed(_tape(chosen, events, run, started), chosen.secrets)
    except Leak as error:
        raise CommandError(f"{path} was not written: {error}") from error
    _write(path, dumps(tape))
    say(f"{len(tape.exchanges)} requests with their answers are on {path}")


def _tape(chosen: Subject, events: Sequence[NewEvent], run: DryRun, started: datetime) -> Tape:
    about = About(
        destination=chosen.connection.destination,
        provenance="real",
        at=started,
        settings=dict(chosen.connection.settings),
        events=[msgspec.json.decode(event.body) for event in events],
        outcomes=[
            outcome_line(result.outcome, result.detail, result.after_s) for result in run.outcomes
        ],
    )
    return Tape(about, run.kept.exchanges)


def _write(path: Path, text: str) -> None:
    """All of it or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from error
