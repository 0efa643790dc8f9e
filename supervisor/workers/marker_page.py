"""What a worker leaves to be read when it cannot speak: its marker page and its stacks.

Owns two files in memory that supervisor and worker both hold, made before the
worker is and read after its end. Their sizes are sealed: a worker can write
nonsense there, and neither grow them nor take them away from under us.
"""

from __future__ import annotations

import fcntl
import os
import struct

from sandbox.protocol import BEATS, MARK, PAGE_BYTES, STACKS_BYTES, RawMark, read_mark

_WORD = struct.Struct("=Q")


class MarkerPage:
    """The supervisor's side. Raises OSError where the kernel has no memory or descriptors left."""

    def __init__(self) -> None:
        self._page = _sealed_file("bulkhead-page", PAGE_BYTES)
        try:
            self._stacks = _sealed_file("bulkhead-stacks", STACKS_BYTES)
        except OSError:
            os.close(self._page)
            raise

    def copies(self) -> tuple[int, int]:
        """Further descriptors of page and stacks, for the worker."""
        return os.dup(self._page), os.dup(self._stacks)

    @property
    def beats(self) -> int:
        """How often its event loop came round."""
        return self._word(BEATS)

    def mark(self) -> RawMark | None:
        """What it is at, as it says."""
        return read_mark(self._word(MARK))

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

    def close(self) -> None:
        """Let go; the worker is gone."""
        os.close(self._page)
        os.close(self._stacks)

    def _word(self, index: int) -> int:
        word: int = _WORD.unpack(os.pread(self._page, _WORD.size, index * _WORD.size))[0]
        return word


def _sealed_file(name: str, size: int) -> int:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(
        descriptor,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
    )
    return descriptor
