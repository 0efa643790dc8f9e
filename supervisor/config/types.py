"""The config's types: what a loaded config is.

Owns the sections, their defaults (written nowhere else) and the few questions
that a whole config answers by itself. Must not read files or environments.
Sizes are bytes and durations seconds, once loaded.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

KIB, MIB, GIB = 1024, 1024**2, 1024**3
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

#: Where a destination may connect to: the hosts it declares, public addresses, or anywhere.
NETWORKS = ("declared", "public", "any")
#: In which order deliveries of one connection go out.
ORDERINGS = ("none", "user")
#: What the console shows of events: their values masked, all of them, or none.
PAYLOADS = ("masked", "full", "none")
#: Engines behind the queue.
ENGINES = ("sqlite",)
#: The pool that runs every destination which no other pool names has this among its destinations.
ANY_DESTINATION = "*"


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Common to all sections: their text form leaves out what may be secret."""

    hidden: ClassVar[tuple[str, ...]] = ()

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # Any: msgspec's own signature
        return [
            (field, "(hidden)" if field in self.hidden else getattr(self, field))
            for field in self.__struct_fields__
        ]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


class Address(Struct, frozen=True, kw_only=True):
    """Where to listen: a UNIX socket where `path` is set, TCP otherwise; port 0 is any free one."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it: loopback, or a UNIX socket."""
        if self.path is not None or self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False  # a host name may mean any address

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Service(Struct, frozen=True, kw_only=True):
    """`drain_timeout_s`: how long a stop waits for batches in flight; then they are pending.

    `snapshots`: bytes of kept heap snapshots, of which the oldest go first.
    """

    state_dir: Path = Path("/var/lib/bulkhead")
    plugin_paths: tuple[Path, ...] = ()
    plugin_origins: tuple[Path, ...] = ()
    """What `plugin_paths` are copies of, where they are; no key of a file."""
    drain_timeout_s: float = 30.0
    snapshots: int = GIB


class Api(Struct, frozen=True, kw_only=True):
    """The tracking API; sizes count after gunzip."""

    listen: Address = Address(host="127.0.0.1", port=8190)
    max_event: int = 32 * KIB
    max_request: int = 500 * KIB


class Admin(Struct, frozen=True, kw_only=True):
    """Metrics, status and debug; `token` is always set where `listen` is not local.

    `hosts`: further names that requests may call it by, such as a proxy's, in lower case.
    `user_header`: in which header a proxy says who calls; believed on a UNIX socket alone.
    """

    hidden = ("token", "view_token")

    listen: Address = Address(host="127.0.0.1", port=9190)
    token: str | None = None
    """Of operators."""
    view_token: str | None = None
    """Of viewers, who see shapes and counts and change nothing."""
    hosts: tuple[str, ...] = ()
    user_header: str | None = None


class Console(Struct, frozen=True, kw_only=True):
    """The web console and what it keeps. `trends` are bytes of disk, `tap` bytes of memory.

    `payloads`: what of events, requests and answers an operator sees there and what is kept of
    them; `mask` are paths in events that are masked beside the built-in ones.
    """

    enabled: bool = True
    payloads: str = "masked"
    mask: tuple[str, ...] = ()
    trends: int = 64 * MIB
    tap: int = 8 * MIB


class QueueConfig(Struct, frozen=True, kw_only=True):
    """Budgets of the durable queue. A `dedupe_window_s` of 0 turns deduplication off."""

    engine: str = "sqlite"
    max_pending: int = 2 * GIB
    dedupe_window_s: float = 24 * HOUR
    dedupe_budget: int = GIB
    dead_letters: int = GIB
    dead_letters_age_s: float = 30 * DAY
    history: int = 64 * MIB


class Retry(Struct, frozen=True, kw_only=True):
    """`window_s` runs from the first attempt."""

    window_s: float = 4 * HOUR
    first_delay_s: float = 1.0
    max_delay_s: float = 10 * MINUTE


class Pool(Struct, frozen=True, kw_only=True):
    """Workers that run a subset of the destinations, and what each of them may use.

    The loader sets `memory_soft_limit` to three quarters of `memory_limit`
    where the file gives only the latter.
    """

    name: str
    destinations: tuple[str, ...]
    workers: int = 2
    spares: int = 1
    memory_limit: int = 256 * MIB
    memory_soft_limit: int = 192 * MIB
    batch_timeout_s: float = 30.0
    block_timeout_s: float = 1.0
    max_open_files: int = 256
    network: str = "declared"
    allow: tuple[str, ...] = ()
    """`host:port` in lower case, or a CIDR block."""
    profile: str | None = None
    """None: that of the sandbox."""
    write_paths: tuple[Path, ...] = ()
    """Folders that its workers may write to beside their scratch folder."""


class Source(Struct, frozen=True, kw_only=True):
    """Where events come from; a write key belongs to one source."""

    hidden = ("write_keys",)

    name: str
    write_keys: tuple[str, ...]


class Connection(Struct, frozen=True, kw_only=True):
    """One source feeding one destination."""

    hidden = ("settings",)

    name: str
    source: str
    destination: str
    settings: Mapping[str, Any] = msgspec.field(default_factory=dict)
    # Any: the destination's own schema decides
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


class Sandbox(Struct, frozen=True, kw_only=True):
    """The jail that all workers share."""

    hidden = ("proxy",)  # its URL may carry a password

    profile: str = "strict"
    require: tuple[str, ...] = ()
    ca_file: Path | None = None
    proxy: str | None = None


class DestinationClass(Struct, frozen=True, kw_only=True):
    """A destination of one's own: `module:Class` on the plugin paths."""

    name: str
    class_path: str


class Config(Struct, frozen=True, kw_only=True):
    """A whole config, valid in itself: what it names exists, and every destination has a pool."""

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
    console: Console = Console()
    secrets: frozenset[str] = frozenset()
    """Every resolved secret, so that logs and listings can keep them out."""
    secret_settings: frozenset[tuple[str, str]] = frozenset()
    """Which settings came from secrets: (connection, dotted path below `settings`)."""
    secret_files: frozenset[Path] = frozenset()
    """Files with secrets in them, the config's own included: no worker may see them."""

    hidden = ("secrets",)

    def pool_of(self, destination: str) -> str:
        """Name of the pool that runs `destination`: the one that names it, else the one with "*".

        Raises LookupError where there is neither, which holds for no destination
        of a connection.
        """
        fallback: str | None = None
        for pool in self.pools.values():
            if destination in pool.destinations:
                return pool.name
            if ANY_DESTINATION in pool.destinations:
                fallback = pool.name
        if fallback is None:
            raise LookupError(f"no pool runs {destination}")
        return fallback

    def profile_of(self, pool: str) -> str:
        """How tight the jail of a pool's workers is: its own profile, else the sandbox's."""
        return self.pools[pool].profile or self.sandbox.profile

    def destinations_of(self, pool: str) -> tuple[tuple[str, str | None], ...]:
        """What the workers of a pool import: (name, class path or None for a built-in one), sorted.

        Those that connections of this config use, disabled ones included.
        """
        names = sorted({c.destination for c in self.connections.values()})
        return tuple(
            (name, self.destinations[name].class_path if name in self.destinations else None)
            for name in names
            if self.pool_of(name) == pool
        )


class ConfigError(Exception):
    """Everything that is wrong with a config; one line each, `FILE: key.path: what`."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors
