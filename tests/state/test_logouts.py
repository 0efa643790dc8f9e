"""Sessions that were logged out: their file, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.state import logouts
from supervisor.state.logouts import FILE, LoggedOut, LogoutStore


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    """By nobody but the owner of the service; before the first logout there is nothing."""
    store = LogoutStore(tmp_path)
    assert store.read() == {}
    told = {"viewer": LoggedOut({"n" * 22: 1_800_000_000}, 5), "operator": LoggedOut()}
    store.write(told)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert LogoutStore(tmp_path).read() == told


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"viewer": 1}',
        b'{"viewer": {"expiry_of": {"n": -1}}}',
        b'{"viewer": {"expiry_of": {"n": 1e99}}}',
        b'{"viewer": {"expiry_of": {"": 1}}}',
        b'{"viewer": {"void_until": "1"}}',
        b'{"viewer": {"more": 1}}',
        b'{"a":' * 100_000,
    ],
)
def test_a_file_that_is_none_of_ours_is_told_apart_from_none(
    tmp_path: Path, content: bytes
) -> None:
    """Who logged out is not known then."""
    (tmp_path / FILE).write_bytes(content)
    assert LogoutStore(tmp_path).read() is None


def test_what_cannot_be_read_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a folder, nor a file that is larger than any of ours."""
    store = LogoutStore(tmp_path)
    store.write({"viewer": LoggedOut({f"nonce-{n}": 1 for n in range(100)})})
    monkeypatch.setattr(logouts, "MOST_BYTES", 500)
    assert store.read() is None
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    assert store.read() is None
