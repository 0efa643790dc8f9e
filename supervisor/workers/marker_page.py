"""What a worker leaves to be read when it cannot speak: its marker page and its stacks.

Owns two files in memory that supervisor and worker both hold, made before the
worker is and read after its end. Their sizes are sealed: a worker can write
nonsense there, and neither grow them nor take them away from under us. Behind the
page is room for the tables of heap snapshots, since a worker may share no memory of its
own making; what is in use there is counted here.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

from sandbox.protocol import BEATS, FORKED, MARK, STACKS_BYTES, TABLES_AT, RawMark, read_mark

#: Of `st_blocks`, everywhere.
_BLOCK_BYTES = 512
_WORD = struct.Struct("=Q")


class MarkerPage:
    """The supervisor's side. Raises OSError where the kernel has no memory or descriptors left.

    Behind the page are `tables_bytes` for what heap snapshots are made with.
    """

    def __init__(self, tables_bytes: int) -> None:
        self._page = _sealed_file("bulkhead-page", TABLES_AT + tables_bytes)
        try:
            self._stacks = _sealed_file("bulkhead-stacks", STACKS_BYTES)
        except OSError:
            os.close(self._page)
            raise

    def copies(self) -> tuple[int, int]:
        """Further descriptors of page and stacks, for the worker. Raises OSError."""
        page = os.dup(self._page)
        try:
            return page, os.dup(self._stacks)
        except OSError:
            os.close(page)
            raise

    @property
    def beats(self) -> int:
        """How often its event loop came round."""
        return self._word(BEATS)

    def mark(self) -> RawMark | None:
        """What it is at, as it says."""
        return read_mark(self._word(MARK))

    def forked(self) -> RawMark | None:
        """What it was at when it forked last, as it says."""
        return read_mark(self._word(FORKED))

    def clear_stacks(self) -> None:
        """Forget what was written so far."""
        size = self.stacks_bytes
        os.lseek(self._stacks, 0, os.SEEK_SET)  # one position for both sides
        os.pwrite(self._stacks, bytes(min(size, STACKS_BYTES)), 0)

    @property
    def stacks_bytes(self) -> int:
        """How much was written since."""
        return os.lseek(self._stacks, 0, os.SEEK_CUR)

    def stacks(self) -> str:
        """What was written, "" where nothing was. faulthandler writes ASCII."""
        data = os.pread(self._stacks, STACKS_BYTES, 0)
        return data.partition(b"\0")[0].decode("ascii", "replace")

    @property
    def tables_bytes(self) -> int:
        """How much memory there is behind the page, whether the worker maps it or not."""
        return max(0, os.fstat(self._page).st_blocks * _BLOCK_BYTES - TABLES_AT)

    def tables(self) -> int:
        """A further descriptor of it, for `free_tables`. Raises OSError."""
        return os.dup(self._page)

    def close(self) -> None:
        """Let go; the worker is gone."""
        os.close(self._page)
        os.close(self._stacks)

    def _word(self, index: int) -> int:
        word: int = _WORD.unpack(os.pread(self._page, _WORD.size, index * _WORD.size))[0]
        return word


def free_tables(descriptor: int) -> None:
    """Give what is behind the page back to the machine, and close the descriptor.

    For a thread: it takes a while for some hundred megabytes.
    """
    try:
        size = os.fstat(descriptor).st_size
        with mmap.mmap(descriptor, size) as file:
            file.madvise(mmap.MADV_REMOVE, TABLES_AT, size - TABLES_AT)
    finally:
        os.close(descriptor)


def _sealed_file(name: str, size: int) -> int:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(
            descriptor,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
        )
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
