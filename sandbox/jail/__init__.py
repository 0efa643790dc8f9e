"""The jail: what a worker gives up before it imports a destination.

`enter` applies the layers in order and reports each by name: "on", or why not.
A layer that is not in force is said, never silently absent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection

from sandbox import process
from sandbox.protocol import LAYERS


def enter(keep: Collection[int]) -> dict[str, str]:
    """Lock this process down; of its descriptors only 0, 1, 2 and those to `keep` are left.

    Must run before any thread exists and before a destination is imported.
    """
    report = dict.fromkeys(LAYERS, "not part of this version")
    report["descriptors"] = _scrub(keep)
    report["no_new_privs"] = _no_new_privs()
    # Last, since it looks at what the others have made of this process.
    report["egress"] = _egress()
    return report


def _scrub(keep: Collection[int]) -> str:
    # The environment was scrubbed when the zygote was started; what it was started with is
    # readable in /proc/self/environ, so nothing secret may ever be in it.
    first = 3
    for descriptor in sorted(keep):
        os.closerange(first, descriptor)
        os.set_inheritable(descriptor, False)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    return "on"


def _egress() -> str:
    """Whether the supervisor's broker is the only way out: tried, not believed."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.socket(family, socket.SOCK_STREAM).close()
        except PermissionError:
            continue
        except OSError:
            continue  # a kernel without this family has no way out by it either
        return "workers can still make internet sockets of their own: seccomp does not deny them"
    return "on"


def _no_new_privs() -> str:
    try:
        process.set_no_new_privs()
    except OSError as error:
        return f"refused by the kernel: {error.strerror}"
    return "on"
