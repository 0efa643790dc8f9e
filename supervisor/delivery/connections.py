"""From the config and what destinations declared to what each pool runs.

Owns the translation into `records.py`'s terms, and which plugins' code is in
force. Must not start anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.protocol import Declaration
from supervisor.config import Config
from supervisor.core.scheduling.retry import RetryPolicy
from supervisor.core.scheduling.scheduler import BlockReason, Terms
from supervisor.delivery.records import PoolConnection
from supervisor.egress.policy import DeclaredHosts, EgressPolicy, allowances, host_patterns
from supervisor.queue import ConnectionSpec

#: Most bytes of events in one batch, whatever a destination declares: a worker that does not read
#: has as many batches as it has credits in the supervisor's memory.
MAX_BATCH_BYTES = 4 * 1024 * 1024


def pool_connections_of(
    config: Config, pool: str, declarations: Mapping[str, Declaration]
) -> list[PoolConnection]:
    """The connections of `pool`, as it runs them."""
    pool_connections = []
    section = config.pools[pool]
    allowed, blocks = allowances(section.allow)
    for connection in config.connections.values():
        if config.pool_of(connection.destination) != pool:
            continue
        said = declarations.get(connection.destination)
        closed = None
        if not connection.enabled:
            closed = BlockReason.DISABLED
        elif said is None:
            closed = BlockReason.UNKNOWN
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
        pool_connections.append(
            PoolConnection(
                connection.name,
                connection.destination,
                connection.settings,
                terms,
                closed,
                EgressPolicy(
                    connection=connection.name,
                    destination=connection.destination,
                    pool=pool,
                    network=section.network,
                    declared=0 if said is None else len(said.hosts),
                    hosts=DeclaredHosts()
                    if said is None
                    else host_patterns(said.hosts, connection.settings, said.settings_schema),
                    allowed=allowed,
                    blocks=blocks,
                ),
            )
        )
    return pool_connections


def retry_of(config: Config) -> RetryPolicy:
    """The config's retry section."""
    retry = config.retry
    return RetryPolicy(retry.window_s, retry.first_delay_s, retry.max_delay_s)


def queue_specs_of(config: Config) -> Mapping[str, ConnectionSpec]:
    """What the queue has to know of each connection, by name."""
    return {
        connection.name: ConnectionSpec(
            connection.source, connection.max_backlog, connection.ordering == "user"
        )
        for connection in config.connections.values()
    }
