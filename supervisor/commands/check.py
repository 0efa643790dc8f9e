"""`bulkhead check`: what a config would do here, without doing it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import click

from sandbox.protocol import printable
from supervisor.commands.context import (
    config_option,
    console,
    json_option,
    load_config,
    print_json,
)
from supervisor.commands.endpoint import CommandError, ConfigFailed
from supervisor.config import Config, ConfigError
from supervisor.queue import QueueUnavailable


@click.command()
@config_option
@json_option
@click.option(
    "--jail", "tries_jail", is_flag=True, help="Have a worker attack its own jail instead."
)
def check(config_path: Path, as_json: bool, tries_jail: bool) -> None:
    """Validate the config, import every destination in a jailed worker, and print the plan.

    The plan says which connection runs in which pool under which limits, what
    becomes of deliveries that are queued already, and which sandbox layers
    this machine gives. Nothing is sent, stored or changed; a service that runs
    with the same state directory is not disturbed.

    With --jail a worker tries what an attacker would, each attempt harmless,
    and the answer says what was stopped and by which layers; exit status 1
    where anything got through.

    \b
    Example:
      bulkhead check --config bulkhead.toml
    """
    config = load_config(config_path)
    # Imported here: `--help`, and a config that is wrong in itself, need no workers.
    import uvloop

    from supervisor.catalog import catalog
    from supervisor.commands.plan_tables import renderables
    from supervisor.dryrun.check import check_destinations
    from supervisor.dryrun.check_report import check_report
    from supervisor.telemetry import log

    if tries_jail:
        _try_jail(config, as_json)
        return
    # What workers have to say goes to standard error, where no plan is.
    redact = log.configure(config.secrets, level=logging.WARNING)
    try:
        said = uvloop.run(check_destinations(config))
    except ConfigError as error:
        raise ConfigFailed("\n".join(error.errors)) from error
    except OSError as error:
        raise CommandError(f"no worker can be started here: {error.strerror or error}") from error
    planned = check_report(
        config,
        said.by_destination,
        broken=said.broken,
        settings_errors=said.settings_errors,
        layers=said.layers,
        queued=_queued(config.service.state_dir),
        shielded=said.shielded,
    )
    if as_json:
        print_json(planned)
    else:
        page = console()
        for part in renderables(planned):
            page.print(part)
    errors = [
        printable(redact(f"{config.path}: destination {name}: {why}"))
        for name, why in sorted(said.broken.items())
    ]
    try:
        catalog.refuse_impossible(config, said)
    except ConfigError as error:
        errors += map(printable, error.errors)
    if errors:
        raise ConfigFailed("\n".join(errors))


def _try_jail(config: Config, as_json: bool) -> None:
    import uvloop

    from supervisor.commands.plan_tables import attempts_table
    from supervisor.dryrun.check import run_selftest
    from supervisor.dryrun.jail_selftest import SelftestFailed
    from supervisor.telemetry import log

    log.configure(config.secrets, level=logging.WARNING)
    try:
        attempts = uvloop.run(run_selftest(config))
    except (OSError, SelftestFailed) as error:
        raise CommandError(f"the jail could not be tested: {error}") from error
    if as_json:
        print_json(attempts)
    else:
        console().print(attempts_table(attempts))
    if through := [attempt.attack for attempt in attempts if not attempt.is_stopped]:
        raise CommandError(f"{len(through)} of {len(attempts)} got through: {', '.join(through)}")


def _queued(state_dir: Path) -> Mapping[str, int] | None:
    """Pending deliveries by connection; None where no service has run with this directory yet."""
    # Imported here, as above.
    from supervisor.queue import engines

    if not engines.is_present(state_dir):
        return None
    try:
        return {name: books.pending for name, books in engines.audit(state_dir).items()}
    except QueueUnavailable as error:
        raise CommandError(str(error)) from error
