"""SIGHUP: the config is followed without dropping anything, and never half."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartService
from tests.harness.service import RunningService, config_text, writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")

Sections = dict[str, dict[str, object]]


def base(diary: Path, **settings: object) -> Sections:
    return {
        "service": {"plugin_paths": [PLUGINS]},
        "pools.default": {
            "destinations": ["*"],
            "workers": 1,
            "spares": 1,
            "write_paths": [writable(diary)],
        },
        "destinations.diary": {"class": "trials:Diary"},
        "connections.one": {
            "source": "test",
            "destination": "diary",
            "settings": {"path": str(diary), **settings},
        },
    }


def logged(service: RunningService, message: str) -> list[dict[str, Any]]:
    """Log lines with this message. Any: JSON."""
    lines = service.log_path.read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [entry for entry in entries if entry.get("message") == message]


def reload(service: RunningService, sections: Sections, outcome: str = "config_reloaded") -> None:
    """Write another config, send SIGHUP, and wait until the log says what came of it."""
    full: Sections = {
        "service": {"state_dir": str(service.directory / "state")},
        "api": {"listen": f"127.0.0.1:{service.api_port}"},
        "admin": {"listen": f"127.0.0.1:{service.admin_port}"},
        "sources.test": {"write_key": "test-write-key"},
    }
    for name, values in sections.items():
        full[name] = {**full.get(name, {}), **values}
    before = len(logged(service, outcome))
    service.config_path.write_text(config_text(full))
    os.kill(service.pid, signal.SIGHUP)
    wait_until(lambda: len(logged(service, outcome)) > before, 20, outcome)


def serving(service: RunningService) -> list[int]:
    """Process id of the only worker of pool `default`, once it serves."""
    wait_until(lambda: bool(service.worker_pids()), 20, "the worker serves")
    return service.worker_pids()


def lines(diary: Path) -> list[list[str]]:
    """What a diary holds: message id and pid a line."""
    return [line.split() for line in diary.read_text().splitlines()] if diary.exists() else []


def test_new_connection_gets_events_from_then_on(
    running_service: StartService, tmp_path: Path
) -> None:
    """A connection that is added is served by the same workers, and gets what comes after it."""
    sections = base(tmp_path / "diaries" / "one")
    service = running_service(sections)
    workers = serving(service)
    post(service.url, [track("m1")])
    sections["connections.two"] = {
        "source": "test",
        "destination": "diary",
        "settings": {"path": str(tmp_path / "diaries" / "two")},
    }
    reload(service, sections)
    post(service.url, [track("m2")])
    service.wait_for(lambda books: books["accepted"] == 3 and books["pending"] == 0, within_s=20)
    assert [line[0] for line in lines(tmp_path / "diaries" / "two")] == ["m2"]
    assert service.worker_pids() == workers


def test_changed_settings_need_no_new_worker(running_service: StartService, tmp_path: Path) -> None:
    """Settings travel with the next batch; the worker that has them stays."""
    service = running_service(base(tmp_path / "diaries" / "one"))
    workers = serving(service)
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["pending"] == 0, within_s=20)
    reload(service, base(tmp_path / "diaries" / "other", version=2))
    post(service.url, [track("m2")])
    service.wait_for(lambda books: books["accepted"] == 2 and books["pending"] == 0, within_s=20)
    assert lines(tmp_path / "diaries" / "one") == [["m1", str(workers[0])]]
    assert lines(tmp_path / "diaries" / "other") == [["m2", str(workers[0])]]


def test_only_changed_pools_get_new_workers_and_nothing_is_dropped(
    running_service: StartService, tmp_path: Path
) -> None:
    """A pool with another limit is replaced between batches; its neighbour's processes stay."""
    sections = base(tmp_path / "diaries" / "one", seconds=0.2)
    sections["pools.other"] = {
        "destinations": ["second"],
        "workers": 1,
        "spares": 0,
        "write_paths": [writable(tmp_path / "diaries" / "two")],
    }
    sections["destinations.second"] = {"class": "trials:Diary"}
    sections["connections.two"] = {
        "source": "test",
        "destination": "second",
        "settings": {"path": str(tmp_path / "diaries" / "two"), "seconds": 0.2},
    }
    service = running_service(sections)
    wait_until(lambda: len(service.worker_pids()) == 2, 20, "a worker in each pool")
    before = {p["name"]: p["workers"][0]["pid"] for p in service.admin("/status")["pools"]}
    post(service.url, [track(f"m{n}") for n in range(200)])
    wait_until(lambda: bool(lines(tmp_path / "diaries" / "one")), 20, "deliveries under way")
    sections["pools.default"]["max_open_files"] = 200
    reload(service, sections)
    service.wait_for(lambda books: books["pending"] == 0, within_s=60)
    wait_until(lambda: len(service.worker_pids()) == 2, 20, "a worker in each pool")
    after = {p["name"]: p["workers"][0]["pid"] for p in service.admin("/status")["pools"]}
    assert after["other"] == before["other"]
    assert after["default"] != before["default"]
    for name in ("one", "two"):
        counts = Counter(line[0] for line in lines(tmp_path / "diaries" / name))
        assert counts == Counter({f"m{n}": 1 for n in range(200)})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            {"connections.one": {"source": "nobody", "destination": "diary"}},
            "connections.one.source",
        ),
        ({"pools.default": {"destinations": ["*"], "workers": "many"}}, "pools.default.workers"),
        (
            {
                "connections.one": {
                    "source": "test",
                    "destination": "diary",
                    "settings": {"path": 7},
                }
            },
            "connections.one.settings.path",
        ),
    ],
    ids=["unknown source", "wrong type", "settings that the destination refuses"],
)
def test_invalid_config_changes_nothing_and_says_so(
    running_service: StartService, tmp_path: Path, change: Sections, word: str
) -> None:
    """The running config stays in force, and the log names the key."""
    sections = base(tmp_path / "diaries" / "one")
    service = running_service(sections)
    workers = serving(service)
    reload(service, {**sections, **change}, outcome="reload_refused")
    assert any(word in entry["error"] for entry in logged(service, "reload_refused"))
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=20)
    assert service.worker_pids() == workers


