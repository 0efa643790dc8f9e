"""Layer `landlock`: files, TCP ports, abstract sockets and signals, by the kernel's own module.

Owns the rule set and what each version of the kernel's interface (its ABI) adds.
What may be used is `paths.py`'s. See landlock(7) and
https://docs.kernel.org/userspace-api/landlock.html. It knows paths, ports and
domains; it does not stop chmod, stat or a UDP packet, which `seccomp.py` does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from sandbox.jail import kernel
from sandbox.jail.paths import Paths

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR = 1 << 4, 1 << 5, 1 << 6, 1 << 7
MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = 1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1 << 0, 1 << 1

_FILES_ABI_1 = (1 << 13) - 1
#: ABI → what it is the first to handle.
_FILES_SINCE = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
_NET_SINCE, _SCOPE_SINCE = 4, 6
#: What a rule about a single file may name.
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_KEEP = (READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | REFER | MAKE_REG | MAKE_DIR) | (
    REMOVE_FILE | REMOVE_DIR
)

#: Descriptors of files in /proc/self that rules are about. A file there is made anew when it has
#: fallen out of the kernel's cache, and then no rule is about it: being open keeps it in.
_held: list[int] = []


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """The kernel's version of the interface. Raises OSError where there is none."""
    return kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)


def restrict(paths: Paths, *, may_connect: bool) -> str:
    """Put this process, and whatever it forks, under the rules; "on", or why not.

    `may_connect`: TCP connections are its own business; without it they are
    denied, whatever the port. Needs no_new_privs to be set.
    """
    try:
        version = abi()
    except OSError as error:
        return _REASONS.get(error.errno or 0, f"refused by the kernel: {error.strerror}")
    if not kernel.is_single_threaded():
        return "a thread exists already, and this kernel restricts none but the calling one"
    try:
        _restrict(version, paths, may_connect)
    except OSError as error:
        return f"refused by the kernel: {error.strerror}"
    missing = _missing(version)
    return f"in part: ABI {version} of this kernel does not know {missing}" if missing else "on"


_REASONS = {
    errno.ENOSYS: "this kernel has no Landlock (Linux 5.13), or a container's profile hides it",
    errno.EOPNOTSUPP: "this kernel has Landlock, but was started without it (lsm=)",
    errno.EPERM: "a profile that this service runs under denies it",
}


def _missing(version: int) -> str:
    gaps = []
    if version < 3:
        gaps.append("truncation")
    if version < _NET_SINCE:
        gaps.append("TCP ports")
    if version < _SCOPE_SINCE:
        gaps.append("abstract sockets and signals")
    return ", ".join(gaps)


def _restrict(version: int, paths: Paths, may_connect: bool) -> None:
    handled = _FILES_ABI_1
    for since, right in _FILES_SINCE.items():
        if version >= since:
            handled |= right
    ruleset = _create(version, handled, BIND_TCP if may_connect else BIND_TCP | CONNECT_TCP)
    try:
        for path in paths.read:
            _allow(ruleset, path, (READ_FILE | READ_DIR) & handled)
        for path in paths.own:
            _allow(ruleset, path, READ_FILE, hold=True)
        for path in paths.list_only:
            _allow(ruleset, path, READ_DIR, hold=True)
        for path in paths.write:
            _allow(ruleset, path, (READ_FILE | WRITE_FILE | TRUNCATE) & handled)
        for path in paths.keep:
            _allow(ruleset, path, _KEEP & handled)
        kernel.syscall(kernel.LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _create(version: int, files: int, ports: int) -> int:
    attr = _RulesetAttr(files)
    size = ctypes.sizeof(ctypes.c_uint64)
    if version >= _NET_SINCE:
        attr.handled_access_net = ports
        size *= 2
    if version >= _SCOPE_SINCE:
        attr.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL
        size = ctypes.sizeof(attr)
    return kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, attr, size, 0)


def _allow(ruleset: int, path: str, access: int, *, hold: bool = False) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it is not there, or not ours to see: no rule makes it readable
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        access &= _OF_FILES
    try:
        beneath = _PathBeneathAttr(access, descriptor)
        kernel.syscall(kernel.LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, beneath, 0)
    finally:
        if hold:
            _held.append(descriptor)
        else:
            os.close(descriptor)


def faults() -> str:
    """What the rules do not stop and should; empty where they hold."""
    for path in ("/", "/proc", "/proc/self/mem"):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == errno.EACCES:
                continue
            return f"opening {path} ended with {error.strerror}"
        return f"{path} could be opened"
    return ""
