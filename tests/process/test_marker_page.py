"""What a worker leaves behind can be read, and cannot be taken away."""

from __future__ import annotations

import mmap
import os
import struct

import pytest

from sandbox.protocol import MARK, STACKS_BYTES, TABLES_AT, RawMark, mark_word
from supervisor.workers.marker_page import MarkerPage, free_tables

MIB = 1024 * 1024


def test_both_sides_see_the_same() -> None:
    """What is written through the worker's descriptors is read here, and cleared on demand."""
    marker_page = MarkerPage(MIB)
    page, stacks = marker_page.copies()
    os.pwrite(page, struct.pack("=Q", mark_word(2, 5, 1)), 8 * MARK)
    os.write(stacks, b'File "x.py", line 1 in f\n')
    assert marker_page.mark() == RawMark(2, 5, 1, is_running=False)
    assert marker_page.stacks() == 'File "x.py", line 1 in f\n'
    marker_page.clear_stacks()
    assert marker_page.stacks() == ""
    os.write(stacks, b"new\n")
    assert marker_page.stacks() == "new\n"
    for descriptor in (page, stacks):
        os.close(descriptor)
    marker_page.close()


def test_worker_cannot_shrink_or_grow_them() -> None:
    """A worker that truncates or floods its files gets an error, and the supervisor none."""
    marker_page = MarkerPage(MIB)
    page, stacks = marker_page.copies()
    for descriptor, size in ((page, TABLES_AT + MIB), (stacks, STACKS_BYTES)):
        for wrong in (0, size * 2):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, wrong)
    os.pwrite(stacks, b"x" * STACKS_BYTES, 0)
    with pytest.raises(PermissionError):
        os.pwrite(stacks, b"x", STACKS_BYTES)
    os.lseek(stacks, 10**12, os.SEEK_SET)
    marker_page.clear_stacks()
    assert marker_page.stacks() == ""
    os.close(page)
    os.close(stacks)
    marker_page.close()


def test_tables_count_mapped_or_not_and_are_given_back() -> None:
    """A worker that fills them and unmaps them holds that memory; the supervisor takes it."""
    marker_page = MarkerPage(MIB)
    page, stacks = marker_page.copies()
    assert marker_page.tables_bytes == 0
    with mmap.mmap(page, TABLES_AT + MIB) as mapped:
        mapped[:] = b"x" * len(mapped)
    assert marker_page.tables_bytes == MIB
    free_tables(marker_page.tables())
    assert marker_page.tables_bytes == 0
    assert os.pread(page, 2, TABLES_AT - 1) == b"x\0"
    for descriptor in (page, stacks):
        os.close(descriptor)
    marker_page.close()
