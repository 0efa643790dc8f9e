"""Layer `uid`: a user of its own for each worker, and no capability left.

Owns the drop. Which uid a worker gets is the supervisor's choice, and comes
with its order. A service that was not started as root has nothing to drop but
stray capabilities; its workers then share its uid, which is said.
"""

from __future__ import annotations

import ctypes
import errno
import os

from sandbox import process

_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAP_VERSION_3 = 0x20080522
_CAP_SETGID, _CAP_SETUID = 6, 7

_libc = ctypes.CDLL(None, use_errno=True)

#: Why no other user can run workers here, found out by the zygote before it forks them.
obstacle = ""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int32))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop(uid: int | None, reason: str) -> str:
    """Become `uid` (and the group of that number) for good, with no capability; "on", or why not.

    None where the supervisor gave no uid; `reason` is then why. Raises OSError
    where the change fails half-way: a process in that state must not go on.
    """
    _empty_bounding_set()
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _drop_capabilities()
    return "on" if uid is not None else reason


def may_change() -> bool:
    """Whether this process may become another user and group."""
    effective = _capabilities()[0]
    return all(effective >> bit & 1 for bit in (_CAP_SETGID, _CAP_SETUID))


def faults(uid: int | None) -> str:
    """What of root is left or could be had back; empty where nothing is."""
    if any(_capabilities()):
        return "capabilities are left"
    if uid is None:
        return ""
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (uid, uid, uid):
        return "user or group are not those that were ordered"
    if os.getgroups():
        return "supplementary groups are left"
    return ""


def _empty_bounding_set() -> None:
    for capability in range(64):
        try:
            process.prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return  # past the last capability that this kernel knows
            if error.errno == errno.EPERM:
                return  # no CAP_SETPCAP: with no_new_privs the set is of no use to anybody
            raise


def _drop_capabilities() -> None:
    if not any(_capabilities()):
        return  # and a service's own filter may not let us ask for it
    if _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        if code != errno.EINVAL:  # before Linux 4.3 there are none
            raise OSError(code, os.strerror(code))
    if _libc.capset(ctypes.byref(_Header(_CAP_VERSION_3, 0)), ctypes.byref((_Data * 2)())) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _capabilities() -> tuple[int, ...]:
    data = (_Data * 2)()
    if _libc.capget(ctypes.byref(_Header(_CAP_VERSION_3, 0)), ctypes.byref(data)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return tuple(
        value for half in data for value in (half.effective, half.permitted, half.inheritable)
    )
