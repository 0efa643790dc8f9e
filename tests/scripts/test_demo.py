"""The demonstration of ./scripts/run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.demo import shop
from supervisor.config import builtin_destinations, load
from supervisor.ingest.router import EVENT_TYPES
from supervisor.tapes.authority import Authority
from tests.harness.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
CONFIG = Path("config/demo/bulkhead.toml")


@pytest.fixture
def checkout(open_folder: Path) -> Path:
    """A checkout with what the demonstration needs, and a state of its own."""
    return copied(open_folder)


def copied(folder: Path) -> Path:
    """The same folder, filled."""
    for part in ("config/demo", "scripts/demo"):
        shutil.copytree(REPOSITORY / part, folder / part)
    for tape in REPOSITORY.glob("tests/destinations/*/tapes/accepted-doc.yaml"):
        there = folder / tape.relative_to(REPOSITORY)
        there.parent.mkdir(parents=True)
        shutil.copy(tape, there)
    # Where workers, which run as other users, may read it.
    plugins = json.dumps(str(REPOSITORY / "config/demo/plugins"))
    config = folder / CONFIG
    config.write_text(config.read_text().replace('["plugins"]', f"[{plugins}]"))
    return folder


def test_config(checkout: Path) -> None:
    """The shop feeds every built-in destination, and nothing is a real secret or address."""
    (checkout / ".cache").mkdir()
    Authority().write_certificate(checkout / ".cache" / "replay-ca.pem")
    config = load(checkout / CONFIG, environ={})
    fed = {one.destination for one in config.connections.values() if one.source == "shop"}
    assert fed == {*builtin_destinations(), "leaky"}
    assert config.sources["demo"].write_keys == ("demo-write-key",)
    assert config.connections["demo-webhook"].settings == {"url": "http://127.0.0.1:9000/"}
    assert config.sandbox.proxy == "http://127.0.0.1:9001"
    assert str(config.api.listen) == "127.0.0.1:8190"
    assert str(config.admin.listen) == "127.0.0.1:9190"


def test_events() -> None:
    """Visitors do all that there is an event type for, and nobody is real."""
    chance = random.Random(1)
    events = [event for _ in range(200) for event in shop.visit(chance)]
    assert {event["type"] for event in events} == set(EVENT_TYPES)
    text = json.dumps(events)
    assert "@example.com" in text
    assert text.count("@") == text.count("@example.com")


def test_with_no_network(checkout: Path) -> None:
    """All destinations get their events with no network but loopback, and Ctrl-C ends it all.

    Within a minute the one that leaks is named, and nobody else ever.
    """
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs root")
    inside = (
        "import os, sys; from tests.offline import raise_loopback; raise_loopback(); "
        "os.execv(sys.executable, [sys.executable, '-P', 'scripts/demo'])"
    )
    with (checkout / "log").open("wb") as log:
        demo = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", inside],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def delivered() -> bool:
        assert demo.poll() is None, (checkout / "log").read_text()
        shop = {
            name: books
            for name, books in audited(checkout / "state").items()
            if name.startswith("shop-")
        }
        return len(shop) == 9 and all(
            books["delivered_first_try"] + books["delivered_on_retry"] for books in shop.values()
        )

    try:
        wait_until(delivered, 120, "every destination has had an event")
        wait_until(lambda: bool(leaking(checkout / "log")), 60, "a leak is named, as README says")
        demo.send_signal(signal.SIGINT)
        assert demo.wait(90) == 0, (checkout / "log").read_text()[-3000:]
    finally:
        demo.kill()
        demo.wait()
    assert leaking(checkout / "log") == {"shop-leaky"}
    assert left_over(checkout) == []


def leaking(log: Path) -> set[str]:
    """Connections that were said to leak, at any time."""
    lines = [line for line in log.read_text().splitlines() if '"connection_leaks"' in line]
    return {json.loads(line)["connection"] for line in lines}


def audited(state_dir: Path) -> dict[str, dict[str, int]]:
    """The books of each connection; none before there are any."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "supervisor", "audit"),
            *("--state-dir", str(state_dir), "--json"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    books: dict[str, dict[str, int]] = json.loads(ran.stdout)["connections"] if ran.stdout else {}
    return books


def left_over(checkout: Path) -> list[str]:
    """Commands of processes that still run in the checkout."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == checkout:
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it has ended, or is nobody's business
    return found
