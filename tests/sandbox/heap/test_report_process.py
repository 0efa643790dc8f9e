"""The process that reads snapshots gives up what it could be misused for before it reads."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from supervisor.diagnostics.reports import report_command, report_environment
from tests.harness.waiting import wait_until
from tests.sandbox.heap.taking import take

TIMEOUT_S = 60.0


def status(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_is_jailed_before_it_reads_a_byte() -> None:
    """System calls are filtered, privileges gone and other descriptors closed at the first read."""
    spare, other = os.pipe()
    with subprocess.Popen(
        report_command("text"),
        env=report_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[spare],
    ) as process:
        wait_until(lambda: status(process.pid)["Seccomp"] == "2", TIMEOUT_S, "it is jailed")
        found = status(process.pid)
        assert found["NoNewPrivs"] == "1"
        assert found["CapEff"] == "0000000000000000"
        if os.geteuid() == 0:
            assert "0" not in found["Uid"].split()
            descriptors = os.listdir(f"/proc/{process.pid}/fd")
            assert {"0", "1", "2"} <= set(descriptors)
            assert str(spare) not in descriptors
        out, error = process.communicate(b"no snapshot at all", TIMEOUT_S)
    os.close(spare)
    os.close(other)
    assert (process.returncode, out) == (1, b"")
    assert error.startswith(b"not a readable snapshot: ")


@pytest.mark.parametrize("arguments", [["--format", "xml"], ["--old", "x"]])
def test_wrong_usage_is_two(arguments: list[str]) -> None:
    """Arguments that it does not know end it with 2, before it reads."""
    command = [*report_command("text"), *arguments]
    done = subprocess.run(
        command, env=report_environment(), capture_output=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 2


def test_its_environment_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of our environment only the language goes to it."""
    monkeypatch.setenv("BULKHEAD_ADMIN_TOKEN", "secret")
    assert "secret" not in report_environment().values()
    assert set(report_environment()) <= {
        *("LANG", "LC_ALL", "LC_CTYPE", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"),
    }


def test_its_json_has_the_picture_that_its_page_draws(tmp_path: Path) -> None:
    """Cells within cells, from the whole heap on, beside what the text tells."""
    snapshot = tmp_path / "known.heapsnapshot"
    assert take("known", snapshot) == ""
    with snapshot.open("rb") as stream:
        done = subprocess.run(
            report_command("json"),
            env=report_environment(),
            stdin=stream,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    told = json.loads(done.stdout)
    label, _, size_bytes, _, cells, _ = told["picture"]
    assert (label, size_bytes) == ("heap", told["bytes"])
    assert len(cells) > 1
