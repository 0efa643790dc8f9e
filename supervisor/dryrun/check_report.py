"""The report of `bulkhead check`, the plan: what a config makes of this service, before it runs.

Owns which connection runs in which pool under which limits, and what becomes
of deliveries that are queued already. Pure; a report holds no secret, so that
it can be printed and encoded as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from sandbox.protocol import Declaration
from supervisor.config import Config, Connection
from supervisor.delivery.connections import pool_connections_of
from supervisor.ingest.router import EVENT_TYPES
from supervisor.telemetry.log import Redactor
from supervisor.workers.spawn import pool_spec_of


class PlannedConnection(msgspec.Struct, frozen=True, kw_only=True):
    """One connection as it would run.

    What only the destination can say is None where it was not asked or could
    not be loaded; `problems` says why it would not run. Sizes are bytes,
    durations seconds, `rate_limit` is events per second.
    """

    connection: str
    source: str
    destination: str
    pool: str
    enabled: bool
    types: tuple[str, ...] | None
    hosts: tuple[str, ...] | None
    batch_events: int | None
    batch_bytes: int | None
    max_concurrency: int
    rate_limit: float | None
    max_backlog: int | None
    ordering: str
    weight: int
    linger_s: float
    problems: tuple[str, ...] = ()


class PlannedPool(msgspec.Struct, frozen=True, kw_only=True):
    """One pool as it would run; `destinations` are those that connections use."""

    pool: str
    destinations: tuple[str, ...]
    workers: int
    spares: int
    memory_limit: int
    memory_soft_limit: int
    batch_timeout_s: float
    block_timeout_s: float
    max_open_files: int
    network: str
    allow: tuple[str, ...]
    profile: str
    write_paths: tuple[str, ...]


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that has deliveries in the queue, and is not in the config."""

    connection: str
    pending: int


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `bulkhead check` prints. `layers` says of each "on", or why not."""

    config: str
    pools: tuple[PlannedPool, ...]
    connections: tuple[PlannedConnection, ...]
    orphans: tuple[Orphan, ...]
    notes: tuple[str, ...]
    """What deserves a look and stops nothing; one sentence each."""
    layers: Mapping[str, str]

    @property
    def is_runnable(self) -> bool:
        """Whether every connection would run."""
        return not any(connection.problems for connection in self.connections)


def check_report(
    config: Config,
    declarations: Mapping[str, Declaration] | None = None,
    *,
    broken: Mapping[str, str] | None = None,
    settings_errors: Mapping[str, Sequence[str]] | None = None,
    layers: Mapping[str, str] | None = None,
    queued: Mapping[str, int] | None = None,
    shielded: Sequence[str] = (),
) -> CheckReport:
    """Work out what `config` would do.

    `declarations` by destination, None where no worker was asked; `broken` are the
    destinations that could not be loaded, with the reason; `settings_errors` by
    connection; `queued` are the pending deliveries of each connection in the
    state directory, None where it was not read; `shielded` are files in plugin
    folders that no worker sees.
    """
    declarations = declarations or {}
    redact = Redactor(config.secrets)  # errors of destinations may quote settings
    terms = {
        pool_connection.name: pool_connection.terms
        for pool in config.pools
        for pool_connection in pool_connections_of(config, pool, declarations)
        if pool_connection.destination in declarations
    }
    connections = []
    for connection in config.connections.values():
        declared = declarations.get(connection.destination)
        runs_with = terms.get(connection.name)
        connections.append(
            PlannedConnection(
                connection=connection.name,
                source=connection.source,
                destination=connection.destination,
                pool=config.pool_of(connection.destination),
                enabled=connection.enabled,
                types=_types(declared) if declared else None,
                hosts=_hosts(config, connection, declared.hosts) if declared else None,
                batch_events=runs_with.batch_events if runs_with else connection.batch_events,
                batch_bytes=runs_with.batch_bytes if runs_with else connection.batch_bytes,
                max_concurrency=connection.max_concurrency,
                rate_limit=connection.rate_limit,
                max_backlog=connection.max_backlog,
                ordering=connection.ordering,
                weight=connection.weight,
                linger_s=connection.linger_s,
                problems=tuple(
                    map(redact, _problems(connection, broken or {}, settings_errors or {}))
                ),
            )
        )
    return CheckReport(
        config=str(config.path),
        pools=tuple(_pool(config, name) for name in config.pools),
        connections=tuple(connections),
        orphans=tuple(
            Orphan(connection=name, pending=pending)
            for name, pending in sorted((queued or {}).items())
            if pending and name not in config.connections
        ),
        notes=(*_notes(config, declarations), *_shielded(shielded)),
        layers=dict(layers or {}),
    )


def orphan_text(orphan: Orphan) -> str:
    """What a start or reload with this config would do to an orphan, and how to prevent it."""
    deliveries = "delivery" if orphan.pending == 1 else "deliveries"
    return (
        f"{orphan.pending} pending {deliveries} of {orphan.connection} would become dead letters: "
        f"put [connections.{orphan.connection}] back to have them delivered, or replay them later"
    )


def _pool(config: Config, name: str) -> PlannedPool:
    pool = config.pools[name]
    return PlannedPool(
        pool=name,
        destinations=tuple(destination for destination, _ in config.destinations_of(name)),
        workers=pool.workers,
        spares=pool.spares,
        memory_limit=pool.memory_limit,
        memory_soft_limit=pool.memory_soft_limit,
        batch_timeout_s=pool.batch_timeout_s,
        block_timeout_s=pool.block_timeout_s,
        max_open_files=pool.max_open_files,
        network=pool.network,
        allow=pool.allow,
        profile=config.profile_of(name),
        write_paths=tuple(map(str, pool.write_paths)),
    )


def _types(declared: Declaration) -> tuple[str, ...]:
    return tuple(name for name in EVENT_TYPES if name in declared.types)


def _hosts(config: Config, connection: Connection, hosts: Sequence[str]) -> tuple[str, ...]:
    """Declared hosts, with those that stand in a setting filled in unless they are secret."""
    return tuple(
        re.sub(r"\{([^{}]+)\}", lambda found: _host_in(config, connection, found[1]), host)
        for host in hosts
    )


def _host_in(config: Config, connection: Connection, setting: str) -> str:
    value = connection.settings.get(setting)
    if (connection.name, setting) in config.secret_settings or not isinstance(value, str):
        return f"{{{setting}}}"
    try:
        # Only the host: path and user part of a URL may be as good as a password.
        parts = urlsplit(value if "//" in value else f"//{value}")
        return parts.netloc.rpartition("@")[2] or f"{{{setting}}}"
    except ValueError:
        return f"{{{setting}}}"  # no URL; its destination says so in the settings' errors


def _problems(
    connection: Connection,
    broken: Mapping[str, str],
    settings_errors: Mapping[str, Sequence[str]],
) -> list[str]:
    problems = [f"settings.{error}" for error in settings_errors.get(connection.name, ())]
    if connection.destination in broken:
        problems.insert(0, f"{connection.destination}: {broken[connection.destination]}")
    return problems


def _notes(config: Config, declarations: Mapping[str, Declaration]) -> list[str]:
    """What is valid, and likely not what was meant."""
    fed = {connection.source for connection in config.connections.values()}
    notes = [
        f"sources.{source}: feeds no connection; its events are accepted and go nowhere"
        for source in config.sources
        if source not in fed
    ]
    for pool in config.pools:
        if not config.destinations_of(pool):
            notes.append(f"pools.{pool}: no connection uses it; its workers would be idle")
        notes += [
            f"pools.{pool}: {loosened}" for loosened in pool_spec_of(config, pool, {}).loosenings
        ]
    for connection in config.connections.values():
        declared = declarations.get(connection.destination)
        if declared is None:
            continue
        at = f"connections.{connection.name}"
        if connection.batch_events and connection.batch_events > declared.batch_events:
            notes.append(
                f"{at}.batch_events: {connection.batch_events} is more than "
                f"{connection.destination} takes; {declared.batch_events} is used"
            )
        if connection.batch_bytes and connection.batch_bytes > declared.batch_bytes:
            notes.append(
                f"{at}.batch_bytes: {connection.batch_bytes} is more than "
                f"{connection.destination} takes; {declared.batch_bytes} is used"
            )
    return notes


def _shielded(paths: Sequence[str]) -> list[str]:
    return [
        f"service.plugin_paths: {path} lies in a plugin folder, and no worker sees it"
        for path in paths
    ]
