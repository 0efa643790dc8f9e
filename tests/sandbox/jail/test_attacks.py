"""Every attack, with all layers, with one missing and with one alone, as root and as a user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.jail import attacks
from sandbox.jail.attacks import ATTACKS
from tests.harness import jailed
from tests.harness.service import config_text

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be it and to drop it")


@pytest.fixture(scope="module", params=["root", "user"])
def who(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def results(who: str) -> jailed.Results:
    return jailed.results(who)


def test_none_gets_through_with_all_layers(results: jailed.Results) -> None:
    """Every attack of the list ends with an error."""
    assert [name for name, code in results["all"].items() if code == 0] == []
    assert len(results["all"]) >= len(ATTACKS) - 1  # this kernel may load no modules


def test_each_attack_is_one(results: jailed.Results, who: str) -> None:
    """With no layer at all it gets through, but for what the kernel keeps from ordinary users."""
    stopped = {name for name, code in results["none"].items() if code}
    assert stopped == {a.name for a in ATTACKS if a.is_for_root and who == "user"} & set(
        results["none"]
    )


def test_table_says_what_stops_what(results: jailed.Results, who: str) -> None:
    """With a layer missing, or alone, exactly those get through that the table says."""
    assert jailed.faults(results, is_root=who == "root") == []


def test_each_layer_stops_something_by_itself() -> None:
    """No layer is there for the looks: without it something would get through."""
    for layer in jailed.TRIED:
        others = [other for other in jailed.TRIED if other != layer]
        assert any(
            attacks.expected(attack, jailed.TRIED, is_root=True)
            and not attacks.expected(attack, others, is_root=True)
            for attack in ATTACKS
        ) or layer in ("uid", "no_new_privs"), layer


@pytest.mark.parametrize("program", ["supervisor", "tests.harness.as_user"])
def test_worker_of_a_service_tries_its_own_jail(
    open_folder: Path, tmp_path: Path, program: str
) -> None:
    """`bulkhead check --jail`, as root or not, forks a worker, and nothing gets through."""
    config = open_folder / "bulkhead.toml"
    config.write_text(
        config_text(
            {
                "service": {"state_dir": str(tmp_path / "state")},
                "sources.s": {"write_key": "k"},
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", program, "check", "--config", str(config), "--jail"],
        cwd=jailed.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GOT THROUGH" not in done.stdout
    assert "signal the supervisor" in done.stdout
