"""Descriptors in reserve, and shares of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from supervisor.runtime.descriptors import RESERVE, Reserve, Shares


def test_what_must_not_fail_gets_the_reserve() -> None:
    """Where none is left it is tried once more, with the reserve given up; then it is restocked."""
    reserve = Reserve(3)
    held = set(reserve._held)
    tries = 0

    def make() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        assert not any(Path(f"/proc/self/fd/{number}").is_symlink() for number in held)
        return "made"

    assert reserve.attempt(make) == "made"
    reserve.restock()
    assert len(reserve._held) == 3
    reserve.close()
    assert not reserve._held


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN, errno.EPERM])
def test_other_refusals_are_not_tried_again(number: int) -> None:
    """More descriptors do not help there, and the reserve stays whole."""
    reserve = Reserve(1)

    def make() -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=os.strerror(number)):
        reserve.attempt(make)
    assert len(reserve._held) == 1
    reserve.close()


@pytest.mark.parametrize("most_files", [160, 256, 1024, 65_536, 1_048_576])
def test_shares_leave_room_for_workers_and_the_disk(most_files: int) -> None:
    """All clients and connects together leave a fifth, and with it a reserve."""
    shares = Shares.of(most_files)
    left = most_files - shares.tracking - shares.admin - shares.egress
    assert left >= most_files // 5
    assert left > RESERVE
    assert min(shares.tracking, shares.admin, shares.egress) > 0
