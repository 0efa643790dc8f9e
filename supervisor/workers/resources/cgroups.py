"""Control groups (cgroup v2): one for each worker, where this service was given a node of its own.

Owns the groups below the delegated node: makes and removes them, and sets what
the kernel enforces in them. A worker joins its group itself, first thing in its
jail. See https://systemd.io/CGROUP_DELEGATION/ and the kernel's cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sandbox.protocol import MAX_TASKS, Limits, Withheld
from supervisor.runtime.descriptors import REFUSED
from supervisor.workers.resources.priority import YIELDING, weight_of

_log = structlog.get_logger(__name__)

CGROUP_ROOT = Path("/sys/fs/cgroup")
#: Where the service itself is put, since a node that has children may hold no process: what the
#: unit calls DelegateSubgroup=, and what we make where systemd is too old to know that.
OWN_GROUP = "supervisor"
_PREFIX = "worker-"
_WANTED = ("memory", "pids", "cpu")
_NEEDED = ("memory", "pids")


@dataclass(slots=True)
class Cgroups:
    """`node` is the delegated one; None where there is none, and `withheld` is why.

    `rmdir` removes a group: with the files in it, as no other folder is.
    """

    node: Path | None
    withheld: str = ""
    rmdir: Callable[[Path], None] = os.rmdir
    _leftover: set[Path] = field(default_factory=set)

    def create(self, child: int, limits: Limits) -> str | Withheld:
        """A group for the worker with that number: its path, or why there is none.

        Raises OSError where the kernel refuses it for now: no worker goes without for that.
        """
        if self.node is None:
            return Withheld(self.withheld)
        group = self._group(child)
        try:
            group.mkdir(exist_ok=True)
            (group / "memory.max").write_text(str(limits.memory_limit))
            # All of it or nothing: a worker whose child was killed is no worker any more.
            (group / "memory.oom.group").write_text("1")
            (group / "pids.max").write_text(str(MAX_TASKS))
            with contextlib.suppress(FileNotFoundError):  # not every kernel has it
                (group / "memory.swap.max").write_text("0")
            self.weigh(child, weight_of(YIELDING))
        except OSError as error:
            if error.errno in REFUSED:
                raise
            return Withheld(f"{group}: {error.strerror}")
        return str(group)

    def weigh(self, child: int, weight: int) -> None:
        """Its share of the CPUs beside the others, 1 to 10,000; no more than a wish."""
        if self.node is not None:
            with contextlib.suppress(OSError):  # it is gone, or there is no such controller
                (self._group(child) / "cpu.weight").write_text(str(weight))

    def ran_out_of_memory(self, child: int) -> bool:
        """Whether the kernel has killed in this worker's group for its memory."""
        if self.node is None:
            return False
        try:
            text = (self._group(child) / "memory.events").read_text()
        except OSError:  # it is gone, or was never made
            return False
        counts = dict(line.split() for line in text.splitlines())
        return int(counts.get("oom_kill", 0)) > 0

    def remove(self, child: int) -> None:
        """End what is left in the group of a worker that is gone, and the group."""
        if self.node is not None:
            self._leftover.add(self._group(child))
            self.sweep()

    def sweep(self) -> None:
        """Remove the groups of workers that are gone; those not empty yet, next time."""
        for group in list(self._leftover):
            try:
                with contextlib.suppress(FileNotFoundError):  # before Linux 5.14
                    (group / "cgroup.kill").write_text("1")
                self.rmdir(group)
            except FileNotFoundError:
                pass  # it was never made
            except OSError:
                continue
            self._leftover.discard(group)

    def _group(self, child: int) -> Path:
        assert self.node is not None
        return self.node / f"{_PREFIX}{child}"


def delegated(
    root: Path = CGROUP_ROOT,
    own: str | None = None,
    *,
    is_marked: Callable[[Path], bool] | None = None,
    rmdir: Callable[[Path], None] = os.rmdir,
) -> Cgroups:
    """Find the node that this process was given, and make it ready for groups.

    `own` is what /proc/self/cgroup says. `is_marked` tells whether a node was
    delegated; by default by the mark that systemd leaves on it, or by being ours
    to write to where we are no root.
    """
    text = Path("/proc/self/cgroup").read_text() if own is None else own
    path = next((line[3:] for line in text.splitlines() if line.startswith("0::")), None)
    if path is None or not (root / "cgroup.controllers").exists():
        return Cgroups(None, f"no cgroup v2 at {root}")
    ours = root / path.lstrip("/")
    marked = is_marked or _is_marked
    node = next((node for node in (ours.parent, ours) if node != root and marked(node)), None)
    if node is None:
        return Cgroups(None, "no cgroup was delegated to this service (systemd: Delegate=yes)")
    try:
        lacking = _prepare(node, ours, rmdir)
    except OSError as error:
        return Cgroups(None, f"{node}: {error.strerror}")
    if lacking:
        return Cgroups(None, f"{node}: not given the controllers {', '.join(lacking)}")
    return Cgroups(node, rmdir=rmdir)


def _prepare(node: Path, ours: Path, rmdir: Callable[[Path], None]) -> list[str]:
    """Empty the node of processes, and hand its controllers down; those that are lacking."""
    available = (node / "cgroup.controllers").read_text().split()
    if lacking := [name for name in _NEEDED if name not in available]:
        return lacking
    if ours == node:
        group = node / OWN_GROUP
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))
    for stale in node.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # not empty: it is somebody's, and none of ours
            rmdir(stale)
    wanted = [f"+{name}" for name in _WANTED if name in available]
    (node / "cgroup.subtree_control").write_text(" ".join(wanted))
    return []


def _is_marked(node: Path) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(node, name) == b"1":
                return True
        except OSError:
            continue  # no such mark, or none that we may see
    return os.geteuid() != 0 and os.access(node / "cgroup.procs", os.W_OK)
