"""What the destinations of all pools are, and whether a config can go into force with that.

Owns who is asked (`probe.py` asks one pool), what is refused for the answers, and what
is kept of the workers that gave them. Must not start or change a pool.
"""

from __future__ import annotations

import asyncio

import structlog

from supervisor.catalog.probe import Asked, Declarations, Ended, declare
from supervisor.config import Config, ConfigError
from supervisor.core.effects import ExitReason
from supervisor.diagnostics.exits import ExitRecord, ExitStore
from supervisor.telemetry import log
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.spawn import pool_spec_of

_log = structlog.get_logger(__name__)


async def declare_all(config: Config, fleet: WorkerFleet, ended: Ended) -> Declarations:
    """Ask a jailed worker of each pool, all at once; `ended` hears of each one's end."""
    everything = Declarations()
    answers = await asyncio.gather(
        *(
            declare(fleet, pool_spec_of(config, pool, broken={}), asked_of(config, pool), ended)
            for pool in config.pools
        )
    )
    for answer in answers:
        everything.by_destination |= answer.by_destination
        everything.broken |= answer.broken
        everything.settings_errors |= answer.settings_errors
        for layer, state in answer.layers.items():
            # The weakest pool counts: what is not in force for one is not in force.
            if everything.layers.get(layer, "on") == "on":
                everything.layers[layer] = state
    return everything


def keeper(exits: ExitStore, metrics: Metrics) -> Ended:
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


def refuse_impossible(config: Config, said: Declarations) -> None:
    """Raise ConfigError for settings that destinations refuse, and for missing sandbox layers."""
    # A destination's own words may quote a setting, and a setting may be a secret.
    redact = log.Redactor(config.secrets)
    errors = [
        redact(f"{config.path}: connections.{connection}.settings.{error}")
        for connection, found in said.settings_errors.items()
        for error in found
    ]
    errors += [
        f"{config.path}: sandbox.require: {layer} is not in force here: {state}"
        for layer in config.sandbox.require
        if (state := said.layers.get(layer, "no worker has told of it")) != "on"
    ]
    if errors:
        raise ConfigError(errors)


def asked_of(config: Config, pool: str) -> list[Asked]:
    """Connections of `pool` whose settings are to be checked."""
    return [
        Asked(connection.name, connection.destination, connection.settings)
        for connection in config.connections.values()
        if config.pool_of(connection.destination) == pool
    ]
