"""The jail under systemd: all layers that need no root, and the kernel's limits on workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.harness.waiting import wait_until
from tests.vm.conftest import Sink
from tests.vm.test_service import to_sink
from tests.vm.unit import WITHIN_S, Unit, run


def workers(unit: Unit) -> list[dict[str, Any]]:
    """The workers of the only pool. Any: JSON."""
    found: list[dict[str, Any]] = unit.admin("/status")["pools"][0]["workers"]
    return found


def group_of(pid: int) -> Path:
    """The control group of a process."""
    (line,) = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return Path("/sys/fs/cgroup") / line.removeprefix("0::/")


def test_every_layer_but_the_users_is_in_force(unit: Unit, sink: Sink) -> None:
    """As an ordinary user with a delegated cgroup; the workers share that user, and it is said."""
    unit.install(to_sink())
    unit.start()
    layers = unit.admin("/status")["sandbox"]
    assert layers.pop("uid").startswith("not started as root")
    assert set(layers.values()) == {"on"}, layers


def test_worker_that_runs_out_of_memory_dies_alone(unit: Unit, sink: Sink) -> None:
    """The kernel ends all of its group for `oom`; the others, and the service, go on."""
    unit.install(to_sink())
    unit.start()
    wait_until(lambda: all(w["pid"] for w in workers(unit)), WITHIN_S, "both workers serve")
    victim, other = workers(unit)
    group = group_of(victim["pid"])
    assert group.parent == unit.cgroup
    assert group != group_of(other["pid"])
    assert int((group / "memory.max").read_text()) == 256 * 1024**2
    supervisor = unit.pid
    # What it has already is too much now: the kernel does not wait for it to ask for more.
    (group / "memory.max").write_text(str(64 * 1024))
    wait_until(lambda: workers(unit)[0]["last_exit"] is not None, WITHIN_S, "an exit")
    end = workers(unit)[0]["last_exit"]
    assert end["reason"] == "oom", end
    assert workers(unit)[1]["pid"] == other["pid"]
    assert unit.pid == supervisor
    wait_until(lambda: not group.exists(), WITHIN_S, "its group is removed")
    unit.send(["after"])
    unit.wait_for_delivery(1)


def test_nothing_gets_through_here(unit: Unit, sink: Sink) -> None:
    """`bulkhead check --jail` on this kernel, as root."""
    unit.install(to_sink())
    unit.start()
    said = run(
        "/opt/bulkhead/bin/bulkhead",
        "check",
        "--config",
        "/etc/bulkhead/bulkhead.toml",
        "--jail",
    )
    assert "GOT THROUGH" not in said
