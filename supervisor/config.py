"""The config's types, loader and errors.

Owns what a config file may say and turns one into a `Config`, or into the list
of everything that is wrong with it. Must not open sockets, import destinations
or know what a destination's settings mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Common to all sections. Sizes are bytes, durations seconds, once loaded."""


class Address(Struct):
    """Where to listen: a UNIX socket where `path` is set, TCP otherwise."""

    host: str = ""
    port: int = 0
    path: Path | None = None


class Service(Struct):
    state_dir: Path
    plugin_paths: tuple[Path, ...] = ()
    drain_timeout_s: float = 30.0


class Api(Struct):
    listen: Address
    max_event: int = 32 * 1024
    max_request: int = 500 * 1024


class Admin(Struct):
    listen: Address
    token: str | None = None


class QueueConfig(Struct):
    engine: str = "sqlite"
    max_pending: int = 2 * 1024**3
    dedupe_window_s: float = 24 * 3600.0
    dedupe_budget: int = 1024**3
    dead_letters: int = 1024**3
    dead_letters_age_s: float = 30 * 24 * 3600.0
    history: int = 64 * 1024**2


class Retry(Struct):
    window_s: float = 4 * 3600.0
    first_delay_s: float = 1.0
    max_delay_s: float = 600.0


class Pool(Struct):
    name: str
    destinations: tuple[str, ...]
    workers: int = 2
    spares: int = 1
    memory_limit: int = 256 * 1024**2
    memory_soft_limit: int = 192 * 1024**2
    batch_timeout_s: float = 30.0
    block_timeout_s: float = 1.0
    max_open_files: int = 256
    network: str = "declared"
    allow: tuple[str, ...] = ()


class Source(Struct):
    name: str
    write_keys: tuple[str, ...]


class Connection(Struct):
    name: str
    source: str
    destination: str
    settings: Mapping[str, Any]  # Any: the destination's own schema decides
    max_concurrency: int = 8
    rate_limit: float | None = None
    """Events per second."""
    max_backlog: int | None = None
    ordering: str = "none"
    weight: int = 1
    linger_s: float = 0.05
    batch_events: int | None = None
    batch_bytes: int | None = None
    enabled: bool = True


class Sandbox(Struct):
    profile: str = "strict"
    require: tuple[str, ...] = ()
    ca_file: Path | None = None
    proxy: str | None = None


class DestinationClass(Struct):
    """A destination: `module:Class`, built in or on the plugin paths."""

    name: str
    class_path: str


class Config(Struct):
    """A whole config, valid in itself. `pool_of` maps every connection's destination to a pool."""

    path: Path
    service: Service
    api: Api
    admin: Admin
    queue: QueueConfig
    retry: Retry
    pools: Mapping[str, Pool]
    sources: Mapping[str, Source]
    connections: Mapping[str, Connection]
    sandbox: Sandbox
    destinations: Mapping[str, DestinationClass]

    def pool_of(self, destination: str) -> str:
        """Name of the pool that runs `destination`: the one that names it, else the one with "*"."""
        for pool in self.pools.values():
            if destination in pool.destinations:
                return pool.name
        return next(pool.name for pool in self.pools.values() if "*" in pool.destinations)


class ConfigError(Exception):
    """Everything that is wrong with a config; one line each, `FILE: key.path: what`."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def load(path: Path, *, environ: Mapping[str, str]) -> Config:
    """Read and check a config file, secrets resolved. Raises ConfigError with all errors."""
    raise NotImplementedError
