"""A real worker's heap, over HTTP: taken, opened object by object, and compared."""

from __future__ import annotations

import os
from typing import Any

import psutil

from tests.conftest import StartService
from tests.console.asking import SLOW_S, ask, done
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.test_evidence import hoarding

MANY = 3000


def hoarder(running_service: StartService) -> RunningService:
    """A service whose only worker holds many objects, once it does."""
    service = running_service(hoarding(objects=MANY))
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=SLOW_S)
    return service


def opened(service: RunningService, path: str) -> Any:
    """An answer of the reader, once it has read the snapshot. Any: JSON."""
    answers: list[Any] = []

    def is_there() -> bool:
        status, told = ask(service, "GET", path)
        answers.append(told)
        assert status == 200 or told["error"] == "busy", told
        return status == 200

    wait_until(is_there, SLOW_S, "the snapshot is read")
    return answers[-1]


def readers(service: RunningService) -> list[psutil.Process]:
    """The processes of a service that hold a snapshot."""
    children = psutil.Process(service.pid).children()
    return [one for one in children if "sandbox.heap.session" in one.cmdline()]


def test_from_a_snapshot_to_an_object_and_what_grew(running_service: StartService) -> None:
    """Taken, opened by an id, found by a name, and compared with a later one."""
    service = hoarder(running_service)
    first = done(service, "POST", "/debug/snapshots", {"worker": "default-1"})["name"]
    at = f"/debug/snapshots/{first}"
    root = opened(service, f"{at}/objects/root?edges=5&holders=0&dominated=5")
    assert len(root["edges"]) <= 5
    assert root["holders"] == []
    assert root["kept_bytes"] > 1_000_000
    found = opened(service, f"{at}/find?q=hoarder&limit=20")
    assert found["found"]
    number = found["found"][0]["id"]
    shown = opened(service, f"{at}/objects/{number}")
    assert shown["id"] == number
    assert shown["holders_total"] > 0
    path = opened(service, f"{at}/path/{number}")
    assert [step["id"] for step in path["path"]] == [step["id"] for step in shown["path"]]
    (step, *_) = [edge for edge in shown["holders"] if edge["from"]["id"] == path["path"][-2]["id"]]
    assert step["from"]["name"] == path["path"][-2]["name"]
    second = done(service, "POST", "/debug/snapshots", {"worker": "default-1"})["name"]
    grew = done(service, "GET", f"/debug/snapshots/diff?old={first}&new={second}")
    assert grew["classes"] is not None
    for change in grew["classes"]:
        assert change["count_new"] >= 0
        assert change["count_old"] >= 0
    deeds = done(service, "GET", "/activity")["activity"]
    assert [deed["action"] for deed in deeds] == ["snapshot", "snapshot"]
    (reader,) = readers(service)
    service.stop()
    wait_until(lambda: not reader.is_running(), SLOW_S, "no reader outlives the service")


def test_what_is_not_there_is_told(running_service: StartService) -> None:
    """Snapshots, objects and parameters that are none: each with what is wrong."""
    service = hoarder(running_service)
    name = done(service, "POST", "/debug/snapshots", {"worker": "default-1"})["name"]
    at = f"/debug/snapshots/{name}"
    opened(service, f"{at}/objects/root")
    for path, status, said in (
        ("/debug/snapshots/none/objects/root", 404, "no snapshot"),
        ("/debug/snapshots/..%2F..%2Fetc/objects/root", 404, "no snapshot"),
        (f"{at}/objects/{2**40}", 404, "no object"),
        (f"{at}/objects/x", 400, "id"),
        (f"{at}/objects/root?edges=100000", 400, "edges"),
        (f"{at}/objects/root?more=1", 400, "more"),
        (f"{at}/find", 400, "q"),
        (f"{at}/find?q={'x' * 300}", 400, "q"),
        (f"/debug/snapshots/diff?old={name}", 400, "new"),
        (f"/debug/snapshots/diff?old={name}&new=none", 404, "no snapshot"),
    ):
        got, told = ask(service, "GET", path)
        assert (got, said in told["message"]) == (status, True), (path, told)
    assert ask(service, "POST", "/debug/snapshots", {"worker": "none-1"})[0] == 404
    assert ask(service, "POST", "/debug/snapshots", {"worker": 1})[0] == 400
    assert os.path.exists(service.directory / "state" / "snapshots" / name)
