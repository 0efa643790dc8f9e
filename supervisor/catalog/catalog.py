"""What the destinations of all pools are, and whether a config can go into force with that.

Owns which destinations are asked (`probe.py` asks those of one pool), what is refused for
the answers, and what is kept of the workers that gave them. Must not start or change a pool.
"""

from __future__ import annotations

import asyncio

import structlog

from supervisor.catalog.probe import Declarations, OnExit, SettingsCheck, declare
from supervisor.config import Config, ConfigError
from supervisor.core.effects import ExitReason
from supervisor.diagnostics.exits import ExitRecord, ExitStore
from supervisor.telemetry import log
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.spawn import pool_spec_of

_log = structlog.get_logger(__name__)


async def declare_all(config: Config, fleet: WorkerFleet, on_exit: OnExit) -> Declarations:
    """Ask a jailed worker of each pool, all at once; `on_exit` hears of the end of each."""
    combined = Declarations()
    by_pool = await asyncio.gather(
        *(
            declare(
                fleet, pool_spec_of(config, pool, broken={}), settings_checks(config, pool), on_exit
            )
            for pool in config.pools
        )
    )
    for declarations in by_pool:
        combined.by_destination |= declarations.by_destination
        combined.broken |= declarations.broken
        combined.settings_errors |= declarations.settings_errors
        for layer, state in declarations.layers.items():
            # The weakest pool counts: what is not in force for one is not in force.
            if combined.layers.get(layer, "on") == "on":
                combined.layers[layer] = state
    return combined


def keeper(exits: ExitStore, metrics: Metrics) -> OnExit:
    """Keeps and counts the ends of declaring workers like those of any other."""

    def ended(record: ExitRecord, stacks: str) -> None:
        record = exits.add(record, stacks)
        metrics.worker_exit(record.pool, record.reason)
        if record.reason != ExitReason.DRAIN:
            _log.warning(
                "declaring_worker_ended",
                pool=record.pool,
                pid=record.pid,
                reason=record.reason,
                detail=record.detail,
                destination=record.destination,
                connection=record.connection,
                exit=record.id,
            )

    return ended


def refuse_impossible(config: Config, declarations: Declarations) -> None:
    """Raise ConfigError for settings that destinations refuse, and for missing sandbox layers."""
    # The text of a destination may quote a setting, and a setting may be a secret.
    redact = log.Redactor(config.secrets)
    errors = [
        redact(f"{config.path}: connections.{connection}.settings.{error}")
        for connection, found in declarations.settings_errors.items()
        for error in found
    ]
    errors += [
        f"{config.path}: sandbox.require: {layer} is not in force here: {state}"
        for layer in config.sandbox.require
        if (state := declarations.layers.get(layer, "no worker has told of it")) != "on"
    ]
    if errors:
        raise ConfigError(errors)


def refuse_broken(config: Config, said: Declarations, before: Declarations) -> None:
    """Raise ConfigError for destinations that could be loaded before, and now cannot.

    One that is new and broken is left out, as at a start.
    """
    redact = log.Redactor(config.secrets)
    errors = [
        redact(f"{config.path}: destination {name}: {reason}")
        for name, reason in sorted(said.broken.items())
        if name in before.by_destination
    ]
    if errors:
        raise ConfigError(errors)


def settings_checks(config: Config, pool: str) -> list[SettingsCheck]:
    """Connections of `pool` whose settings are to be checked."""
    return [
        SettingsCheck(connection.name, connection.destination, connection.settings)
        for connection in config.connections.values()
        if config.pool_of(connection.destination) == pool
    ]
