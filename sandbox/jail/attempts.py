"""What destinations with intent try: each attempt goes past Python, straight to the kernel.

All are harmless where they get through: signal 0, a file that is removed again, a limit that is
only read. An attempt raises OSError, or MemoryError, where it is stopped. Must not know which
layer stops it: that is the table of `attacks.py`. Programs and executable memory are tried by
`native_attempts.py`, memory that nobody counts by `memory_attempts.py`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.jail import kernel

#: (x86_64, aarch64), beside those that workers need: see `numbers.py`.
_NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "capset": (126, 91),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fallocate": (285, 47),
    "fcntl": (72, 25),
    "fchmodat": (268, 53),
    "finit_module": (313, 273),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "linkat": (265, 37),
    "mount": (165, 40),
    "open_by_handle_at": (304, 265),
    "openat": (257, 56),
    "perf_event_open": (298, 241),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "rt_sigqueueinfo": (129, 138),
    "sched_setaffinity": (203, 122),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "setresuid": (117, 147),
    "setsid": (112, 157),
    "setxattr": (188, 5),
    "socket": (41, 198),
    "symlinkat": (266, 36),
    "tgkill": (234, 131),
    "truncate": (76, 45),
    "unlinkat": (263, 35),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "utimensat": (280, 88),
}
_COLUMN = 1 if os.uname().machine == "aarch64" else 0
_AT_FDCWD = -100
_O_WRONLY, _O_CREAT, _O_DIRECTORY, _O_RDWR = os.O_WRONLY, os.O_CREAT, os.O_DIRECTORY, os.O_RDWR
_MSG_FASTOPEN = 0x2000_0000
_IPPROTO_MPTCP = 262


@dataclass(frozen=True, slots=True)
class Targets:
    """What there is to attack. Processes by pid, ports on loopback.

    `readable` may be read by anybody, and `root_only` by root; `folder` and
    `victim` (a file in it) may be written by anybody. `leaked` is a descriptor
    that nobody meant to pass on, `set_uid` a copy of test(1) that runs as root;
    -1 and "" where there is none. `modules` is there where the kernel can load any.
    """

    supervisor: int
    readable: str = "/etc/passwd"
    root_only: str = "/etc/shadow"
    folder: str = ""
    victim: str = ""
    leaked: int = -1
    set_uid: str = ""
    tcp_port: int = 0
    udp_port: int = 0
    abstract: str = ""
    unix_path: str = ""
    unix_datagram_path: str = ""
    modules: str = "/proc/modules" if os.path.exists("/proc/modules") else ""


def _call(name: str, *arguments: kernel.Argument) -> int:
    return kernel.syscall(_NUMBERS[name][_COLUMN], *arguments)


def _open(path: str, flags: int, mode: int = 0) -> int:
    return _call("openat", _AT_FDCWD, os.fsencode(path), flags, mode)


# --- reads ---


def read_secret(t: Targets) -> None:
    os.read(_open(t.readable, os.O_RDONLY), 1)


def read_root_secret(t: Targets) -> None:
    os.read(_open(t.root_only, os.O_RDONLY), 1)


def read_environment(t: Targets) -> None:
    os.read(_open(f"/proc/{t.supervisor}/environ", os.O_RDONLY), 1)


def read_foreign_memory(t: Targets) -> None:
    os.close(_open(f"/proc/{t.supervisor}/mem", os.O_RDONLY))


def read_leaked(t: Targets) -> None:
    os.pread(t.leaked, 1, 0)


def list_processes(t: Targets) -> None:
    os.close(_open("/proc", os.O_RDONLY | _O_DIRECTORY))


def list_root(t: Targets) -> None:
    os.close(_open("/", os.O_RDONLY | _O_DIRECTORY))


def write_own_memory(t: Targets) -> None:
    os.close(_open("/proc/self/mem", _O_RDWR))


def open_by_handle(t: Targets) -> None:
    # A handle that fits no file: EPERM without the right to handles, ESTALE with it.
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 8, 1) + bytes(8))
    try:
        _call("open_by_handle_at", _AT_FDCWD, handle, 0)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise


# --- writes ---


def create_file(t: Targets) -> None:
    path = f"{t.folder}/made-{os.getpid()}"
    os.close(_open(path, _O_WRONLY | _O_CREAT, 0o600))
    os.unlink(path)


def write_file(t: Targets) -> None:
    os.close(_open(t.victim, _O_WRONLY))


def truncate(t: Targets) -> None:
    _call("truncate", os.fsencode(t.victim), 1)


def chmod(t: Targets) -> None:
    _call("fchmodat", _AT_FDCWD, os.fsencode(t.victim), 0o666)


def touch(t: Targets) -> None:
    times = ctypes.create_string_buffer(struct.pack("=4q", 1, 0, 1, 0))
    _call("utimensat", _AT_FDCWD, os.fsencode(t.victim), times, 0)


def set_attribute(t: Targets) -> None:
    _call("setxattr", os.fsencode(t.victim), b"user.bulkhead", b"1", 1, 0)


def link(t: Targets) -> None:
    path = f"{t.folder}/link-{os.getpid()}"
    _call("linkat", _AT_FDCWD, os.fsencode(t.victim), _AT_FDCWD, os.fsencode(path), 0)
    os.unlink(path)


def symlink(t: Targets) -> None:
    path = f"{t.folder}/symlink-{os.getpid()}"
    _call("symlinkat", b"/etc/shadow", _AT_FDCWD, os.fsencode(path))
    os.unlink(path)


# --- the kernel ---


def mount(t: Targets) -> None:
    _call("unshare", 0x20000)  # so that an attempt that gets through harms nothing
    _call("mount", b"none", b"/proc", b"tmpfs", 0, None)


def chroot(t: Targets) -> None:
    _call("chroot", b"/proc")


def unshare_user(t: Targets) -> None:
    _call("unshare", 0x1000_0000)


def unshare_mounts(t: Targets) -> None:
    _call("unshare", 0x20000)


def _clone(flags: int) -> None:
    if _call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


def clone_user(t: Targets) -> None:
    _clone(0x1000_0000)


def clone_for_parent(t: Targets) -> None:
    _clone(0x8000)


def clone3_user(t: Targets) -> None:
    arguments = ctypes.create_string_buffer(
        struct.pack("=8Q", 0x1000_0000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    )
    if _call("clone3", arguments, 64) == 0:
        os._exit(0)


def enter_namespace(t: Targets) -> None:
    _call("setns", os.open("/proc/self/ns/uts", os.O_RDONLY), 0)  # entering one's own takes as much


def join_keyring(t: Targets) -> None:
    _call("keyctl", 1, None)


def add_key(t: Targets) -> None:
    _call("add_key", b"user", b"bulkhead", b"x", 1, -2)  # the process keyring


def bpf(t: Targets) -> None:
    attr = ctypes.create_string_buffer(struct.pack("=4I", 2, 4, 4, 1) + bytes(100))
    _call("bpf", 0, attr, 116)


def perf(t: Targets) -> None:
    # A software clock on ourselves, the kernel left out: what any user may count.
    attr = ctypes.create_string_buffer(
        struct.pack("=IIQQQQQ", 1, 112, 1, 0, 0, 0, 0x60) + bytes(64)
    )
    _call("perf_event_open", attr, 0, -1, -1, 0)


def io_uring(t: Targets) -> None:
    _call("io_uring_setup", 1, ctypes.create_string_buffer(120))


def userfaultfd(t: Targets) -> None:
    _call("userfaultfd", 1)


def load_module(t: Targets) -> None:
    # No module: EBADF with the right to load one.
    try:
        _call("finit_module", -1, b"", 0)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


# --- other processes ---


def signal_process(t: Targets) -> None:
    _call("kill", t.supervisor, 0)


def signal_thread(t: Targets) -> None:
    _call("tgkill", t.supervisor, t.supervisor, 0)


def signal_by_queue(t: Targets) -> None:
    _call("rt_sigqueueinfo", t.supervisor, 0, struct.pack("=iii", 0, 0, -1) + bytes(116))


def signal_by_pidfd(t: Targets) -> None:
    _call("pidfd_send_signal", _call("pidfd_open", t.supervisor, 0), 0, None, 0)


def signal_by_owner(t: Targets) -> None:
    readable, _ = os.pipe()
    _call("fcntl", readable, 8, t.supervisor)  # F_SETOWN


def renice(t: Targets) -> None:
    _call("setpriority", 0, t.supervisor, os.getpriority(os.PRIO_PROCESS, t.supervisor))


def pin(t: Targets) -> None:
    mask = ctypes.create_string_buffer(b"\xff" * 8)
    _call("sched_setaffinity", t.supervisor, 8, mask)


def limit_other(t: Targets) -> None:
    _call("prlimit64", t.supervisor, 7, None, ctypes.create_string_buffer(16))


def trace(t: Targets) -> None:
    _call("ptrace", 0x4206, t.supervisor, 0, 0)  # PTRACE_SEIZE


def read_by_call(t: Targets) -> None:
    # From an address that nothing is at: EFAULT with the right to read.
    ours = ctypes.create_string_buffer(1)
    here = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(ours), 1))
    there = ctypes.create_string_buffer(struct.pack("=QQ", 1, 1))
    try:
        _call("process_vm_readv", t.supervisor, here, 1, there, 1, 0)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise


def outlive(t: Targets) -> None:
    _call("prctl", 1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG


def adopt(t: Targets) -> None:
    _call("prctl", 36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def leave_session(t: Targets) -> None:
    _call("setsid")


# --- the network ---


def _connect(family: int, kind: int, protocol: int, address: tuple[str, int] | str) -> None:
    with socket.socket(family, kind, protocol) as made:
        made.settimeout(2)
        made.connect(address)


def tcp(t: Targets) -> None:
    _connect(socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", t.tcp_port))


def tcp_mapped(t: Targets) -> None:
    _connect(socket.AF_INET6, socket.SOCK_STREAM, 0, ("::ffff:127.0.0.1", t.tcp_port))


def mptcp(t: Targets) -> None:
    _connect(socket.AF_INET, socket.SOCK_STREAM, _IPPROTO_MPTCP, ("127.0.0.1", t.tcp_port))


def fast_open(t: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.sendto(b"x", _MSG_FASTOPEN, ("127.0.0.1", t.tcp_port))


def udp(t: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"x", ("127.0.0.1", t.udp_port))


def listen(t: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.bind(("127.0.0.1", 0))
        made.listen(1)


def listen_unbound(t: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.listen(1)  # the kernel picks a port by itself


def bind_udp(t: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))


def family(family: int, kind: int, protocol: int) -> Callable[[Targets], None]:
    def attempt(t: Targets) -> None:
        os.close(_call("socket", family, kind, protocol))

    return attempt


def abstract(t: Targets) -> None:
    _connect(socket.AF_UNIX, socket.SOCK_STREAM, 0, "\0" + t.abstract)


def unix(t: Targets) -> None:
    _connect(socket.AF_UNIX, socket.SOCK_STREAM, 0, t.unix_path)


def unix_datagram(t: Targets) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.sendto(b"x", t.unix_datagram_path)


# --- privileges and limits ---


def become_root(t: Targets) -> None:
    _call("setresuid", 0, 0, 0)


def gain_capability(t: Targets) -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x2008_0522, 0))
    everything = ctypes.create_string_buffer(struct.pack("=6I", 1, 1, 0, 0, 0, 0))
    _call("capset", header, everything)


def allocate_disk(t: Targets) -> None:
    # Of no file: EBADF where the call is allowed.
    try:
        _call("fallocate", -1, 0, 0, 1024**3)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


def hide_descriptor(t: Targets) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs, open("/dev/null", "rb") as held:
        socket.send_fds(ours, [b"x"], [held.fileno()])
