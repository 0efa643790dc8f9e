"""`/etc/resolv.conf` as containers have it: a file that is mounted there, under a real service."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from supervisor.egress.names import LOOK_EVERY_S, RESOLV_CONF
from tests.harness.background import Background
from tests.harness.dns import NameServer
from tests.harness.service import RunningService
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.test_reload import logged, reload

#: Each has a source and a host name of its own, so that nobody has asked for it before.
NAMES = ("one", "two", "three")
#: In a mount namespace of its own: mounts $1 over the system's file, and becomes the rest.
ENTER = ("unshare", "--mount", "--propagation", "private")
MOUNT = f'mount --bind "$1" {RESOLV_CONF} && shift && exec "$@"'


@dataclass
class Container:
    """A service over whose file of name servers another one is mounted."""

    service: RunningService
    conf: Path
    """The other one, from outside."""
    old: NameServer
    new: NameServer
    new_conf: str

    def asked(self, name: str) -> tuple[int, int]:
        """How often the old and the new name server were asked for that one's host."""
        host = f"{name}.example"
        return self.old.asked[host], self.new.asked[host]

    def deliver(self, name: str) -> None:
        """Send an event to it, which has to arrive."""
        before = self.service.books()["delivered_first_try"]
        post(self.service.url, [track(f"m-{name}")], write_key=f"key-{name}")
        self.service.wait_for(lambda books: books["delivered_first_try"] == before + 1, 30)


def look() -> None:
    """Wait until the next name that is asked for comes with a look at the file."""
    until = time.monotonic() + LOOK_EVERY_S
    wait_until(lambda: time.monotonic() > until, LOOK_EVERY_S + 10, "a look is due")


@pytest.fixture
def container(tmp_path: Path, sink: SinkProcess) -> Iterator[Container]:
    """Two name servers on the port that such a file means, the old one named in it."""
    if os.geteuid() != 0 or shutil.which("nsenter") is None:
        pytest.skip("needs root: mounts a file over the system's")
    if subprocess.run([*ENTER, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs root that may have a mount namespace of its own")
    if not Path(RESOLV_CONF).exists():
        pytest.skip(f"needs root with an {RESOLV_CONF} to mount over")
    port = int(sink.url.rstrip("/").rpartition(":")[2])
    old, new = (
        NameServer({f"{name}.example": [["127.0.0.1"]] for name in NAMES}) for _ in range(2)
    )
    with Background() as loop:
        texts = [f"nameserver {loop.run(on_port_53(server))}\n" for server in (old, new)]
        conf = tmp_path / "resolv.conf"
        conf.write_text(texts[0])
        service = RunningService(
            tmp_path / "service",
            {
                "pools.default": {"destinations": ["*"], "allow": [f"127.0.0.1:{port}"]},
                **{f"sources.{name}": {"write_key": f"key-{name}"} for name in NAMES},
                **{
                    f"connections.{name}": {
                        "source": name,
                        "destination": "webhooks",
                        "settings": {"url": f"http://{name}.example:{port}/"},
                    }
                    for name in NAMES
                },
            },
            prefix=(*ENTER, "sh", "-c", MOUNT, "sh", str(conf)),
        )
        try:
            yield Container(service.start(), conf, old, new, texts[1])
            service.stop()
        finally:
            service.kill()
            for server in (old, new):
                loop.run(server.stop())


async def on_port_53(server: NameServer) -> str:
    """Have it serve at an address of loopback that is nobody else's; the address."""
    while True:
        host = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
        try:
            return (await server.start(host, 53)).rpartition(":")[0]
        except OSError:
            continue  # somebody has it


def rewrite(container: Container) -> None:
    """As Docker does: the same file, other words."""
    container.conf.write_text(container.new_conf)


def mount_anew(container: Container) -> None:
    """As an operator does who has mended it: another file in the place of the one that is there."""
    other = container.conf.with_name("other.conf")
    other.write_text(container.new_conf)
    mount(container.service, other)


def mount(service: RunningService, file: Path) -> None:
    """Mount a file where the service's is, in its place: nothing can be mounted over a lost one."""
    command = ["nsenter", "--target", str(service.pid), "--mount", "sh", "-ec"]
    anew = f'umount {RESOLV_CONF} && mount --bind "$0" {RESOLV_CONF}'
    subprocess.run([*command, anew, str(file)], check=True)


@pytest.mark.parametrize("by_reload", [False, True], ids=["by a look", "by a reload"])
@pytest.mark.parametrize("change", [rewrite, mount_anew])
def test_a_mounted_file_that_changes_is_followed(
    container: Container, change: Callable[[Container], None], by_reload: bool
) -> None:
    """By the next name that is asked for after two seconds, or at once by a reload."""
    container.deliver("one")
    assert container.asked("one") == (1, 0)
    change(container)
    if by_reload:
        reload(
            container.service,
            {name: dict(values) for name, values in container.service.sections.items()},
        )
    else:
        look()
    container.deliver("two")
    assert container.asked("two") == (0, 1)


def test_a_mounted_file_that_is_replaced_outside(container: Container) -> None:
    """Nobody inside can see the new one: the old name servers are asked on, and the log says so.

    Once the new one is mounted, it is followed.
    """
    container.deliver("one")
    beside = container.conf.with_name("beside")
    beside.write_text(container.new_conf)
    beside.replace(container.conf)
    look()
    container.deliver("two")
    assert container.asked("two") == (1, 0)
    (line,) = logged(container.service, "resolv_conf_replaced")
    assert line["path"] == RESOLV_CONF
    mount(container.service, container.conf)
    look()
    container.deliver("three")
    assert container.asked("three") == (0, 1)
    assert len(logged(container.service, "resolv_conf_replaced")) == 1