def test_workers_get_nothing_of_the_state_in_use(
    running_service: StartService, tmp_path: Path
) -> None:
    """Also where the file names another one, which counts from the next start on."""
    sections = base(tmp_path / "diaries" / "one")
    service = running_service(sections)
    state = service.directory / "state"
    moved: Sections = {
        **sections,
        "service": {"plugin_paths": [PLUGINS], "state_dir": str(tmp_path / "moved")},
    }
    given: Sections = {
        **moved,
        "pools.default": {**sections["pools.default"], "write_paths": [str(state / "code")]},
    }
    reload(service, given, outcome="reload_refused")
    (refused,) = logged(service, "reload_refused")
    assert f"pools.default.write_paths[0]: {state}/code lies in service.state_dir" in (
        str(refused["error"])
    )
    shown: Sections = {
        **moved,
        "service": {**moved["service"], "plugin_paths": [PLUGINS, str(service.directory)]},
    }
    reload(service, shown)
    shielded = {entry["path"] for entry in logged(service, "plugin_path_shielded")}
    assert {str(state), str(service.config_path)} <= shielded
    assert not list((state / "code").glob("*/*/state"))


def test_required_layer_that_is_missing_refuses_the_reload(
    running_service: StartService, tmp_path: Path
) -> None:
    """The log names the layer and why this machine lacks it; workers and config stay."""
    sections = base(tmp_path / "diaries" / "one")
    service = running_service(sections)
    workers = serving(service)
    layers = service.admin("/status")["sandbox"]
    missing = next((layer for layer, state in layers.items() if state != "on"), None)
    if missing is None:
        pytest.skip("this machine lacks no layer")
    required: Sections = {**sections, "sandbox": {"require": ["descriptors", missing]}}
    # What comes with it must not be followed either.
    required["pools.default"] = {**sections["pools.default"], "workers": 2}
    reload(service, required, outcome="reload_refused")
    (refused,) = logged(service, "reload_refused")
    assert refused["error"] == (
        f"{service.config_path}: sandbox.require: {missing} is not in force here: {layers[missing]}"
    )
    assert refused["consequence"] == "the running config stays"
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=20)
    assert service.worker_pids() == workers
    # A later config that asks for no more than there is, is followed.
    reload(service, {**sections, "sandbox": {"require": ["descriptors"]}})


def test_pending_deliveries_of_a_removed_connection_become_dead_letters(
    running_service: StartService, tmp_path: Path
) -> None:
    """They are kept with that reason, and can be replayed when the connection is back."""
    sections = base(tmp_path / "diaries" / "one")
    sections["connections.two"] = {
        "source": "test",
        "destination": "diary",
        "settings": {"path": str(tmp_path / "diaries" / "two")},
    }
    service = running_service(sections)
    service.admin("/connections/two/pause", "POST")
    post(service.url, [track(f"m{n}") for n in range(5)])
    service.wait_for(lambda books: books["delivered_first_try"] == 5, within_s=20)
    without = {name: values for name, values in sections.items() if name != "connections.two"}
    reload(service, without)
    service.wait_for(lambda books: books["failed"] == 5 and books["pending"] == 0, within_s=20)
    letters = service.admin("/deadletters?connection=two")["deadletters"]
    assert len(letters) == 5
    assert all("config" in letter["reason"] for letter in letters)
    reload(service, sections)
    service.admin("/connections/two/resume", "POST")
    done = service.command(
        "deadletters", "replay", "--connection", "two", "--config", str(service.config_path)
    )
    assert done.returncode == 0, done.stderr
    service.wait_for(lambda books: books["pending"] == 0 and books["failed"] == 0, within_s=20)
    assert sorted(line[0] for line in lines(tmp_path / "diaries" / "two")) == [
        f"m{n}" for n in range(5)
    ]


def test_pause_holds_across_a_restart(running_service: StartService, tmp_path: Path) -> None:
    """What an operator has paused stays so until somebody resumes it."""
    service = running_service(base(tmp_path / "diaries" / "one"))
    service.admin("/connections/one/pause", "POST")
    post(service.url, [track("m1")])
    service.stop()
    service.start()
    (queue,) = service.admin("/status")["queues"]
    assert (queue["state"], queue["depth"]) == ("paused", 1)
    service.admin("/connections/one/resume", "POST")
    service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=20)
