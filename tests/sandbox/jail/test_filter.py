"""The filter's program, run by a small machine of our own: what it says of each call."""

from __future__ import annotations

import errno
import struct

import pytest

from sandbox.jail import bpf, rules
from sandbox.jail.bpf import MACHINES, RET_ALLOW, RET_ERRNO, Instruction, Machine
from sandbox.jail.numbers import NUMBERS

PID = 4321


def run(program: list[Instruction], data: bytes) -> int:
    """The program's answer, as the kernel would compute it."""
    accumulator, at = 0, 0
    while True:
        step = program[at]
        at += 1
        match step.code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, step.k)
            case 0x54:
                accumulator &= step.k
            case 0x15:
                at += step.if_true if accumulator == step.k else step.if_false
            case 0x35:
                at += step.if_true if accumulator >= step.k else step.if_false
            case 0x06:
                return step.k
            case unknown:
                raise AssertionError(f"no such instruction: {unknown:#x}")


def ask(
    machine: Machine,
    number: int,
    *arguments: int,
    profile: str = "strict",
    brokered: bool = True,
    arch: int | None = None,
) -> int | None:
    """The errno that a call ends with; None where it is let through."""
    verdicts = rules.verdicts(machine, profile, own_pid=PID, brokered=brokered)
    program = bpf.assemble(machine, verdicts, errno.EPERM)
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, arch or machine.audit_arch, 0, *padded)
    answer = run(program, data)
    if answer == RET_ALLOW:
        return None
    assert answer & 0xFFFF_0000 == RET_ERRNO
    return answer & 0xFFFF


@pytest.fixture(params=list(MACHINES.values()), ids=list(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    chosen: Machine = request.param
    return chosen


def ask_sealed(machine: Machine, number: int, *arguments: int) -> int | None:
    """The errno that a call of a worker that serves ends with: both filters have their say."""
    program = bpf.assemble(machine, rules.sealed(machine), errno.EPERM, allows_others=True)
    padded = [*arguments, *[0] * (6 - len(arguments))]
    answer = run(program, struct.pack("=IIQ6Q", number, machine.audit_arch, 0, *padded))
    if answer != RET_ALLOW:
        return answer & 0xFFFF
    return ask(machine, number, *arguments)


def of(machine: Machine, name: str) -> int:
    number = NUMBERS[name][machine.column]
    assert number is not None
    return number


def test_calls_without_a_rule_are_refused(machine: Machine) -> None:
    """Every number that is not in the table ends with EPERM, those of the future included."""
    known = {numbers[machine.column] for numbers in NUMBERS.values()}
    for number in (*range(600), 1_000, 0xFFFF_FFFF):
        if number not in known:
            assert ask(machine, number) == errno.EPERM, number


def test_other_architectures_are_refused(machine: Machine) -> None:
    """A 32-bit call has other numbers, and a read there may be an execve here."""
    for arch in (0x4000_0003, 0x4000_0028, 0xC000_003E ^ 0xC000_00B7 ^ machine.audit_arch):
        assert ask(machine, of(machine, "read"), arch=arch) == errno.EPERM


def test_x32_calls_are_refused() -> None:
    """The same call with the x32 bit is another one."""
    machine = MACHINES["x86_64"]
    assert ask(machine, of(machine, "read")) is None
    assert ask(machine, of(machine, "read") | 0x4000_0000) == errno.EPERM


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("clone", (0x3D_0F00,)),
        ("clone", (0x0120_0011,)),
        ("kill", (PID, 9)),
        ("mmap", (0, 4096, 5, 2)),
        ("mmap", (0, 4096, 3, 0x22)),
        ("mmap", (0, 4096, 3, 0x4022)),  # MAP_NORESERVE
        ("mmap", (0, 4096, 3, 1)),  # of a file, shared
        ("socketpair", (1, 1 | 0o2000000, 0)),
        ("prctl", (1, 9)),
        ("ioctl", (0, 0x5421)),
        ("fcntl", (0, 3)),
        ("sendto", (3, 1, 1, 0, 0)),
        ("setsockopt", (3, 6, 1)),
    ],
)
def test_what_workers_need_is_let_through(
    machine: Machine, call: str, arguments: tuple[int, ...]
) -> None:
    """Threads, forks, libraries, pairs, names, and talking on sockets that are connected."""
    assert ask(machine, of(machine, call), *arguments) is None


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("clone", (0x0120_0011 | 0x1000_0000,)),  # CLONE_NEWUSER
        ("clone", (0x0120_0011 | 0x8000,)),  # CLONE_PARENT
        ("clone", (0x4111,)),  # vfork
        ("kill", (PID + 1, 0)),
        ("kill", (0xFFFF_FFFF, 9)),
        ("kill", (0, 9)),
        ("tgkill", (1, 1, 9)),
        ("prlimit64", (1, 7)),
        ("mmap", (0, 4096, 7, 2)),
        ("mmap", (0, 4096, 5, 0x22)),
        ("mmap", (0, 4096, 3, 0x122)),  # MAP_GROWSDOWN
        ("mmap", (0, 4096, 3, 0x21)),  # MAP_SHARED | MAP_ANONYMOUS
        ("mmap", (0, 4096, 0, 0x21)),
        ("mmap", (0, 4096, 3, 0x23)),  # MAP_SHARED_VALIDATE
        ("mmap", (0, 4096, 3, 0x4_0022)),  # MAP_HUGETLB
        ("sendmsg", (3, 1, 0)),
        ("mprotect", (0, 4096, 5)),
        ("socketpair", (1, 2, 0)),  # datagrams, which reach any address
        ("socketpair", (2, 1, 0)),
        ("prctl", (1, 0)),
        ("prctl", (1, 9 | 1 << 32)),
        ("prctl", (36, 1)),  # PR_SET_CHILD_SUBREAPER
        ("prctl", (4, 1)),
        ("ioctl", (0, 0x5412)),  # TIOCSTI
        ("fcntl", (3, 8, 1)),  # F_SETOWN
        ("fcntl", (3, 10, 9)),  # F_SETSIG
        ("sendto", (3, 1, 1, 0x2000_0000, 0)),
        ("sendto", (3, 1, 1, 0, 1)),
        ("sendto", (3, 1, 1, 0, 1 << 32)),
        ("setsockopt", (3, 6, 30)),  # TCP_FASTOPEN_CONNECT
        ("setsockopt", (3, 1, 26)),  # SO_ATTACH_FILTER
        ("socket", (2, 1, 0)),
        ("connect", (3, 1, 16)),
    ],
)
def test_what_is_left_of_a_call_is_refused(
    machine: Machine, call: str, arguments: tuple[int, ...]
) -> None:
    """Flags, types and targets beside those that workers need."""
    assert ask(machine, of(machine, call), *arguments) == errno.EPERM


