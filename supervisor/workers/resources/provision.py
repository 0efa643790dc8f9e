"""What each worker is given to live in: a user, a control group and a scratch folder.

Owns that they are given before a worker is forked, and taken back when it is
gone. What each of them is, is the business of the three modules behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from sandbox.protocol import Spawn, Withheld
from supervisor.workers.resources import cgroups, uids
from supervisor.workers.resources.cgroups import Cgroups
from supervisor.workers.resources.scratch import Scratch
from supervisor.workers.resources.uids import WorkerUids

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """`scratch` is None where workers get none: nothing is to be written to disk."""

    uids: WorkerUids
    cgroups: Cgroups
    scratch: Scratch | None

    @classmethod
    def of_service(cls, state_dir: Path) -> WorkerResources:
        """All that this machine gives to a service with that state directory."""
        return cls(
            uids.available(state_dir),
            cgroups.delegated(),
            # No links: workers follow it from a root folder other than their own.
            Scratch(state_dir.resolve() / "scratch"),
        )

    @classmethod
    def of_command(cls, state_dir: Path, scratch: Path | None = None) -> WorkerResources:
        """For the workers of a command; `scratch` is a folder for theirs, where they write."""
        return cls(
            uids.available(state_dir),
            Cgroups(None, "left to the service that runs here"),
            None if scratch is None else Scratch(scratch),
        )

    def prepare(self) -> None:
        """Clear away what an earlier service has left. Raises OSError."""
        if self.scratch is not None:
            self.scratch.prepare()

    def provisioned(self, order: Spawn) -> Spawn:
        """The order with what its worker is given."""
        uid = self.uids.of(order.child)
        scratch = (
            Withheld("none is given to a worker that only declares")
            if self.scratch is None or order.declare
            else self.scratch.create(order.child, uid)
        )
        if isinstance(scratch, Withheld) and not order.declare:
            _log.warning("worker_without_scratch", child=order.child, reason=scratch.reason)
        cgroup = self.cgroups.create(order.child, order.limits)
        return msgspec.structs.replace(order, uid=uid, cgroup=cgroup, scratch=scratch)

    def excess(self, child: int) -> str:
        """What a worker has taken too much of; empty where all is well."""
        return "" if self.scratch is None else self.scratch.excess(child)

    def ran_out_of_memory(self, child: int) -> bool:
        """Whether the kernel has ended a worker for its memory."""
        return self.cgroups.ran_out_of_memory(child)

    def vacate(self, child: int, then: Callable[[], None]) -> None:
        """A worker is gone: take back what it had, and call `then` when all of it is gone."""
        self.cgroups.remove(child)
        if self.scratch is None or self.scratch.remove_empty(child):
            then()
            return
        # In a thread: it may have left a hundred thousand files.
        removing = asyncio.get_running_loop().run_in_executor(None, self.scratch.remove, child)
        removing.add_done_callback(lambda _: then())

    def sweep(self) -> None:
        """Take back what could not be at once."""
        self.cgroups.sweep()
