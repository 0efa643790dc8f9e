"""`bulkhead tail` and `bulkhead issues`, against the rows that they read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.admin.access import Access
from supervisor.config import Address
from supervisor.insight.sample_records import MetBy
from supervisor.queue import Delivery, DeliveryRecord, EventRecord, NewEvent, Route
from tests.admin.stubs import AT, StubControl
from tests.commands.conftest import Bulkhead
from tests.commands.servers import serving
from tests.console.data_world import DataWorld
from tests.harness.waiting import wait_until

OPEN = Access(Address(host="127.0.0.1", port=9190), token=None)


@pytest.fixture
def world(tmp_path: Path) -> DataWorld:
    """Nothing has come yet."""
    return DataWorld(tmp_path)


@pytest.fixture
def address(world: DataWorld, control: StubControl) -> Iterator[str]:
    """Of its admin API."""
    with serving(lambda: world.app(control, OPEN)) as address:
        yield address


def take(world: DataWorld, *names: str) -> None:
    """Events of these names, in one request."""
    bodies = {name: json.dumps({"type": "track", "event": name}).encode() for name in names}
    events = [
        NewEvent(f"id-{name}", "track", "u", body, Route(("hook",)))
        for name, body in bodies.items()
    ]
    world.insight.took("website", events, [True] * len(events), 0)


def test_tail_is_a_line_a_row(bulkhead: Bulkhead, world: DataWorld, address: str) -> None:
    """What is there already; what a sender wrote obeys nothing on the terminal."""
    take(world, "Bought", "Odd \x1b[31m\nname")
    ran = bulkhead("tail", "website", "--no-follow", "--admin", address)
    assert ran.code == 0, ran
    first, second = ran.out.splitlines()
    assert first.endswith("+  track Bought  id-Bought  to hook")
    assert "\x1b" not in second
    ran = bulkhead("tail", "website", "--no-follow", "-n", "1", "--body", "--admin", address)
    (line,) = ran.out.splitlines()
    assert '{"type":"track"' in line.replace(": ", ":")
    ran = bulkhead("tail", "website", "--no-follow", "--json", "--admin", address)
    assert json.loads(ran.out.splitlines()[0])["name"] == "Bought"


def test_tail_of_what_was_not_taken_says_why(
    bulkhead: Bulkhead, world: DataWorld, address: str
) -> None:
    """Code and reason."""
    world.insight.refused("website", "invalid_json", "the body is empty; send JSON", 1)
    ran = bulkhead("tail", "website", "--rejected", "--no-follow", "--admin", address)
    assert "!  ?  invalid_json: the body is empty; send JSON" in ran.out


def test_tail_of_no_source_is_one_line(bulkhead: Bulkhead, address: str) -> None:
    """And exit 1."""
    ran = bulkhead("tail", "nobody", "--admin", address)
    assert (ran.code, ran.out) == (1, "")
    assert "there is no source 'nobody'" in ran.err


def test_tail_follows_tells_of_a_sample_and_ends_by_ctrl_c(
    world: DataWorld, address: str, tmp_path: Path
) -> None:
    """Rows as they come, each once; how many were left out; no complaint at the end."""
    take(world, "first")
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as o, err.open("wb") as e:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", "tail", "website", "--admin", address],
            stdout=o,
            stderr=e,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        wait_until(lambda: "first" in out.read_text(), 60, "what was there is shown")
        take(world, *(f"n{n}" for n in range(50)))
        wait_until(lambda: "n49" in out.read_text(), 60, "the last of what came is shown")
        wait_until(lambda: "a sample: 5 of 50 that came" in err.read_text(), 60, "it is told")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert len(out.read_text().splitlines()) == 6
    assert len(err.read_text().splitlines()) == 1


def test_issues_are_a_table_with_what_to_do(
    bulkhead: Bulkhead, world: DataWorld, address: str
) -> None:
    """Nothing is said to be nothing; JSON keeps all."""
    ran = bulkhead("issues", "--admin", address)
    assert ran.out == "no issue in the last hour (--all for older ones)\n"
    world.insight.troubled("hook", "failed", "404 Not Found: contact 5f3e9a0012ab", 1234)
    world.insight.refused("website", "too_large", "the event has 99999 bytes", 1)
    ran = bulkhead("issues", "--connection", "hook", "--admin", address)
    assert ran.code == 0
    assert "1,234" in ran.out
    assert "<id>" in ran.out
    assert "too_large" not in ran.out
    ran = bulkhead("issues", "--json", "--all", "--admin", address)
    assert {issue["kind"] for issue in json.loads(ran.out)["issues"]} == {"failed", "rejected"}
    assert bulkhead("issues", "--kind", "odd", "--admin", address).code == 2


def test_explain_has_a_line_for_each_attempt_that_went_wrong(
    bulkhead: Bulkhead, world: DataWorld, control: StubControl, address: str
) -> None:
    """With time, worker and reason, oldest first; a reason obeys nothing on the terminal."""
    body = b'{"type":"track","messageId":"m1"}'
    pending = DeliveryRecord("r1", "hook", "pending", None, 2, "500", None, False, None)
    control.stub_queue.records = [EventRecord("m1", "website", AT, [pending], body)]
    for attempt, reason in enumerate(["503 \x1b[31m", "500 Internal Server Error"], 1):
        met = MetBy(body, attempt, "default-1", None)
        one = Delivery(body, attempt, AT, b"u")
        world.insight.troubled("hook", "retry", reason, 1, met, [one])
    ran = bulkhead("explain", "m1", "--admin", address)
    assert ran.code == 0, ran
    first, second = [line for line in ran.out.splitlines() if "in default-1" in line]
    assert "attempt 1 in default-1: failed for now: 503 " in first
    assert second.endswith("attempt 2 in default-1: failed for now: 500 Internal Server Error")
    assert "\x1b" not in ran.out
