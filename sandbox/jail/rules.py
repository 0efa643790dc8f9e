"""Which system calls a worker may make, and why: the table, to be read. Pure.

A call that is not here ends with EPERM. One with cases is allowed where all
tests of one of them hold. Numbers are `numbers.py`'s, the program is `bpf.py`'s.
What only looks (stat, readlink, access) is allowed everywhere: existence and
size of a file are no secret here, and its contents are Landlock's business.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sandbox.jail.bpf import Machine, SyscallAction, Test
from sandbox.jail.numbers import NUMBERS

Cases = tuple[tuple[Test, ...], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """`calls` are names, separated by blanks; a refused one ends with `error`, or else EPERM."""

    calls: str
    reason: str
    cases: Cases = ()
    error: int = 0
    is_allowed: bool = True


def _is(index: int, value: int) -> Test:
    return Test(index, value)


def _without(index: int, bits: int) -> Test:
    """None of these bits is set."""
    return Test(index, 0, mask=bits)


def _null(index: int) -> Test:
    return Test(index, 0, mask=0xFFFF_FFFF_FFFF_FFFF, wide=True)


def _any_of(index: int, *values: int) -> Cases:
    return tuple((_is(index, value),) for value in values)


PROT_WRITE, PROT_EXEC = 2, 4
MAP_SHARED, MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_HUGETLB = 1, 0x20, 0x100, 0x4_0000
#: RLIMIT_DATA leaves out what may grow as a stack, however large it is mapped; huge pages are in no
#: sum of a process's memory.
_UNCOUNTED = MAP_GROWSDOWN | MAP_HUGETLB
#: Of a file, or private: shared memory without a file is in no limit, and in a sum only while it
#: is mapped and touched. MAP_SHARED_VALIDATE has the bit of MAP_SHARED too.
_COUNTED = (_without(3, _UNCOUNTED | MAP_ANONYMOUS),), (_without(3, _UNCOUNTED | MAP_SHARED),)
MSG_FASTOPEN = 0x2000_0000
_SOCK_FLAGS = 0o4000 | 0o2000000  # SOCK_NONBLOCK, SOCK_CLOEXEC
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_STREAM, _DGRAM, _SEQPACKET = 1, 2, 5
_TCP, _UDP = 6, 17
#: glibc's and musl's pthread_create, and glibc's fork: exact, so that no namespace, no
#: CLONE_PARENT (a child that our parent would have to bury) and no shared memory is among them.
_THREAD, _THREAD_MUSL, _FORK = 0x3D_0F00, 0x7D_0F00, 0x0120_0011
_PR_SET_PDEATHSIG, _PR_GET_DUMPABLE, _PR_SET_NAME, _PR_GET_NAME = 1, 3, 15, 16
_PR_GET_SECCOMP, _PR_CAPBSET_READ, _PR_GET_NO_NEW_PRIVS = 21, 23, 39
_IOCTLS = {
    "FIONBIO": 0x5421,
    "FIONREAD": 0x541B,
    "FIOCLEX": 0x5451,
    "FIONCLEX": 0x5450,
    "TCGETS": 0x5401,  # isatty
    "TIOCGWINSZ": 0x5413,
}
_FCNTLS = {
    "F_DUPFD": 0,
    "F_GETFD": 1,
    "F_SETFD": 2,
    "F_GETFL": 3,
    "F_SETFL": 4,
    "F_GETLK": 5,
    "F_SETLK": 6,
    "F_SETLKW": 7,
    "F_OFD_GETLK": 36,
    "F_OFD_SETLK": 37,
    "F_OFD_SETLKW": 38,
    "F_DUPFD_CLOEXEC": 1030,
    "F_GETPIPE_SZ": 1032,
}
_SOL_SOCKET, _SOL_IPV6 = 1, 41
#: SO_REUSEADDR, SO_BROADCAST, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_LINGER and the time-outs. No
#: SO_ATTACH_FILTER or _BPF.
_SOCKET_OPTIONS = (2, 6, 7, 8, 9, 13, 20, 21)
#: NODELAY, CORK, the keep-alive times, QUICKACK, USER_TIMEOUT. No REPAIR, ULP or FASTOPEN_CONNECT.
_TCP_OPTIONS = (1, 3, 4, 5, 6, 12, 18)
_IPV6_V6ONLY = 26
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FLAG_TSYNC = 1, 1

_SOCKET_PAIRS: Cases = tuple(
    (_is(0, _AF_UNIX), Test(1, kind, mask=~_SOCK_FLAGS & 0xFFFF_FFFF), _is(2, 0))
    for kind in (_STREAM, _SEQPACKET)
)
_INET_SOCKETS: Cases = tuple(
    (_is(0, family), Test(1, kind, mask=~_SOCK_FLAGS & 0xFFFF_FFFF), _is(2, protocol))
    for family in (_AF_INET, _AF_INET6)
    for kind, protocols in ((_STREAM, (0, _TCP)), (_DGRAM, (0, _UDP)))
    for protocol in protocols
)


def rules(profile: str, *, own_pid: int, brokered: bool) -> Iterator[Rule]:
    """The rules of one worker. `brokered`: connected sockets are given to it; it makes none."""
    yield from _EVERYWHERE
    yield from _processes(own_pid)
    yield from _CONNECTED_ONLY if brokered else _OWN_CONNECTIONS
    yield from _memory(is_relaxed=profile == "relaxed")


_EVERYWHERE = (
    # --- time, identity, randomness: they tell, and change nothing ---
    Rule("clock_gettime clock_getres clock_nanosleep gettimeofday time nanosleep", "time"),
    Rule("getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid", "identity"),
    Rule("getgroups getpgid getpgrp getsid capget uname sysinfo getcpu", "identity, machine"),
    Rule("getrandom", "TLS, uuid, hash seeds"),
    Rule(
        "getrusage times getrlimit getpriority sched_getaffinity sched_yield", "accounts of our own"
    ),
    Rule("sched_get_priority_max sched_get_priority_min", "asked by thread libraries"),
    # --- files by path: which ones is Landlock's business ---
    Rule("open openat openat2 creat", "files; Landlock decides which"),
    Rule("stat lstat fstat newfstatat statx statfs fstatfs", "look"),
    Rule("access faccessat faccessat2 readlink readlinkat", "look"),
    Rule("getcwd chdir fchdir getdents getdents64 umask", "find the way"),
    Rule("mkdir mkdirat rmdir unlink unlinkat", "in the scratch folder; Landlock decides"),
    Rule("rename renameat renameat2 link linkat", "in the scratch folder; Landlock decides"),
    # --- descriptors that are open already ---
    Rule("read pread64 readv preadv preadv2 write pwrite64 writev pwritev pwritev2", "transfer"),
    Rule("close close_range lseek dup dup2 dup3 fsync fdatasync flock", "descriptors"),
    Rule("ftruncate fadvise64 sendfile", "descriptors; their size has a limit"),
    Rule(
        "fallocate",
        "gigabytes of a disk would be taken between two looks; glibc writes zeros instead",
        error=errno.EOPNOTSUPP,
        is_allowed=False,
    ),
    Rule("pipe pipe2 eventfd2 timerfd_create timerfd_settime timerfd_gettime", "loops wake up"),
    Rule("poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl", "event loops"),
    Rule("epoll_wait epoll_pwait epoll_pwait2", "event loops"),
    Rule(
        "ioctl",
        "no TIOCSTI, which types into the operator's terminal",
        _any_of(1, *_IOCTLS.values()),
    ),
    Rule("fcntl", "no F_SETOWN and F_SETSIG, which signal anybody", _any_of(1, *_FCNTLS.values())),
    # --- sockets that are connected already ---
    Rule(
        "recvfrom recvmsg recvmmsg shutdown getsockname getpeername getsockopt", "connected sockets"
    ),
    Rule(
        "setsockopt",
        "no filters, no kernel TLS, no fast open",
        (
            *((_is(1, _SOL_SOCKET), _is(2, option)) for option in _SOCKET_OPTIONS),
            *((_is(1, _TCP), _is(2, option)) for option in _TCP_OPTIONS),
            (_is(1, _SOL_IPV6), _is(2, _IPV6_V6ONLY)),
        ),
    ),
    Rule("socketpair", "of UNIX streams; a datagram one would reach other sockets", _SOCKET_PAIRS),
    Rule(
        "sendmsg",
        "a descriptor on its way in a socket is no process's: what it holds would not be counted",
        is_allowed=False,
    ),
    # --- signals and waiting ---
    Rule("rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack rt_sigpending", "signal handlers"),
    Rule("rt_sigtimedwait rt_sigsuspend pause restart_syscall", "wait for a signal"),
    Rule("setitimer getitimer alarm", "timers on ourselves"),
    Rule("wait4 waitid exit exit_group", "the copy that a heap snapshot is taken of, and the end"),
    # --- threads and memory ---
    Rule("futex set_robust_list get_robust_list set_tid_address rseq membarrier", "threads"),
    Rule("brk munmap mremap madvise msync", "memory"),
    Rule(
        "clone3",
        "its flags cannot be looked at; libc falls back on clone",
        error=errno.ENOSYS,
        is_allowed=False,
    ),
    Rule(
        "io_uring_setup io_uring_enter io_uring_register",
        "it would do calls past these rules; libuv falls back on epoll",
        error=errno.ENOSYS,
        is_allowed=False,
    ),
)


def _processes(own_pid: int) -> Iterator[Rule]:
    yield Rule(
        "clone",
        "threads, and the fork for a heap snapshot; no namespaces",
        _any_of(0, _THREAD, _THREAD_MUSL, _FORK),
    )
    yield Rule("kill tgkill", "raise and abort: ourselves only", _any_of(0, own_pid))
    yield Rule("prlimit64", "our own limits", _any_of(0, 0, own_pid))
    yield Rule(
        "prctl",
        "names, questions, and the wish to die with the parent; nothing that undoes this",
        (
            *_any_of(
                0,
                _PR_GET_DUMPABLE,
                _PR_SET_NAME,
                _PR_GET_NAME,
                _PR_GET_SECCOMP,
                _PR_CAPBSET_READ,
                _PR_GET_NO_NEW_PRIVS,
            ),
            (
                _is(0, _PR_SET_PDEATHSIG),
                Test(1, signal.SIGKILL, mask=0xFFFF_FFFF_FFFF_FFFF, wide=True),
            ),
        ),
    )


#: Where the supervisor connects for its workers.
_CONNECTED_ONLY = (
    Rule(
        "sendto",
        "to the peer that it is connected to; an address would be another",
        ((_null(4), _without(3, MSG_FASTOPEN)),),
    ),
)
#: For as long as workers connect by themselves: TCP and UDP by their own protocols, never
#: MPTCP (which Landlock's port rules do not see), raw, packet, netlink or UNIX sockets.
_OWN_CONNECTIONS = (
    Rule("socket", "TCP, and UDP for names", _INET_SOCKETS),
    Rule("connect", "where Landlock and the socket's family let it"),
    Rule("sendto", "MSG_FASTOPEN would connect", ((_without(3, MSG_FASTOPEN),),)),
    Rule(
        "sendmmsg", "glibc asks for both kinds of address at once", ((_without(3, MSG_FASTOPEN),),)
    ),
)


def _memory(*, is_relaxed: bool) -> Iterator[Rule]:
    if is_relaxed:
        yield Rule("mprotect", "memory, executable too: profile relaxed")
        yield Rule("mmap", "the same; nothing that no limit counts", _COUNTED)
        return
    yield Rule(
        "mmap",
        "libraries may be mapped to run, and never be written to; nothing that no limit counts",
        (
            *((_without(2, PROT_EXEC), *counted) for counted in _COUNTED),
            (_without(2, PROT_WRITE), _without(3, _UNCOUNTED | MAP_ANONYMOUS)),
        ),
    )
    yield Rule("mprotect", "nothing becomes executable later", ((_without(2, PROT_EXEC),),))
    yield Rule(
        "seccomp",
        "for what is denied once imports are done; a filter only takes away. No listener: it would "
        "decide for calls of others",
        ((_is(0, _SECCOMP_SET_MODE_FILTER), _is(1, _SECCOMP_FLAG_TSYNC)),),
    )


#: What profile `strict` takes away once the destinations are imported. All other doors to new code
#: (mprotect, pkey_mprotect, shmat, personality, memfd_create, execve) are closed from the start.
_SEALED = (
    Rule(
        "mmap",
        "libraries are mapped to run while destinations are imported, and not later",
        ((_without(2, PROT_EXEC),),),
    ),
    Rule("seccomp", "this was the last filter", is_allowed=False),
)


def verdicts(
    machine: Machine, profile: str, *, own_pid: int, brokered: bool
) -> dict[int, SyscallAction]:
    """The rules by number, on `machine`; calls that it does not have are left out."""
    return _by_number(machine, rules(profile, own_pid=own_pid, brokered=brokered))


def sealed(machine: Machine) -> dict[int, SyscallAction]:
    """By number, what is looked at anew in a worker of profile `strict` whose imports are done."""
    return _by_number(machine, _SEALED)


def _by_number(machine: Machine, wanted: Iterable[Rule]) -> dict[int, SyscallAction]:
    found: dict[int, SyscallAction] = {}
    for rule in wanted:
        for name in rule.calls.split():
            number = NUMBERS[name][machine.column]
            if number is not None:
                found[number] = SyscallAction(rule.cases, rule.error, rule.is_allowed)
    return found
