"""Layers one by one, each in a process of its own: what they do to it, and what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.protocol import LAYERS
from tests.harness.service import RunningService, ServiceFailed, config_text

ROOT = Path(__file__).parents[3]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to drop it")


def run(code: str, *arguments: str) -> dict[str, object]:
    """What a program that prints JSON says."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


THREAD = """
import json, threading
from sandbox import process
from sandbox.jail import landlock, paths, seccomp

begin, end = threading.Event(), threading.Event()
found = {}

def later():
    begin.wait()
    found["thread"] = seccomp.faults()
    end.set()

threading.Thread(target=later).start()
process.set_no_new_privs()
allowed = paths.allowed([], None, [], resolves_names=False)
found["landlock"] = landlock.restrict(allowed, may_connect=False)
found["seccomp"] = seccomp.restrict("strict", brokered=True)
begin.set()
end.wait()
print(json.dumps(found))
"""


def test_threads_that_exist_are_filtered_too() -> None:
    """seccomp reaches them; Landlock, which would not, says so and is not called on."""
    found = run(THREAD)
    assert found["thread"] == ""
    assert found["seccomp"] == "on"
    assert "thread exists" in str(found["landlock"])


ALONE = """
import json, os, sys
from sandbox.jail import alone

secret = os.open("/etc/hostname", os.O_RDONLY)
report = alone.enter()
found = {"report": report, "stdin": sys.stdin.read()}
for name, attempt in {
    "leaked": lambda: os.read(secret, 1),
    "read": lambda: open("/etc/passwd"),
    "write": lambda: open("/tmp/bulkhead-escaped", "w"),
    "socket": lambda: __import__("socket").socket(),
    "run": lambda: os.execv("/bin/true", ["true"]),
}.items():
    try:
        attempt()
        found[name] = "through"
    except OSError:
        found[name] = "stopped"
import wave  # what was not imported before still can be
print(json.dumps(found))
"""


def test_process_for_one_thing_can_do_that_alone() -> None:
    """It reads its input, writes its output, imports, and nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=ROOT,
        input="a snapshot",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    report = found.pop("report")
    assert found.pop("stdin") == "a snapshot"
    assert set(found.values()) == {"stopped"}, found
    assert report["seccomp"] == report["landlock"] == "on"


OPENED = """
import json, os, stat, sys
from pathlib import Path
from sandbox.jail import identity, openings

folder = Path(sys.argv[1])
closed = folder / "closed"
code = closed / "deep" / "code"
code.mkdir(parents=True)
(code / "module.py").write_text("X = 1")
(closed / "secret").write_text("secret")
closed.chmod(0o700)
folder.chmod(0o755)
before = openings.obstacle([str(code)])
identity.drop(1_900_000_001, "")
found = {"before": before, "module": (code / "module.py").read_text()}
found["beside"] = sorted(os.listdir(closed))
try:
    (closed / "new").touch()
    found["write"] = "through"
except OSError:
    found["write"] = "stopped"
print(json.dumps(found))
"""


@needs_root
def test_code_below_a_closed_folder_is_shown_to_workers_alone(open_folder: Path) -> None:
    """A worker with a uid of its own reads it at its place; its neighbours are not there."""
    found = run(OPENED, str(open_folder))
    assert found == {"before": "", "module": "X = 1", "beside": ["deep"], "write": "stopped"}
    assert sorted(os.listdir(open_folder / "closed")) == ["deep", "secret"]
    assert (open_folder / "closed").stat().st_mode & 0o777 == 0o700


AGAIN = """
import json, os, sys
from pathlib import Path
from sandbox.jail import identity, openings

folder = Path(sys.argv[1])
closed = folder / "closed"
for name in ("code", "plugins", "state"):
    (closed / name).mkdir(parents=True)
    (closed / name / "file").write_text(name)
closed.chmod(0o700)
folder.chmod(0o755)
openings.remember()
found = {"first": openings.obstacle([str(closed / "code")])}
found["hidden"] = sorted(os.listdir(closed))
found["outside"] = Path(openings.outside(str(closed / "state" / "file"))).read_text()
found["again"] = openings.obstacle([str(closed / "plugins")])
identity.drop(1_900_000_001, "")
found["shown"] = [(closed / name / "file").read_text() for name in sorted(os.listdir(closed))]
print(json.dumps(found))
"""


@needs_root
def test_a_worker_is_shown_more_of_a_folder_that_the_zygote_has_laid_over(
    open_folder: Path,
) -> None:
    """Plugins beside our code in a closed folder are found; what is beside both, by us alone."""
    found = run(AGAIN, str(open_folder))
    assert found == {
        "first": "",
        "hidden": ["code"],
        "outside": "state",
        "again": "",
        "shown": ["code", "plugins"],
    }
    assert sorted(os.listdir(open_folder / "closed")) == ["code", "plugins", "state"]


def test_unreadable_code_keeps_the_uid_and_says_so(tmp_path: Path) -> None:
    """A module that only its owner may read would not be found by another user."""
    from sandbox.jail import openings

    module = tmp_path / "plugin.py"
    module.write_text("")
    module.chmod(0o600)
    assert openings.unreadable([str(module)]) is not None


def test_required_layer_that_is_missing_refuses_the_start(tmp_path: Path) -> None:
    """The error names the layer and why this machine lacks it; this one has no cgroup to give."""
    service = RunningService(tmp_path, {"sandbox": {"require": ["seccomp", "cgroup"]}})
    with pytest.raises(ServiceFailed, match=r"exit status 2") as caught:
        service.start()
    assert "sandbox.require: cgroup is not in force here: no cgroup" in str(caught.value)


def test_required_layers_that_are_there_let_it_start(tmp_path: Path) -> None:
    """With no connection at all too: a worker is asked all the same."""
    layers = ["descriptors", "rlimits", "no_new_privs", "landlock", "seccomp", "egress"]
    service = RunningService(tmp_path, {"sandbox": {"require": layers}})
    service.start()
    try:
        said = service.admin("/status")["sandbox"]
        assert {layer: said[layer] for layer in layers} == dict.fromkeys(layers, "on")
    finally:
        service.stop()


def test_what_is_measured_as_unjailed_says_so_of_every_layer(tmp_path: Path) -> None:
    """The benchmark's own service has no jail and hides it nowhere; no config leads there."""
    service = RunningService(tmp_path, {}, module="scripts.benchmarks.unjailed")
    service.start()
    try:
        assert service.admin("/status")["sandbox"] == dict.fromkeys(LAYERS, "left out")
    finally:
        service.stop()


def test_check_of_a_config_without_connections_knows_the_layers(tmp_path: Path) -> None:
    """`bulkhead check` says what this machine gives, whatever runs on it."""
    config = tmp_path / "bulkhead.toml"
    config.write_text(config_text({"service": {"state_dir": str(tmp_path / "state")}}))
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", "check", "--config", str(config), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["layers"]["seccomp"] == "on"
