"""The file of jobs: what is in it comes back, and what is none of ours is as good as none."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.state.jobs import FILE, JobRecord, JobStore


def test_jobs_come_back(tmp_path: Path) -> None:
    """Those that ran go on, those that ended are told."""
    running = JobRecord("1", "replay", {"connection": "hook", "ids": ["7"]}, "ann", 1.5, "99", 10.0)
    ended = JobRecord("2", "drop", {}, "bob", 2.5, "120", state="done", matched=3, done=3)
    JobStore(tmp_path).write([running, ended])
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    again = JobStore(tmp_path).read()
    assert again == [running, ended]
    assert [job.is_running for job in again] == [True, False]


@pytest.mark.parametrize("content", [b"", b"[", b'{"id": 1}', b'[{"id": "1"}]', b"\xff\xfe"])
def test_a_file_that_is_none_of_ours(tmp_path: Path, content: bytes) -> None:
    """Nothing goes on, and the start is not stopped: each letter is there still."""
    (tmp_path / FILE).write_bytes(content)
    assert JobStore(tmp_path).read() == []
    JobStore(tmp_path).write([])
    assert JobStore(tmp_path).read() == []


def test_no_file_is_no_job(tmp_path: Path) -> None:
    """As at the first start."""
    assert JobStore(tmp_path).read() == []
