"""Raw system calls: those that neither Python nor libc has a door for.

Owns their numbers where they are the same on all machines (everything since
Linux 5.1), and the way an errno becomes an exception. Decides nothing.
"""

from __future__ import annotations

import ctypes
import os

#: <asm-generic/unistd.h>; the same numbers on x86_64 and aarch64.
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

Argument = int | bytes | ctypes.Structure | ctypes.Array[ctypes.c_char] | None


def syscall(number: int, *arguments: Argument) -> int:
    """Call it. Integers go as 64 bits, structures by reference. Raises OSError."""
    result: int = _libc.syscall(ctypes.c_long(number), *map(_argument, arguments))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _argument(
    value: Argument,
) -> object:  # what ctypes takes for it
    if isinstance(value, int):
        return ctypes.c_ulong(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    return value


def is_single_threaded() -> bool:
    """Whether no other thread exists in this process: a second thread escapes most layers."""
    return os.stat("/proc/self/task").st_nlink == 3
