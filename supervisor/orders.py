"""What a pool's workers run under, and the order to fork one.

Owns the translation from a pool's plan to `protocol.Spawn`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.protocol import Limits, Spawn, Withheld

#: What `Workforce` gives to each worker as it is forked.
_LATER = Withheld("not given yet")


@dataclass(frozen=True, slots=True)
class PoolPlan:
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
        )
