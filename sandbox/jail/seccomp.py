"""Layer `seccomp`: system calls that are not on the list end with an error. See seccomp(2).

Owns the installation: a filter before destinations are imported, and one after. Refused calls get
an errno and no signal: libuv and glibc try newer calls first and fall back on older ones.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import sys
from collections.abc import Iterable

from sandbox.jail import bpf, kernel, rules
from sandbox.jail.bpf import MACHINES, Instruction, Machine
from sandbox.protocol import PROFILES

_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1
#: By column of the table: x86_64, aarch64.
_SECCOMP, _UNSHARE, _IO_URING_SETUP = (317, 277), (272, 97), (425, 425)

#: Stands for the worker's own pid in a program that is assembled ahead. No constant of any rule
#: looks like it, whatever the alignment.
_ANY_PID = 0x5EC0_50D1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict(profile: str, *, brokered: bool) -> str:
    """Install the filter of `profile` for every thread of this process; "on", or why not.

    `brokered`: the supervisor connects for this worker, which makes no sockets itself.
    Needs no_new_privs to be set.
    """
    machine = _machine()
    if machine is None:
        return f"the table has no column for {os.uname().machine}"
    packed = _program(machine, profile, brokered).replace(
        _placeholder(_ANY_PID), _placeholder(os.getpid())
    )
    return _install(machine, packed) or "on"


def seal() -> str:
    """Deny every new executable mapping, in every thread, for good; "on", or what is wrong.

    For a process under `restrict` of profile `strict` whose imports are done: native code that it
    has not loaded by now it loads no more. Tested before it is believed, since destinations'
    code has run in this process.
    """
    machine = _machine()
    if machine is None:
        return f"the table has no column for {os.uname().machine}"
    return _install(machine, _sealing(machine)) or _unsealed() or "on"


def _install(machine: Machine, packed: bytes) -> str:
    """Why a filter is not in force for all threads; "" where it is."""
    program = _Program(len(packed) // 8, packed)
    try:
        stray = kernel.syscall(_SECCOMP[machine.column], _SET_MODE_FILTER, _FLAG_TSYNC, program)
    except OSError as error:
        return f"refused by the kernel: {error.strerror}"
    return f"thread {stray} has a filter of its own" if stray else ""


def _unsealed() -> str:
    try:
        with open(__file__, "rb") as code:
            mmap.mmap(code.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()
    except OSError as error:
        if error.errno == errno.EPERM:  # the filter's; Landlock's would be EACCES
            return ""
        return f"whether a file can still be mapped to run is unknown: {error.strerror}"
    return "a file could still be mapped to run"


def prepare(brokered: bool) -> None:
    """Assemble all programs, so that a worker has only its pid to fill in."""
    machine = _machine()
    if machine is not None:
        _sealing(machine)
        for profile in PROFILES:
            _program(machine, profile, brokered)


@functools.cache
def _program(machine: Machine, profile: str, brokered: bool) -> bytes:
    wanted = rules.verdicts(machine, profile, own_pid=_ANY_PID, brokered=brokered)
    return _packed(bpf.assemble(machine, wanted, errno.EPERM))


@functools.cache
def _sealing(machine: Machine) -> bytes:
    return _packed(bpf.assemble(machine, rules.sealed(machine), errno.EPERM, allows_others=True))


def _packed(program: Iterable[Instruction]) -> bytes:
    return b"".join(instruction.packed() for instruction in program)


def _placeholder(pid: int) -> bytes:
    return pid.to_bytes(4, sys.byteorder)


def faults() -> str:
    """What the filter does not stop and should; empty where it holds."""
    machine = _machine()
    if machine is None:
        return "no filter"
    for name, numbers, expected in (
        ("unshare", _UNSHARE, errno.EPERM),
        ("io_uring_setup", _IO_URING_SETUP, errno.ENOSYS),
    ):
        try:
            kernel.syscall(numbers[machine.column], 0, None)
        except OSError as error:
            if error.errno == expected:
                continue
            return f"{name} ended with {error.strerror}"
        return f"{name} was let through"
    return ""


def _machine() -> Machine | None:
    return MACHINES.get(os.uname().machine)
