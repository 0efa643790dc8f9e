"""A tmpfs of a worker's own, which no path leads to.

Owns the calls that make one: fsopen(2), fsconfig(2), fsmount(2), Linux 5.2. The mount is in no
tree: it lives for as long as somebody has a descriptor of it, or a file in it open, so that
nothing of it is left whatever dies in which order. Takes CAP_SYS_ADMIN. Must not know workers.
"""

from __future__ import annotations

import ctypes
import os

#: The same numbers on every machine.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_SET_STRING, _CREATE = 1, 6
_NOSUID, _NODEV, _NOEXEC = 0x2, 0x4, 0x8

_libc = ctypes.CDLL(None, use_errno=True)


def tmpfs(size_bytes: int, entries: int, uid: int) -> int:
    """A descriptor of the root of a new one, of mode 0700, `uid`'s. Raises OSError.

    The kernel holds `size_bytes` and `entries` (files and folders) whatever is done to reach
    them: names, descriptors, maps. Nothing in it can be executed, or mapped to be.
    """
    context = _call(_FSOPEN, b"tmpfs", _CLOEXEC)
    try:
        for key, value in (
            ("size", size_bytes),
            ("nr_inodes", entries + 1),  # its root is one
            ("mode", "0700"),
            ("uid", uid),
            ("gid", uid),
        ):
            _call(_FSCONFIG, context, _SET_STRING, key.encode(), str(value).encode(), 0)
        _call(_FSCONFIG, context, _CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _CLOEXEC, _NOSUID | _NODEV | _NOEXEC)
    finally:
        os.close(context)


def _call(number: int, *arguments: int | bytes | None) -> int:
    wide = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
