"""What runs is the code of the last good reload: whatever is put in place meanwhile is nobody's."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.harness.service import RunningService, writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.test_reload import PLUGINS, Sections, logged

#: Seconds for what takes one or two on a quiet machine.
SOON_S = 30.0

GOOD = """
from pathlib import Path
from destinations.kit import Delivered, Destination
import helper
{top}
class Own(Destination):
    name = "own"
    async def deliver(self, events):
        data = (Path(__file__).parent / "data.txt").read_text().strip()
        with open({diary!r}, "a") as file:
            for event in events:
                file.write(f"own {{helper.VALUE}} {{data}} {{event['event']}}\\n")
        return [Delivered() for _ in events]
"""


class World:
    """A service with a plugin of its own, which has a helper and a data file, and a neighbour."""

    def __init__(self, folder: Path, start: StartService, top: str = "") -> None:
        self.folder = folder / "plugins"
        self.diary = folder / "diaries" / "own"
        self.neighbours = folder / "diaries" / "neighbours"
        self.folder.mkdir()
        self.diary.parent.mkdir()
        for file in (self.diary, self.neighbours):  # workers may have users of their own
            file.touch()
            file.chmod(0o666)
        self.write(top=top)
        self.service: RunningService = start(self.sections())
        self._events = 0

    def write(self, *, top: str = "", helper: str = "1", data: str = "a") -> None:
        """The plugin's files."""
        (self.folder / "own.py").write_text(GOOD.format(diary=str(self.diary), top=top))
        (self.folder / "helper.py").write_text(f"VALUE = {helper}\n")
        (self.folder / "data.txt").write_text(data)

    def sections(self) -> Sections:
        return {
            "service": {"plugin_paths": [str(self.folder), PLUGINS]},
            "pools.default": {
                "destinations": ["*"],
                "workers": 1,
                "spares": 1,
                "write_paths": [writable(self.diary)],
            },
            "destinations.own": {"class": "own:Own"},
            "destinations.diary": {"class": "trials:Diary"},
            "connections.own": {"source": "test", "destination": "own"},
            "connections.neighbour": {
                "source": "test",
                "destination": "diary",
                "settings": {"path": str(self.neighbours)},
            },
        }

    def send(self) -> str:
        """One event more; its name."""
        self._events += 1
        name = f"e{self._events}"
        post(self.service.url, [track(name, event=name)])
        return name

    def wrote(self) -> str:
        """What the plugin makes of one event more: its helper's value and its data."""
        name = self.send()
        wait_until(lambda: f" {name}\n" in self.diary.read_text(), SOON_S, f"{name} is delivered")
        line = next(
            line for line in self.diary.read_text().splitlines() if line.endswith(f" {name}")
        )
        return line.removeprefix("own ").removesuffix(f" {name}")

    def reload(self, outcome: str = "config_reloaded") -> None:
        """SIGHUP, and what comes of it."""
        before = len(logged(self.service, outcome))
        os.kill(self.service.pid, signal.SIGHUP)
        wait_until(
            lambda: len(logged(self.service, outcome)) > before, SOON_S, f"the log has {outcome}"
        )

    def kill_workers(self) -> None:
        """All that there are, spares too; until others serve."""
        before = set(self.service.worker_pids())
        for pool in self.service.admin("/status")["pools"]:
            for worker in [*pool["workers"], *pool["spares"]]:
                if worker["pid"]:
                    os.kill(worker["pid"], signal.SIGKILL)
        wait_until(
            lambda: set(self.service.worker_pids()) - before != set(), SOON_S, "others serve"
        )


@pytest.fixture
def world(tmp_path: Path, running_service: StartService) -> World:
    return World(tmp_path, running_service)


BROKEN = {
    "hangs": "import time\ntime.sleep(600)\n",
    "dies": "import os\nos._exit(3)\n",
    "is half-written": "def deliver(self, eve",
    "is gone": None,
}


