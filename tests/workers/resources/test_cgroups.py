"""Control groups of workers, on a tree of plain files; for real they are tried in the VM."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sandbox.jail import cgroup
from sandbox.protocol import MAX_TASKS, Limits, Withheld
from supervisor.workers.resources.cgroups import Cgroups, delegated
from supervisor.workers.resources.priority import BEHIND, weight_of

LIMITS = Limits(256 * 1024**2, 192 * 1024**2, 256, 1.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's /sys/fs/cgroup with a unit that was delegated to us."""
    for name in ("", "system.slice", "system.slice/b.service", "system.slice/b.service/supervisor"):
        node = tmp_path / name
        node.mkdir(exist_ok=True)
        (node / "cgroup.controllers").write_text("cpu io memory pids\n")
        (node / "cgroup.subtree_control").write_text("")
        (node / "cgroup.procs").write_text("")
    return tmp_path


def unit_of(root: Path) -> Path:
    return root / "system.slice/b.service"


def found(root: Path, own: str) -> Cgroups:
    return delegated(
        root, f"0::{own}\n", is_marked=lambda node: node == unit_of(root), rmdir=shutil.rmtree
    )


def test_service_in_a_subgroup_uses_the_unit(root: Path) -> None:
    """With DelegateSubgroup= the node above us is the delegated one, and is left as it is."""
    groups = found(root, "/system.slice/b.service/supervisor")
    assert groups.node == unit_of(root)
    assert (unit_of(root) / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


def test_service_in_the_node_itself_moves_out_of_it(root: Path) -> None:
    """An older systemd starts us in the node, which may then have no children."""
    groups = found(root, "/system.slice/b.service")
    assert groups.node == unit_of(root)
    moved = (unit_of(root) / "supervisor/cgroup.procs").read_text()
    assert moved == str(os.getpid())


def test_worker_has_a_group_with_its_pool_s_limits(root: Path) -> None:
    """Memory and processes are bounded, and one that runs out ends as a whole."""
    groups = found(root, "/system.slice/b.service/supervisor")
    path = groups.create(7, LIMITS)
    assert isinstance(path, str)
    group = Path(path)
    assert group.parent == unit_of(root)
    assert (group / "memory.max").read_text() == str(LIMITS.memory_limit)
    assert (group / "memory.oom.group").read_text() == "1"
    assert (group / "pids.max").read_text() == str(MAX_TASKS)
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n")
    assert groups.ran_out_of_memory(7)
    assert not groups.ran_out_of_memory(8)
    groups.remove(7)
    assert not group.exists()


def test_share_of_the_cpus_is_the_group_s_weight(root: Path) -> None:
    """Niceness counts within a group only; the supervisor's own weighs the usual 100."""
    groups = found(root, "/system.slice/b.service/supervisor")
    weight = Path(str(groups.create(7, LIMITS))) / "cpu.weight"
    assert weight.read_text() == "33"
    groups.weigh(7, weight_of(BEHIND))
    assert weight.read_text() == "11"
    groups.weigh(8, 100)


def test_group_that_is_not_empty_is_removed_later(root: Path) -> None:
    """A process takes a moment to die; its group goes with the next sweep."""
    busy = [True]

    def rmdir(group: Path) -> None:
        if busy[0]:
            raise OSError(16, "busy")
        shutil.rmtree(group)

    groups = Cgroups(unit_of(root), rmdir=rmdir)
    group = Path(str(groups.create(1, LIMITS)))
    groups.remove(1)
    assert group.exists()
    assert (group / "cgroup.kill").read_text() == "1"
    busy[0] = False
    groups.sweep()
    assert not group.exists()


def test_groups_of_an_earlier_service_are_removed(root: Path) -> None:
    """What a killed supervisor has left behind."""
    (unit_of(root) / "worker-3").mkdir()
    found(root, "/system.slice/b.service/supervisor")
    assert not (unit_of(root) / "worker-3").exists()


@pytest.mark.parametrize(
    ("own", "controllers", "reason"),
    [
        ("12:memory:/x\n", "memory pids", "no cgroup v2"),
        ("0::/\n", "memory pids", "no cgroup was delegated"),
        ("0::/system.slice\n", "memory pids", "no cgroup was delegated"),
        ("0::/system.slice/b.service/supervisor\n", "cpu", "not given the controllers memory"),
    ],
)
def test_no_group_says_why(root: Path, own: str, controllers: str, reason: str) -> None:
    """cgroup v1, no delegation, and missing controllers each have a reason of their own."""
    (unit_of(root) / "cgroup.controllers").write_text(controllers)
    groups = delegated(root, own, is_marked=lambda node: node == unit_of(root))
    given = groups.create(1, LIMITS)
    assert isinstance(given, Withheld)
    assert reason in given.reason
    groups.remove(1)  # and nothing to remove


def test_worker_says_why_it_has_no_group(tmp_path: Path) -> None:
    """One that it was not given, and one that it cannot join."""
    assert cgroup.join(Withheld("no cgroup v2")) == "no cgroup v2"
    assert "No such file" in cgroup.join(str(tmp_path / "none"))
