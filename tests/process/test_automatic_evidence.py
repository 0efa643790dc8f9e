"""Snapshots that are taken before anybody asks: the evidence waits for the operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import StartService
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")


def hoarding(objects: int, *, soft: str, hard: str) -> dict[str, dict[str, object]]:
    """A pool of one worker and a spare, with the hoarder in it."""
    return {
        "service": {"plugin_paths": [PLUGINS]},
        "pools.default": {
            "destinations": ["*"],
            "workers": 1,
            "spares": 1,
            "memory_soft_limit": soft,
            "memory_limit": hard,
            "block_timeout": "60s",
        },
        "destinations.hoarder": {"class": "hoarder:Hoarder"},
        "connections.hoarder": {
            "source": "test",
            "destination": "hoarder",
            "settings": {"objects": objects},
        },
    }


def exits(service: RunningService, *reasons: str) -> list[dict[str, Any]]:
    """Exits for one of these reasons. Any: JSON."""
    found: list[dict[str, Any]] = service.admin("/debug/exits")["exits"]
    return [end for end in found if end["reason"] in reasons]


def kept_as(service: RunningService, reason: str) -> list[dict[str, Any]]:
    """Snapshots that are kept under a reason. Any: JSON."""
    listed: list[dict[str, Any]] = service.admin("/debug/snapshots")["snapshots"]
    return [kept for kept in listed if kept["reason"] == reason]


def test_a_worker_at_its_soft_limit_leaves_a_snapshot_and_no_gap(
    running_service: StartService,
) -> None:
    """A spare has its place while its copy writes; everything is delivered on the first try, and
    the exit names the snapshot.
    """
    service = running_service(hoarding(10_000, soft="64MiB", hard="1GiB"))
    wait_until(lambda: len(service.worker_pids()) == 1, 20, "the worker serves")
    first = service.worker_pids()
    sent = 0
    while service.worker_pids() == first:
        assert sent < 100, "it grows beyond its soft limit"
        post(service.url, [track(f"m{sent}")])
        sent += 1
        service.wait_for(lambda books: books["pending"] == 0, within_s=30)
    wait_until(lambda: bool(kept_as(service, "soft_limit")), 120, "there is a snapshot")
    wait_until(lambda: bool(exits(service, "leak", "recycle")), 60, "the worker has gone")
    (end, *_) = exits(service, "leak", "recycle")
    kept = kept_as(service, "soft_limit")
    assert end["snapshot"] in [one["name"] for one in kept]
    books = service.books()
    assert books["delivered_first_try"] == books["accepted"] == sent


def test_a_worker_that_runs_out_of_memory_leaves_a_snapshot(running_service: StartService) -> None:
    """It met a MemoryError: what filled it can be read after it is gone."""
    service = running_service(hoarding(10_000, soft="96MiB", hard="128MiB"))
    wait_until(lambda: len(service.worker_pids()) == 1, 20, "the worker serves")
    post(service.url, [track("m1", "Gulp")])
    wait_until(lambda: bool(kept_as(service, "memory_error")), 120, "there is a snapshot")
    wait_until(lambda: bool(exits(service, "oom")), 60, "the worker has gone")
    end = exits(service, "oom")[-1]
    assert end["connection"] == "hoarder"
    assert end["snapshot"] in [kept["name"] for kept in kept_as(service, "memory_error")]


def test_a_worker_that_is_full_of_small_objects_leaves_a_snapshot(
    running_service: StartService,
) -> None:
    """To look at each un-shares all of its memory, and tables are as large again: all is there."""
    service = running_service(hoarding(350_000, soft="124MiB", hard="128MiB"))
    wait_until(lambda: len(service.worker_pids()) == 1, 20, "the worker serves")
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=30)
    post(service.url, [track("m2", "Gulp")])
    wait_until(lambda: bool(exits(service, "oom")), 120, "the worker has gone")
    end = exits(service, "oom")[-1]
    assert end["snapshot"] is not None, end
    file = service.directory / "state" / "snapshots" / end["snapshot"]
    heap = json.loads(file.read_bytes())
    assert heap["snapshot"]["bulkhead"]["notes"] == []
    assert heap["snapshot"]["node_count"] > 1_000_000