def test_calls_that_libraries_try_first_do_not_exist(machine: Machine) -> None:
    """libuv and glibc fall back on ENOSYS, and on nothing else; on EOPNOTSUPP for `fallocate`."""
    assert ask(machine, of(machine, "fallocate"), 3, 0, 0, 1) == errno.EOPNOTSUPP
    assert ask(machine, of(machine, "clone3")) == errno.ENOSYS
    assert ask(machine, of(machine, "io_uring_setup")) == errno.ENOSYS


def test_sockets_of_a_worker_that_connects_by_itself(machine: Machine) -> None:
    """TCP and UDP over IP, by their own protocols."""
    for family, kind, protocol, expected in (
        (2, 1, 0, None),
        (10, 1 | 0o4000, 6, None),
        (2, 2, 17, None),
        (2, 1, 262, errno.EPERM),  # MPTCP, which Landlock's port rules do not see
        (2, 3, 1, errno.EPERM),  # raw
        (2, 1, 132, errno.EPERM),  # SCTP
        (1, 1, 0, errno.EPERM),  # UNIX
        (16, 3, 0, errno.EPERM),  # netlink
        (17, 3, 3, errno.EPERM),  # packets
        (40, 1, 0, errno.EPERM),  # vsock
    ):
        number = of(machine, "socket")
        assert ask(machine, number, family, kind, protocol, brokered=False) == expected


@pytest.mark.parametrize("sharing", [1, 2, 0x22, 0x21, 0x12])
@pytest.mark.parametrize("protection", [4, 5, 6, 7, 0x0100_0005])
def test_nothing_is_mapped_to_run_once_imports_are_done(
    machine: Machine, protection: int, sharing: int
) -> None:
    """Private, shared, anonymous or fixed, and whatever flags stand beside PROT_EXEC."""
    assert ask_sealed(machine, of(machine, "mmap"), 0, 4096, protection, sharing) == errno.EPERM


def test_imports_done_leave_the_rest_as_it_was(machine: Machine) -> None:
    """Data may be mapped, and whatever was let through or refused still is; no filter follows."""
    assert ask_sealed(machine, of(machine, "mmap"), 0, 4096, 3, 0x22) is None
    assert ask(machine, of(machine, "seccomp"), 1, 1) is None
    assert ask(machine, of(machine, "seccomp"), 1, 1 | 8) == errno.EPERM  # a listener
    assert ask(machine, of(machine, "seccomp"), 1, 1, profile="relaxed") == errno.EPERM
    assert ask_sealed(machine, of(machine, "seccomp"), 1, 1) == errno.EPERM
    for number in range(600):
        if number not in (of(machine, "mmap"), of(machine, "seccomp")):
            assert ask_sealed(machine, number) == ask(machine, number), number


def test_no_other_door_leads_to_new_code(machine: Machine) -> None:
    """Not by a key, by shared memory, by a remapped file or by a personality, in any phase."""
    doors = {
        "x86_64": {"pkey_mprotect": 329, "shmat": 30, "remap_file_pages": 216, "personality": 135,
                   "uselib": 134, "memfd_secret": 447, "process_vm_writev": 311},
        "aarch64": {"pkey_mprotect": 288, "shmat": 196, "remap_file_pages": 234,
                    "personality": 92, "memfd_secret": 447, "process_vm_writev": 271},
    }  # fmt: skip
    for name, number in doors[machine.name].items():
        for profile in ("strict", "relaxed"):
            assert ask(machine, number, 0, 4096, 5, profile=profile) == errno.EPERM, name


def test_relaxed_profile_is_about_memory_alone(machine: Machine) -> None:
    """Code that compiles at run time may; nothing else becomes possible."""
    assert ask(machine, of(machine, "mprotect"), 0, 4096, 7, profile="relaxed") is None
    assert ask(machine, of(machine, "mmap"), 0, 4096, 7, 0x22, profile="relaxed") is None
    for uncounted in (0x122, 0x21, 0x23, 0x4_0022):
        arguments = 0, 4096, 3, uncounted
        assert ask(machine, of(machine, "mmap"), *arguments, profile="relaxed") == errno.EPERM
    assert ask(machine, of(machine, "prctl"), 36, 1, profile="relaxed") == errno.EPERM
