"""From a table of rules to the program that the kernel runs at each system call. Pure.

Owns the assembly: instructions of classic BPF over `struct seccomp_data` (see
seccomp(2)). Which calls are allowed is `rules.py`'s. Calls that are looked at
more closely come first; the kernel remembers which others it always lets
through, so that those cost nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

#: Of <linux/seccomp.h> and <linux/bpf_common.h>.
RET_ALLOW, RET_ERRNO = 0x7FFF_0000, 0x0005_0000
_LOAD, _AND, _RET = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_AT_LEAST = 0x15, 0x35
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_X32_BIT = 0x4000_0000


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor architecture; `column` is where its numbers stand in the table of calls."""

    name: str
    audit_arch: int
    column: int
    has_x32: bool


MACHINES = {
    "x86_64": Machine("x86_64", 0xC000_003E, 0, has_x32=True),
    "aarch64": Machine("aarch64", 0xC000_00B7, 1, has_x32=False),
}


@dataclass(frozen=True, slots=True)
class Test:
    """`argument & mask == value`, for the argument at `index`; 32 bits unless it is `wide`.

    The kernel takes what it declares as int from the lower half, and so do we.
    """

    index: int
    value: int
    mask: int = 0xFFFF_FFFF
    wide: bool = False


@dataclass(frozen=True, slots=True)
class SyscallAction:
    """What becomes of one call: allowed where all tests of one of the `cases` hold.

    No cases: allowed always, or never where `error` alone is given.
    """

    cases: tuple[tuple[Test, ...], ...] = ()
    error: int = 0
    is_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Instruction:
    """One `struct sock_filter`."""

    code: int
    if_true: int
    if_false: int
    k: int

    def packed(self) -> bytes:
        """As the kernel takes it."""
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.k)


def assemble(
    machine: Machine,
    verdicts: Mapping[int, SyscallAction],
    default_error: int,
    *,
    allows_others: bool = False,
) -> list[Instruction]:
    """The program. `verdicts` by number; any other call ends with `default_error`.

    With `allows_others` it does not: such a program takes away from one that is in force.

    Raises ValueError where it is longer than the kernel takes.
    """
    refuse = Instruction(_RET, 0, 0, RET_ERRNO | default_error)
    program = [
        Instruction(_LOAD, 0, 0, _ARCH),
        Instruction(_JUMP_EQUAL, 1, 0, machine.audit_arch),
        refuse,
        Instruction(_LOAD, 0, 0, _NUMBER),
    ]
    if machine.has_x32:
        program += [Instruction(_JUMP_AT_LEAST, 0, 1, _X32_BIT), refuse]
    for number, verdict in sorted(verdicts.items(), key=lambda entry: not entry[1].cases):
        block = list(_block(verdict, default_error))
        program.append(Instruction(_JUMP_EQUAL, 0, len(block), number))
        program += block
    program.append(Instruction(_RET, 0, 0, RET_ALLOW) if allows_others else refuse)
    if len(program) > 4096:
        raise ValueError(f"{len(program)} instructions; the kernel takes 4096")
    return program


def _block(verdict: SyscallAction, default_error: int) -> Iterator[Instruction]:
    refuse = Instruction(_RET, 0, 0, RET_ERRNO | (verdict.error or default_error))
    allow = Instruction(_RET, 0, 0, RET_ALLOW)
    if not verdict.cases:
        yield allow if verdict.is_allowed else refuse
        return
    for case in verdict.cases:
        yield from _case(case, allow)
    yield refuse


def _case(case: Sequence[Test], allow: Instruction) -> Iterator[Instruction]:
    tests = [_test(test) for test in case]
    left = sum(len(steps) for steps in tests) + 1
    for steps in tests:
        for step in steps:
            left -= 1
            # A test that fails goes on behind this case.
            yield step if step.code != _JUMP_EQUAL else Instruction(step.code, 0, left, step.k)
    yield allow


def _test(test: Test) -> list[Instruction]:
    halves = [(0, 0)] if not test.wide else [(0, 0), (4, 32)]
    steps = []
    for offset, shift in halves:
        mask, value = test.mask >> shift & 0xFFFF_FFFF, test.value >> shift & 0xFFFF_FFFF
        steps.append(Instruction(_LOAD, 0, 0, _ARGUMENTS + 8 * test.index + offset))
        if mask != 0xFFFF_FFFF:
            steps.append(Instruction(_AND, 0, 0, mask))
        steps.append(Instruction(_JUMP_EQUAL, 0, 0, value))
    return steps