@pytest.mark.parametrize("what", BROKEN)
def test_code_that_is_put_in_place_is_nobodys_until_a_reload(world: World, what: str) -> None:
    """A worker that is replaced starts from what was good; a reload refuses what is not."""
    source = BROKEN[what]
    if source is None:
        (world.folder / "own.py").unlink()
    else:
        (world.folder / "own.py").write_text(source)
    (world.folder / "helper.py").write_text("VALUE = 2\n")
    (world.folder / "data.txt").write_text("b")
    world.kill_workers()
    assert world.wrote() == "1 a"
    world.reload("reload_refused")
    assert "own" in logged(world.service, "reload_refused")[0]["error"]
    world.kill_workers()
    assert world.wrote() == "1 a"
    world.write(helper="3", data="c")
    world.reload()
    wait_until(lambda: world.wrote() == "3 c", SOON_S, "the new code runs")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: (folder / "data.txt").write_text("b"), "1 b"),
        (lambda folder: (folder / "helper.py").write_text("VALUE = 2\n"), "2 a"),
    ],
    ids=["data", "helper"],
)
def test_a_file_beside_a_plugin_is_code(
    world: World, change: Callable[[Path], object], expected: str
) -> None:
    """A data file or a helper alone: the old until a reload, then the new, restarts included."""
    assert world.wrote() == "1 a"
    change(world.folder)
    world.kill_workers()
    assert world.wrote() == "1 a"
    world.reload()
    wait_until(lambda: world.wrote() == expected, SOON_S, "the new runs")
    world.service.stop()
    world.service.start()
    assert world.wrote() == expected


def test_a_reload_that_changes_nothing_renews_nobody(world: World) -> None:
    """Files that are touched, and byte code beside them, are the same content."""
    wait_until(lambda: len(world.service.worker_pids()) == 1, SOON_S, "its worker serves")
    before = world.service.worker_pids()
    os.utime(world.folder / "own.py")
    (world.folder / "__pycache__").mkdir()
    (world.folder / "__pycache__" / "own.pyc").write_text("")
    world.reload()
    assert world.service.worker_pids() == before


def test_what_cannot_be_imported_any_more_is_left_out(
    tmp_path: Path, running_service: StartService
) -> None:
    """Code that was good and, by time, is not: its culprit is found, and neighbours go on."""
    until = time.time() + 15
    top = f"import os, time\nif time.time() > {until}:\n    os._exit(3)\n"
    world = World(tmp_path, running_service, top)
    assert world.wrote() == "1 a"
    time.sleep(max(0.0, until - time.time()))
    for pool in world.service.admin("/status")["pools"]:
        for worker in [*pool["workers"], *pool["spares"]]:
            os.kill(worker["pid"], signal.SIGKILL)
    name = world.send()
    wait_until(
        lambda: name in world.neighbours.read_text(),
        120,
        "the neighbour goes on",
    )
    (line,) = logged(world.service, "destination_left_out")
    assert line["destination"] == "own"
    queue = world.service.queue_of("own")
    assert queue["depth"] == 1
    assert json.dumps(queue["state_reason"])


def test_config_and_queue_in_a_plugin_folder_are_shown_to_nobody(
    tmp_path: Path, running_service: StartService
) -> None:
    """`plugin_paths = ["."]`, where config and state lie: the log names what is shielded."""
    folder = tmp_path / "service"
    folder.mkdir()
    spy = (
        "import os, pathlib\n"
        "from destinations.kit import Destination\n"
        "here = pathlib.Path(__file__).parent\n"
        "print('SEES', sorted(p.name for p in here.rglob('*')), flush=True)\n"
        "class Spy(Destination):\n    name = 'spy'\n"
    )
    service = running_service({})
    service.stop()
    (service.directory / "spy.py").write_text(spy)
    (service.directory / "notes.txt").write_text("no secret")
    other = RunningService(
        service.directory,
        {
            "service": {"plugin_paths": [str(service.directory)]},
            "destinations.spy": {"class": "spy:Spy"},
            "connections.spy": {"source": "test", "destination": "spy"},
        },
    )
    other.start()
    try:
        shielded = {Path(line["path"]).name for line in logged(other, "plugin_path_shielded")}
        assert shielded == {"bulkhead.toml", "state"}
        wait_until(lambda: "SEES" in other.log_path.read_text(), SOON_S, "it was imported")
        text = other.log_path.read_text()
        seen = text[text.index("SEES") :].splitlines()[0]
        assert "spy.py" in seen
        assert "notes.txt" in seen
        assert "bulkhead.toml" not in seen
        assert "queue" not in seen
    finally:
        other.stop()
