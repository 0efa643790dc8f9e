"""What each worker is given to live in: a user, a control group and a scratch folder.

Owns that they are given before a worker is forked, and taken back when it is
gone. What each of them is, is the business of the three modules behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from sandbox.protocol import Spawn, Withheld
from supervisor.workers.resources import cgroups, priority, uids
from supervisor.workers.resources.cgroups import Cgroups
from supervisor.workers.resources.procfs import descendants
from supervisor.workers.resources.scratch import Scratch
from supervisor.workers.resources.uids import WorkerUids

#: Processes below a worker that are looked at, at most: past so many it matters no more how many.
MAX_PROCESSES = 16

#: What nothing but a control group limits at every moment.
_WITHOUT_CGROUP = (
    "memory of forks in the 20 ms until they are seen, each as much as its worker: no cgroup",
)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class WorkerResources:
    """`scratch` is None where workers get none: nothing is to be written to disk."""

    uids: WorkerUids
    cgroups: Cgroups
    scratch: Scratch | None
    _clearing: asyncio.Future[None] | None = field(default=None, init=False)

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
        """Make way for workers where an earlier service has left something."""
        if self.scratch is not None:
            self.scratch.prepare()

    def provisioned(self, order: Spawn) -> Spawn:
        """The order with what its worker is given. Raises OSError where the kernel refuses it
        for now."""
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

    def set_niceness(self, child: int, leader: int, niceness: int) -> bool:
        """What of the CPUs a worker may have; see `priority.set_niceness`."""
        self.cgroups.weigh(child, priority.weight_of(niceness))
        return priority.set_niceness(leader, niceness)

    def descriptors(self, child: int) -> tuple[int, ...]:
        """Those of `DESCRIPTORS` that stand for something given: of its scratch folder, if any."""
        held = None if self.scratch is None else self.scratch.descriptor(child)
        return () if held is None else (held,)

    def excess(self, child: int, pid: int) -> str:
        """What a worker has taken too much of, with what it has forked; empty where all is well."""
        if self.scratch is None:
            return ""
        return self.scratch.excess(child, [pid, *descendants(pid, MAX_PROCESSES)])

    def is_full(self, child: int) -> bool:
        """Whether a worker's scratch folder is, where that costs nothing to know."""
        return self.scratch is not None and self.scratch.is_full(child)

    def memory_bytes(self, child: int) -> int:
        """Memory that is a worker's and no process's: its files, where those are memory."""
        return 0 if self.scratch is None else self.scratch.memory_bytes(child)

    def limits(self) -> tuple[str, list[str]]:
        """For operators: what scratch space workers have, and what cannot be limited here."""
        unheld = [] if self.cgroups.node is not None else list(_WITHOUT_CGROUP)
        if self.scratch is None:
            return "none", unheld
        return self.scratch.text, unheld + [self.scratch.hidden] * bool(self.scratch.hidden)

    def ran_out_of_memory(self, child: int) -> bool:
        """Whether the kernel has ended a worker for its memory."""
        return self.cgroups.ran_out_of_memory(child)

    def vacate(self, child: int, then: Callable[[], None]) -> None:
        """A worker is gone: take back what it had, and call `then` when all of it is gone."""
        self.cgroups.remove(child)
        if self.scratch is None:
            then()
            return
        is_empty = self.scratch.is_empty(child)
        # In a thread: it may have left a hundred thousand files. Those it takes long to remove, or
        # that nobody may, are set aside: an exit is not kept waiting for them.
        try:
            removing = asyncio.get_running_loop().run_in_executor(None, self.scratch.remove, child)
        except RuntimeError as error:  # there is no thread to be had: the next start removes it
            if is_empty:
                self.scratch.remove(child)
            else:
                _log.warning("scratch_folder_stays", child=child, reason=str(error))
            then()
            return
        if is_empty:
            then()
        else:
            removing.add_done_callback(lambda _: then())

    def sweep(self) -> None:
        """Take back what could not be at once."""
        self.cgroups.sweep()
        is_clearing = self._clearing is not None and not self._clearing.done()
        if self.scratch is not None and self.scratch.has_aside and not is_clearing:
            loop = asyncio.get_running_loop()
            with contextlib.suppress(RuntimeError):  # no thread to be had: at the next look
                self._clearing = loop.run_in_executor(None, self.scratch.clear_aside)
