"""The jail: what a worker gives up before it imports a destination.

`enter` applies the layers in order and reports each by name: "on", or why not.
A layer that is not in force is reported, never silently absent; what a layer
claims is tested before it is believed.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Collection
from functools import partial

from sandbox import process
from sandbox.jail import cgroup, descriptors, identity, landlock, openings, paths, rlimits, seccomp
from sandbox.protocol import LAYERS, Spawn, Withheld

#: Whether the supervisor connects for its workers, which may then make no socket at all.
BROKERED = True


def enter(
    order: Spawn, keep: Collection[int], *, parent: int, layers: Collection[str] = LAYERS
) -> dict[str, str]:
    """Lock this process down as `order` says; "on" or why not, for each layer.

    Of its descriptors only 0, 1, 2 and those to `keep` are left, and it dies
    with `parent`. Must run before any thread exists and before a destination is
    imported. `layers` leaves some out, which shows what each of them stops.
    Raises OSError where a change of identity fails half-way.
    """
    report = {layer: "left out" if layer not in layers else "" for layer in LAYERS}
    scratch = _hold(order.scratch)
    uid, reason = _uid_of(order) if "uid" in layers else (None, "left out")
    openings.forget()
    if "descriptors" in layers:
        kept = keep if scratch is None else (*keep, scratch)
        report["descriptors"] = descriptors.scrub(kept)
    keep_paths = [*order.write_paths, *_scratch(scratch, uid)]
    if "cgroup" in layers:
        report["cgroup"] = cgroup.join(order.cgroup)
    if "rlimits" in layers:
        report["rlimits"] = rlimits.apply(order.limits, has_own_uid=uid is not None)
    if "uid" in layers:
        report["uid"] = identity.drop(uid, reason)
    # The kernel forgets it at a change of uid, and later ones are not for us to make.
    process.die_with_parent(parent)
    if "no_new_privs" in layers:
        report["no_new_privs"] = _no_new_privs()
    if "landlock" in layers:
        allowed = paths.allowed(
            order.plugin_paths, order.ca_file, keep_paths, resolves_names=not BROKERED
        )
        report["landlock"] = landlock.restrict(allowed, may_connect=not BROKERED)
    if "seccomp" in layers:
        report["seccomp"] = seccomp.restrict(order.profile, brokered=BROKERED)
    _believe_nothing(report, order, uid)
    # Last, since it looks at what the others have made of this process.
    report["egress"] = report["egress"] or _egress()
    return report


def prepare() -> None:
    """Do in the zygote what is the same for all workers, so that each starts sooner."""
    paths.shared()
    seccomp.prepare(BROKERED)
    if os.geteuid() == 0:
        openings.remember()
        identity.obstacle = openings.obstacle(paths.code())


def _uid_of(order: Spawn) -> tuple[int | None, str]:
    """The uid to become; None, and why, where this worker has to keep the service's."""
    match order.uid:
        case Withheld(reason=reason):
            return None, reason
        case uid:
            pass
    # Not `ca_file`, which the zygote has read for all: it may stay in a closed folder.
    wanted = [*order.plugin_paths, *order.write_paths]
    if obstacle := identity.obstacle or openings.obstacle(wanted):
        return None, obstacle
    return uid, ""


def _egress() -> str:
    """Whether the supervisor's broker is the only way out: tested, not believed."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.socket(family, socket.SOCK_STREAM).close()
        except PermissionError:
            continue
        except OSError:
            continue  # a kernel without this family has no way out by it either
        return "workers can still make internet sockets of their own: seccomp does not deny them"
    return "on"


def _hold(folder: str | Withheld) -> int | None:
    """A descriptor of the scratch folder, if any.

    It lies below the state directory, which is closed to other users: its path
    leads nowhere once the uid is dropped, or once that folder is laid over to
    open something else in it.
    """
    match folder:
        case Withheld():
            return None
        case path:
            return os.open(openings.outside(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _scratch(held: int | None, uid: int | None) -> list[str]:
    """Make the scratch folder this process's place for temporary files; its path, if any."""
    if held is None:
        tempfile.tempdir = "/nonexistent"  # an error that says so, and no search of a place
        return []
    path = f"/proc/self/fd/{held}"
    if uid is None and os.stat(path).st_uid != os.geteuid():
        os.chown(path, os.geteuid(), os.getegid())  # it was made for the uid that we do not get
    tempfile.tempdir = os.environ["TMPDIR"] = path
    return [path]


def _no_new_privs() -> str:
    try:
        process.set_no_new_privs()
    except OSError as error:
        return f"refused by the kernel: {error.strerror}"
    return "on"


def _believe_nothing(report: dict[str, str], order: Spawn, uid: int | None) -> None:
    """Try what each layer claims; a layer that does not hold is not "on"."""
    found: tuple[tuple[str, Callable[[], str]], ...] = (
        ("rlimits", partial(rlimits.faults, order.limits)),
        ("uid", partial(identity.faults, uid)),
        ("no_new_privs", process.no_new_privs_faults),
        ("landlock", landlock.faults),
        ("seccomp", seccomp.faults),
    )
    for layer, faults in found:
        if report[layer] == "on" and (fault := faults()):
            report[layer] = f"not in force: {fault}"
