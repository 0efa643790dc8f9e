"""Native code in workers that serve: none is new, and nothing that they do needs any."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import pytest

from tests.harness.as_user import MODULES, running_as
from tests.harness.jailed import ROOT
from tests.harness.service import RunningService
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")
#: Extension modules that no worker loads ahead; which of them there are depends on the build.
RARE = ("xxlimited", "_testbuffer", "_testcapi", "audioop", "nis", "_crypt", "readline")
WHAT_TO_DO = 'import it at the top of the destination\'s module, or set profile = "relaxed"'


def run(*command: str) -> object:
    """What a program that prints JSON says."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said: object = json.loads(done.stdout)
    return said


def rare() -> tuple[str, str]:
    """An extension module that no worker has, and its file."""
    for name in RARE:
        spec = importlib.util.find_spec(name)
        if spec is not None and isinstance(spec.loader, ExtensionFileLoader):
            return name, spec.loader.path
    pytest.skip("this Python has no extension module but those that workers have")


def test_nothing_that_a_worker_does_needs_new_code() -> None:
    """Journeys through all destinations, TLS, snapshots, profiles, encodings, standard modules."""
    assert run(sys.executable, "-m", "tests.sandbox.jail.programs.sealed") == {}


def reasons(service: RunningService, *events: str) -> list[str]:
    """What comes of these attempts of the plugin `Loads`, in turn."""
    post(service.url, [track(f"m{number}", event) for number, event in enumerate(events)])
    service.wait_for(lambda books: books["failed"] == len(events), within_s=40)
    letters = service.admin("/deadletters")["deadletters"]
    by_id = {letter["message_id"]: letter["reason"] for letter in letters}
    return [by_id[f"m{number}"] for number, _ in enumerate(events)]


def loading(folder: Path, profile: str) -> dict[str, dict[str, object]]:
    """A config with one connection to `Loads`, which may also write to a folder in `folder`."""
    name, file = rare()
    writable = folder / "out"
    writable.mkdir()
    writable.chmod(0o777)
    return {
        "service": {"plugin_paths": [PLUGINS]},
        "pools.default": {
            "destinations": ["*"],
            "workers": 1,
            "spares": 0,
            "profile": profile,
            "write_paths": [str(writable)],
        },
        "destinations.loads": {"class": "inmates:Loads"},
        "connections.trial": {
            "source": "test",
            "destination": "loads",
            "settings": {"module": name, "file": file, "folder": str(writable)},
        },
    }


@pytest.mark.parametrize("module", MODULES)
def test_worker_that_serves_loads_no_new_code(open_folder: Path, module: str) -> None:
    """Not from its scratch folder, a folder of `write_paths` or the system; it hears what to do,
    and so does the log. What is loaded already can be found, and callbacks can be made.
    """
    sections = loading(open_folder, "strict")
    name, file = rare()
    tries = ("scratch", "folder", "own library", "library", "module", "loaded", "callback")
    with running_as(module, open_folder, sections) as service:
        scratch, folder, own, library, extension, loaded, callback = reasons(service, *tries)
        assert scratch == folder == "PermissionError: [Errno 1] Operation not permitted"
        for said, kind, what in (
            (own, "OSError", f"{open_folder}/out/own.so"),
            (library, "OSError", file),
            (extension, "ImportError", name),
        ):
            assert said.startswith(f"{kind}: {what} is native code"), said
            assert WHAT_TO_DO in said
        assert (loaded, callback) == ("let through", "400")
        log = service.log_path.read_text()
        told = [line for line in log.splitlines() if "rule no-new-code" in line]
        assert len(told) >= 3
        assert all("trial" in line for line in told)


@pytest.mark.parametrize("module", MODULES)
def test_relaxed_worker_may_load_later(open_folder: Path, module: str) -> None:
    """What the error says is true: the same attempts in a pool of profile `relaxed`."""
    with running_as(module, open_folder, loading(open_folder, "relaxed")) as service:
        tries = ("folder", "own library", "library", "module")
        assert reasons(service, *tries) == ["let through"] * len(tries)


DIVERGED = """
import ctypes, json, threading
from sandbox import process
from sandbox.jail import kernel, seccomp

begin, installed, end = threading.Event(), threading.Event(), threading.Event()
process.set_no_new_privs()
seccomp.restrict("strict", brokered=True)

def filter_alone():
    allow = b"\\x06\\0\\0\\0" + (0x7FFF_0000).to_bytes(4, "little")
    found.append(attempt(0, allow))
    installed.set()
    end.wait()

def attempt(flags, program):
    number = seccomp._SECCOMP[seccomp._machine().column]
    try:
        kernel.syscall(number, 1, flags, seccomp._Program(len(program) // 8, program))
    except OSError as error:
        return error.strerror
    return "through"

found = []
thread = threading.Thread(target=filter_alone)
thread.start()
installed.wait()
succeed = b"\\x06\\0\\0\\0" + (0x0005_0000).to_bytes(4, "little")  # every call returns 0
is_seccomp = b"\\x20\\0\\0\\0\\0\\0\\0\\0" + b"\\x15\\0\\0\\1" + (
    seccomp._SECCOMP[seccomp._machine().column]
).to_bytes(4, "little")
allow = b"\\x06\\0\\0\\0" + (0x7FFF_0000).to_bytes(4, "little")
found.append(attempt(1, is_seccomp + succeed + allow))
found.append(seccomp.seal())
end.set()
print(json.dumps(found))
"""


def test_filter_that_is_not_in_force_is_not_said_to_be() -> None:
    """No thread gets a filter of its own; a filter that answers for ours is found out."""
    said = run(sys.executable, "-c", DIVERGED)
    assert said == ["Operation not permitted", "through", "a file could still be mapped to run"]
