"""What a new config changes in a running service.

Owns the comparison of two configs: which pools and connections are touched,
and what has to wait for the next start. Pure; the service carries it out.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from supervisor.config import Config, ConfigError, Connection, Pool
from supervisor.config.places import faults_of

#: What workers of a pool are started with; a change of any of these needs new workers. The rest
#: (`workers`, `spares` and the two timeouts, which the supervisor watches) is only retuned.
_FIXED_AT_START = (
    "memory_limit",
    "memory_soft_limit",
    "max_open_files",
    # The supervisor checks these at each connect, but a worker keeps connections that are open.
    "network",
    "allow",
    "profile",
    "write_paths",
)


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What to do to get from one config to the next; names, sorted.

    Each pool and each connection is in one tuple at most.
    """

    config: Config
    """The new config, with the old values of what cannot change before the next start."""
    pools_added: tuple[str, ...] = ()
    pools_removed: tuple[str, ...] = ()
    pools_replaced: tuple[str, ...] = ()
    """Their workers are drained and new ones started."""
    pools_retuned: tuple[str, ...] = ()
    """Their workers stay, or become more or fewer."""
    connections_added: tuple[str, ...] = ()
    connections_removed: tuple[str, ...] = ()
    """Their pending deliveries become dead letters."""
    connections_reconfigured: tuple[str, ...] = ()
    """Another destination or other settings: workers must be told before the next batch."""
    connections_retuned: tuple[str, ...] = ()
    """Other limits, another source, enabled or disabled: only the supervisor cares."""
    needs_restart: tuple[str, ...] = ()
    """One sentence each, opening with the key path, for what waits for the next start."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes and nothing waits; parts without state (sources) aside."""
        return not any(
            getattr(self, field) for field in self.__struct_fields__ if field != "config"
        )


def changes(old: Config, new: Config, *, changed_code: Collection[str] = ()) -> Changes:
    """Compare the running config with a new one.

    `changed_code` are the destinations whose code is another than that which
    the workers imported (by hash of their files).
    """
    config, needs_restart = _keep_until_restart(old, new)
    workers_differ = (
        old.sandbox != new.sandbox or old.service.plugin_paths != new.service.plugin_paths
    )
    pools_kept = old.pools.keys() & new.pools.keys()
    replaced = {
        name
        for name in pools_kept
        if workers_differ
        or _start_values(old.pools[name]) != _start_values(new.pools[name])
        or old.destinations_of(name) != new.destinations_of(name)
        or any(destination in changed_code for destination, _ in new.destinations_of(name))
    }
    retuned = {
        name
        for name in pools_kept - replaced
        if _tuning(old.pools[name]) != _tuning(new.pools[name])
    }
    kept = old.connections.keys() & new.connections.keys()
    reconfigured = {
        name
        for name in kept
        if _told_to_workers(old.connections[name]) != _told_to_workers(new.connections[name])
    }
    return Changes(
        config=config,
        pools_added=_names(new.pools.keys() - old.pools.keys()),
        pools_removed=_names(old.pools.keys() - new.pools.keys()),
        pools_replaced=_names(replaced),
        pools_retuned=_names(retuned),
        connections_added=_names(new.connections.keys() - old.connections.keys()),
        connections_removed=_names(old.connections.keys() - new.connections.keys()),
        connections_reconfigured=_names(reconfigured),
        connections_retuned=_names(
            {name for name in kept - reconfigured if old.connections[name] != new.connections[name]}
        ),
        needs_restart=needs_restart,
    )


def require_apart(old: Config, new: Config) -> Config:
    """The new config as it would be in force, once its paths are judged by what stays in use.

    The loader has judged them by what the file says, which another state directory is not yet.
    Raises ConfigError.
    """
    config, _ = _keep_until_restart(old, new)
    if wrong := [f"{config.path}: {at}: {text}" for at, text in faults_of(config)]:
        raise ConfigError(wrong)
    return config


def _keep_until_restart(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """The new config without what the running service cannot follow, and a notice for each."""
    notices = [
        f"{key}: changed, and takes effect at the next start; until then {value} stays"
        for key, value, is_same in (
            (
                "service.state_dir",
                old.service.state_dir,
                old.service.state_dir == new.service.state_dir,
            ),
            ("api.listen", old.api.listen, old.api.listen == new.api.listen),
            ("admin.listen", old.admin.listen, old.admin.listen == new.admin.listen),
        )
        if not is_same
    ]
    if old.queue != new.queue:
        changed = ", ".join(
            f"queue.{field.removesuffix('_s')}"
            for field in old.queue.__struct_fields__
            if getattr(old.queue, field) != getattr(new.queue, field)
        )
        notices.append(f"{changed}: changed, and takes effect at the next start")
    if new.console.enabled and not old.console.enabled:
        notices.append("console.enabled: changed, and takes effect at the next start")
    replace = msgspec.structs.replace
    admin = replace(new.admin, listen=old.admin.listen)
    if admin.token is None and not admin.listen.is_local:
        # The new file drops the token since it no longer needs one; the old address still does.
        admin = replace(admin, token=old.admin.token)
    config = replace(
        new,
        service=replace(new.service, state_dir=old.service.state_dir),
        api=replace(new.api, listen=old.api.listen),
        admin=admin,
        queue=old.queue,
        secrets=new.secrets
        | old.secrets,  # what was secret is so in what is still queued or logged
    )
    return config, tuple(notices)


def _start_values(pool: Pool) -> tuple[object, ...]:
    return tuple(getattr(pool, field) for field in _FIXED_AT_START)


def _tuning(pool: Pool) -> tuple[object, ...]:
    """What may change under running workers. Which destinations run is compared by itself."""
    return (pool.workers, pool.spares, pool.batch_timeout_s, pool.block_timeout_s)


def _told_to_workers(connection: Connection) -> tuple[object, ...]:
    return (connection.destination, connection.settings)


def _names(names: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
