"""The jail of a process that is started for one thing: it reads and writes descriptors, and ends.

For programs that look at hostile input, such as a heap snapshot. They have no
destination, no network, no scratch folder and no setting; how much memory and
time one may take is its own to say.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from sandbox import process
from sandbox.jail import descriptors, identity, landlock, openings, paths, seccomp

#: Of no worker: below all that the supervisor gives to workers.
UID = 1_899_999_999


def enter(keep: Collection[int] = ()) -> dict[str, str]:
    """Lock this process down; "on" or why not, for each layer that there is.

    Of its descriptors only 0, 1, 2 and those to `keep` are left. Python, our
    own code and its packages can be read from now on, and nothing be opened to
    write. Dies with its parent. Must run before any thread exists.
    """
    parent = os.getppid()
    uid, reason = _uid()
    report = {"descriptors": descriptors.scrub(keep), "uid": identity.drop(uid, reason)}
    process.die_with_parent(parent)
    process.set_no_new_privs()
    readable = paths.Paths(read=paths.shared(), own=(), list_only=(), write=(), keep=())
    report["landlock"] = landlock.restrict(readable, may_connect=False)
    report["seccomp"] = seccomp.restrict("strict", brokered=True)
    return report


def _uid() -> tuple[int | None, str]:
    if os.geteuid() != 0:
        return None, "not started as root"
    if not identity.may_change():
        return None, "root, but without the capability to become another user"
    obstacle = openings.obstacle(paths.code())
    return (None, obstacle) if obstacle else (UID, "")
