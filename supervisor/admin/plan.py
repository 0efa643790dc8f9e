"""The config file on disk, as the admin API speaks of it: what it would change, what a reload did.

Owns the shape of both answers. Must not read a config: `Planner` is the service's. A request names
no file and no setting: what is read is the file that the service was started with.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from supervisor.runtime.rfc3339 import rfc3339


class ChangedKeys(msgspec.Struct, frozen=True):
    """A section, or one of its tables, that is written differently: names of keys, no value."""

    name: str
    keys: list[str]


class GoneConnection(msgspec.Struct, frozen=True):
    """A connection that the file does not have any more; `pending` would become dead letters."""

    name: str
    pending: int


class PlannedPools(msgspec.Struct, frozen=True):
    """Pools by name. `replaced`: their workers end what they have and new ones start; `retuned`:
    their workers stay, or become more or fewer.
    """

    replaced: list[str] = []
    new: list[str] = []
    gone: list[str] = []
    retuned: list[str] = []


class PlannedConnections(msgspec.Struct, frozen=True):
    """Connections that come, change and go."""

    new: list[str] = []
    changed: list[ChangedKeys] = []
    gone: list[GoneConnection] = []


class PlannedSources(msgspec.Struct, frozen=True):
    """Sources that come, change and go."""

    new: list[str] = []
    changed: list[ChangedKeys] = []
    gone: list[str] = []


class PlannedChanges(msgspec.Struct, frozen=True):
    """What a config would change in the running service.

    sections: keys of `[service]`, `[retry]` and the like that are written differently.
    needs_restart: a sentence for each key that the running service cannot follow.
    is_code_changed: files in `service.plugin_paths` are others than those that workers run.
    """

    pools: PlannedPools = PlannedPools()
    connections: PlannedConnections = PlannedConnections()
    sources: PlannedSources = PlannedSources()
    sections: list[ChangedKeys] = []
    needs_restart: list[str] = []
    is_code_changed: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return self == PlannedChanges()


class ConfigPlan(msgspec.Struct, frozen=True):
    """What the file on disk would change, or why it cannot be followed; `read_at` epoch seconds."""

    changes: PlannedChanges
    errors: list[str]
    read_at: float

    @property
    def differs(self) -> bool:
        """Whether the running service is another than the file says."""
        return bool(self.errors) or not self.changes.is_empty


class ReloadOutcome(msgspec.Struct, frozen=True):
    """What came of a reload: with `errors` nothing has changed."""

    changes: PlannedChanges = PlannedChanges()
    errors: list[str] = []


class Planner(Protocol):
    """What the service does about its config file; `supervisor.app.reloading` implements it."""

    async def plan(self) -> ConfigPlan:
        """What the file on disk would change. Raises Busy while another asks."""

    async def reload(self) -> ReloadOutcome:
        """Follow the file on disk. Raises Busy where that takes longer than anybody waits."""

    def plan_differs(self) -> bool:
        """Whether the file on disk is another than the one that is followed; as last looked."""


def plan_json(planned: ConfigPlan) -> dict[str, object]:
    """A plan, as it is shown."""
    return {
        "differs": planned.differs,
        "errors": planned.errors,
        **_changes_json(planned.changes),
        "read_at": rfc3339(planned.read_at),
    }


def reload_json(outcome: ReloadOutcome) -> dict[str, object]:
    """What came of a reload, as it is shown."""
    return {
        "reloaded": not outcome.errors,
        "errors": outcome.errors,
        "changes": _changes_json(outcome.changes),
    }


def _changes_json(changes: PlannedChanges) -> dict[str, object]:
    return {name: getattr(changes, name) for name in changes.__struct_fields__}
