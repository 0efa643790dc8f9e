"""`bulkhead record`: real traffic of an event, kept on a tape without secrets and personal data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from supervisor.commands.context import printable
from supervisor.commands.endpoint import CommandError
from supervisor.commands.subject import Subject, events_of, subject
from supervisor.commands.try_ import subject_options, tried
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
    asked = subject(destination, settings, config_path)
    events = events_of(event)
    started = datetime.now(UTC).replace(microsecond=0)
    trial = tried(asked, events, is_live=True)
    for sent, ended in zip(events, trial.outcomes, strict=True):
        said = outcome_line(ended.outcome, ended.detail, ended.after_s)
        click.echo(printable(f"{sent.type} {sent.message_id}: {said}"))
    if not trial.kept.exchanges:
        raise CommandError("no request was answered, so that there is nothing to keep")
    try:
        tape = scrubbed(_tape(asked, events, trial, started), asked.secrets)
    except Leak as error:
        raise CommandError(f"{path} was not written: {error}") from error
    _write(path, dumps(tape))
    click.echo(f"{len(tape.exchanges)} requests with their answers are on {path}")


def _tape(asked: Subject, events: Sequence[NewEvent], trial: DryRun, started: datetime) -> Tape:
    about = About(
        destination=asked.connection.destination,
        provenance="real",
        at=started,
        settings=dict(asked.connection.settings),
        events=[msgspec.json.decode(event.body) for event in events],
        outcomes=[
            outcome_line(ended.outcome, ended.detail, ended.after_s) for ended in trial.outcomes
        ],
    )
    return Tape(about, trial.kept.exchanges)


def _write(path: Path, text: str) -> None:
    """All of it or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from error
