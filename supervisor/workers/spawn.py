"""What a pool's workers run under, and the order to fork one.

Owns the translation from a pool's plan to `protocol.Spawn`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.protocol import Limits, Spawn, Withheld
from supervisor.config import Config

#: What `WorkerFleet` gives to each worker as it is forked.
_LATER = Withheld("not given yet")


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """`destinations` is (name, class path or None for a built-in one)."""

    name: str
    workers: int
    spares: int
    batch_timeout_s: float
    limits: Limits
    profile: str
    ca_file: str | None
    destinations: tuple[tuple[str, str | None], ...]
    plugin_paths: tuple[str, ...]
    plugin_origins: tuple[str, ...] = ()
    write_paths: tuple[str, ...] = ()

    @property
    def loosenings(self) -> list[str]:
        """What these workers may do beyond the strict profile; one clause each."""
        found = []
        if self.profile == "relaxed":
            found.append("profile relaxed: its workers may make memory executable")
        if self.write_paths:
            found.append(f"its workers may write to {', '.join(self.write_paths)}")
        return found

    def order(
        self,
        child: int,
        label: str,
        *,
        declare: bool,
        destinations: tuple[tuple[str, str | None], ...] | None = None,
    ) -> Spawn:
        """The order to fork a worker of this pool; `destinations` where it is not to import all."""
        return Spawn(
            child,
            label,
            list(self.destinations if destinations is None else destinations),
            list(self.plugin_paths),
            self.limits,
            self.profile,
            self.ca_file,
            declare=declare,
            uid=_LATER,
            cgroup=_LATER,
            scratch=_LATER,
            write_paths=list(self.write_paths),
            plugin_origins=self.plugin_origins,
        )


def pool_spec_of(config: Config, pool: str, broken: Mapping[str, str]) -> PoolSpec:
    """What `pool` runs; destinations that could not be loaded are left out."""
    section = config.pools[pool]
    destinations = tuple(entry for entry in config.destinations_of(pool) if entry[0] not in broken)
    return PoolSpec(
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
        plugin_origins=tuple(map(str, config.service.plugin_origins)),
        write_paths=tuple(map(str, section.write_paths)),
    )
