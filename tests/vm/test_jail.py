"""The jail under systemd: all layers that need no root, and the kernel's limits on workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.harness.waiting import wait_until
from tests.vm.conftest import Sink
from tests.vm.test_service import to_sink
from tests.vm.unit import WITHIN_S, Unit, run

CHECK = "/opt/bulkhead/bin/bulkhead check --config /etc/bulkhead/bulkhead.toml --jail --json"
#: Where the unit's user writes what came of it.
ATTEMPTS = "/var/lib/bulkhead/attempts.json"
#: Some attacks of each kind, and the layers that stop each where workers share the service's user.
STOPPED_BY = {
    "read a file that others may read": {"landlock"},
    "read the supervisor's environment": {"landlock"},
    "open the supervisor's memory": {"landlock"},
    "make a file": {"landlock"},
    "execute a program": {"landlock", "seccomp"},
    "execute a file in memory": {"landlock", "seccomp"},
    "map memory to write and execute": {"seccomp"},
    "make a user namespace": {"seccomp"},
    "io_uring": {"seccomp"},
    "signal the supervisor": {"landlock", "seccomp"},
    "trace the supervisor": {"landlock", "seccomp"},
    "read its memory by call": {"landlock", "seccomp"},
    "leave the session": {"seccomp"},
    "connect by TCP": {"landlock", "seccomp"},
    "connect by MPTCP": {"seccomp"},
    "listen on any port": {"seccomp"},
    "take ten gigabytes": {"rlimits"},
}
#: What a user of its own, which only root can give a worker, stops as well.
BY_ITS_USER = {
    "read the supervisor's environment": {"uid"},
    "open the supervisor's memory": {"uid"},
    "signal the supervisor": {"uid"},
    "trace the supervisor": {"uid"},
    "read its memory by call": {"uid"},
}


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

    def ends() -> list[str]:
        found = unit.admin("/debug/exits")["exits"]
        return [end["reason"] for end in found if end["pid"] == victim["pid"]]

    wait_until(lambda: bool(ends()), WITHIN_S, "its exit")
    assert ends() == ["oom"]
    assert workers(unit)[1]["pid"] == other["pid"]
    assert unit.pid == supervisor
    wait_until(lambda: not group.exists(), WITHIN_S, "its group is removed")
    unit.send(["after"])
    unit.wait_for_delivery(1)


def tried(text: str) -> dict[str, list[str]]:
    """What `bulkhead check --jail --json` printed: which layers stop each attack, all stopped."""
    attempts = json.loads(text)
    assert [each["attack"] for each in attempts if not each["error"]] == []
    return {each["attack"]: sorted(each["layers"]) for each in attempts}


def test_nothing_gets_through_as_root(unit: Unit, sink: Sink, tmp_path: Path) -> None:
    """`bulkhead check --jail` by hand: the worker's own user stops its share."""
    unit.install(to_sink())
    unit.start()
    answer = tmp_path / "attempts.json"
    run("/bin/sh", "-c", f"{CHECK} > {answer}")
    layers = tried(answer.read_text())
    for attack, stopped_by in STOPPED_BY.items():
        assert layers[attack] == sorted(stopped_by | BY_ITS_USER.get(attack, set())), attack


def test_nothing_gets_through_as_the_units_own_user(unit: Unit, sink: Sink) -> None:
    """The same by the service's user and in the unit's own sandbox, as the service is started."""
    unit.install(to_sink())
    unit.drop_in(
        f'[Service]\nTimeoutStartSec=300s\nExecStartPost=/bin/sh -c "{CHECK} > {ATTEMPTS}"\n'
    )
    unit.start()
    layers = tried(unit.state(ATTEMPTS).read_text())
    for attack, stopped_by in STOPPED_BY.items():
        assert layers[attack] == sorted(stopped_by), attack
    assert {layer for found in layers.values() for layer in found} <= {
        "descriptors",
        "rlimits",
        "no_new_privs",
        "landlock",
        "seccomp",
    }
