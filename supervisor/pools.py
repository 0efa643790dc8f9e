"""From the config and what destinations declared to what each pool runs.

Owns the translation into `posts`' terms, and which plugins' code is in
force. Must not start anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from sandbox.protocol import Limits
from supervisor.config import Config
from supervisor.core.retry import RetryPolicy
from supervisor.core.scheduler import Rule, Terms
from supervisor.declare import Asked
from supervisor.egress.policy import Reach, allowances, host_patterns
from supervisor.orders import PoolPlan
from supervisor.posts import Lane
from supervisor.router import Declaration

#: Most bytes of events in one batch, whatever a destination declares: a worker that does not read
#: has as many batches as it has credits in the supervisor's memory.
MAX_BATCH_BYTES = 4 * 1024 * 1024


def asked_of(config: Config, pool: str) -> list[Asked]:
    """Connections of `pool` whose settings are to be checked."""
    return [
        Asked(connection.name, connection.destination, connection.settings)
        for connection in config.connections.values()
        if config.pool_of(connection.destination) == pool
    ]


def plan_of(config: Config, pool: str, broken: Mapping[str, str]) -> PoolPlan:
    """What `pool` runs; destinations that could not be loaded are left out."""
    section = config.pools[pool]
    destinations = tuple(entry for entry in config.destinations_of(pool) if entry[0] not in broken)
    return PoolPlan(
        name=pool,
        workers=section.workers,
        spares=section.spares,
        batch_timeout_s=section.batch_timeout_s,
        limits=Limits(
            section.memory_limit,
            section.memory_soft_limit,
            section.max_open_files,
            section.block_timeout_s,
        ),
        profile=config.profile_of(pool),
        ca_file=None if config.sandbox.ca_file is None else str(config.sandbox.ca_file.resolve()),
        destinations=destinations,
        plugin_paths=tuple(map(str, config.service.plugin_paths)),
        write_paths=tuple(map(str, section.write_paths)),
    )


def lanes_of(config: Config, pool: str, declarations: Mapping[str, Declaration]) -> list[Lane]:
    """The connections of `pool`, as it runs them."""
    lanes = []
    section = config.pools[pool]
    allowed, blocks = allowances(section.allow)
    for connection in config.connections.values():
        if config.pool_of(connection.destination) != pool:
            continue
        said = declarations.get(connection.destination)
        closed = None
        if not connection.enabled:
            closed = Rule.DISABLED
        elif said is None:
            closed = Rule.UNKNOWN
        events = 1 if said is None else said.batch_events
        size = MAX_BATCH_BYTES if said is None else min(said.batch_bytes, MAX_BATCH_BYTES)
        terms = Terms(
            batch_events=min(connection.batch_events or events, events),
            batch_bytes=min(connection.batch_bytes or size, size),
            max_concurrency=connection.max_concurrency,
            rate=connection.rate_limit,
            linger_s=connection.linger_s,
            weight=connection.weight,
        )
        lanes.append(
            Lane(
                connection.name,
                connection.destination,
                connection.settings,
                terms,
                closed,
                Reach(
                    connection=connection.name,
                    destination=connection.destination,
                    pool=pool,
                    network=section.network,
                    declared=() if said is None else said.hosts,
                    hosts=()
                    if said is None
                    else host_patterns(said.hosts, connection.settings, said.settings_schema),
                    allowed=allowed,
                    blocks=blocks,
                ),
            )
        )
    return lanes


def retry_of(config: Config) -> RetryPolicy:
    """The config's retry section."""
    retry = config.retry
    return RetryPolicy(retry.window_s, retry.first_delay_s, retry.max_delay_s)


def code_of(plugin_paths: Iterable[Path]) -> str:
    """A hash of all Python files below the plugin folders; unreadable ones count by name."""
    digest = hashlib.sha256()
    for folder in plugin_paths:
        for file in sorted(folder.rglob("*.py")):
            digest.update(str(file).encode("utf-8", "surrogateescape"))
            try:
                digest.update(file.read_bytes())
            except OSError as error:
                digest.update(str(error.errno).encode())
    return digest.hexdigest()
