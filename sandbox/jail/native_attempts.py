"""What destinations with intent try to run as machine code: programs, and memory that they fill.

As harmless as `attempts.py`, and to the same rules: an attempt raises OSError where it is stopped,
and must not know which layer stops it.
"""

from __future__ import annotations

import ctypes
import mmap
import os

from sandbox.jail import kernel
from sandbox.jail.attempts import Targets

#: (x86_64, aarch64).
_NUMBERS = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "memfd_create": (319, 279),
    "mprotect": (10, 226),
    "personality": (135, 92),
    "pkey_mprotect": (329, 288),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmget": (29, 194),
}
_COLUMN = 1 if os.uname().machine == "aarch64" else 0
_READ_EXEC, _NO_KEY = mmap.PROT_READ | mmap.PROT_EXEC, -1
_IPC_PRIVATE, _IPC_CREAT, _IPC_RMID, _SHM_EXEC = 0, 0o1000, 0, 0o100000


def _call(name: str, *arguments: kernel.Argument) -> int:
    return kernel.syscall(_NUMBERS[name][_COLUMN], *arguments)


_TRUE = b"/bin/true"
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def _strings(*texts: bytes) -> int:
    """A vector of C strings, as an address; a fork that is about to end never frees it."""
    vector = (ctypes.c_char_p * (len(texts) + 1))(*texts, None)
    _kept.append(vector)
    return ctypes.addressof(vector)


_kept: list[object] = []


def execute(t: Targets) -> None:
    _call("execve", _TRUE, _strings(_TRUE), None)


def execute_loader(t: Targets) -> None:
    os.execv("/lib64/ld-linux-x86-64.so.2", ["ld.so", "/bin/true"])  # noqa: S606 - the attack


def execute_memory(t: Targets) -> None:
    descriptor = _call("memfd_create", b"x", 0)
    with open("/bin/true", "rb") as program:
        os.write(descriptor, program.read())
    _call("execveat", descriptor, b"", _strings(b"x"), None, 0x1000)


def make_memory_file(t: Targets) -> None:
    _call("memfd_create", b"x", 0)


def execute_set_uid(t: Targets) -> None:
    path = os.fsencode(t.set_uid)
    _call("execve", path, _strings(b"test", b"-r", os.fsencode(t.root_only)), None)


def map_executable(t: Targets) -> None:
    mmap.mmap(-1, 4096, _PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def protect_executable(t: Targets) -> None:
    page = mmap.mmap(-1, 4096, _PRIVATE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    _call("mprotect", address, 4096, 5)


def map_file(t: Targets) -> None:
    # Which file does not matter: what is read here, or was written to the scratch folder.
    with open(__file__, "rb") as file:
        mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, _READ_EXEC)


def protect_file(t: Targets) -> None:
    with open(__file__, "rb") as file:
        page = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    _call("mprotect", ctypes.addressof(ctypes.c_char.from_buffer(page)), 4096, _READ_EXEC)


def protect_by_key(t: Targets) -> None:
    page = mmap.mmap(-1, 4096, _PRIVATE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    _call("pkey_mprotect", address, 4096, _READ_EXEC, _NO_KEY)


def attach_executable(t: Targets) -> None:
    segment = _call("shmget", _IPC_PRIVATE, 4096, _IPC_CREAT | 0o700)
    try:
        _call("shmat", segment, None, _SHM_EXEC)
    finally:
        _call("shmctl", segment, _IPC_RMID, None)


def persona(t: Targets) -> None:
    _call("personality", 0x0040_0000)  # READ_IMPLIES_EXEC
