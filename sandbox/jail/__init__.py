"""The jail: what a worker gives up before it imports a destination.

Owns the table of layers. `enter` applies them in order and reports each by
name: "on", or why not. A layer that is not in force is reported, never silently
absent; what a layer claims is tested before it is believed. `seal` takes away what imports
need, once they are done.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sandbox import process
from sandbox.jail import (
    cgroup,
    descriptors,
    identity,
    landlock,
    native,
    openings,
    paths,
    rlimits,
    seccomp,
)
from sandbox.protocol import LAYERS, Spawn, Withheld

#: Whether the supervisor connects for its workers, which may then make no socket at all.
BROKERED = True


@dataclass(frozen=True, slots=True)
class Confinement:
    """What the layers are given: the order, and what was made of it before the first of them.

    `keep` are descriptors that stay open. `uid` is the user to become; None where the worker keeps
    the service's, and `why_no_uid` says why. `write_paths` includes the scratch folder.
    """

    order: Spawn
    keep: tuple[int, ...]
    uid: int | None
    why_no_uid: str
    write_paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: `apply` answers "on" or why not, `faults` what does not hold afterwards, or ""."""

    name: str
    apply: Callable[[Confinement], str]
    faults: Callable[[Confinement], str] = lambda worker: ""


def _landlock(worker: Confinement) -> str:
    allowed = paths.allowed(
        worker.order.plugin_paths,
        worker.order.ca_file,
        worker.write_paths,
        resolves_names=not BROKERED,
    )
    return landlock.restrict(allowed, may_connect=not BROKERED)


def _no_new_privs(worker: Confinement) -> str:
    try:
        process.set_no_new_privs()
    except OSError as error:
        return f"refused by the kernel: {error.strerror}"
    return "on"


def _egress(worker: Confinement) -> str:
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


#: Every layer, in the order in which they are applied: groups are joined and limits lowered while
#: the process may still do so, and each later layer would deny what an earlier one needs. `egress`
#: is last, since it looks at what the others have made of this process.
TABLE = (
    Layer("descriptors", lambda worker: descriptors.scrub(worker.keep)),
    Layer("cgroup", lambda worker: cgroup.join(worker.order.cgroup)),
    Layer(
        "rlimits",
        lambda worker: rlimits.apply(worker.order.limits, has_own_uid=worker.uid is not None),
        lambda worker: rlimits.faults(worker.order.limits),
    ),
    Layer(
        "uid",
        lambda worker: identity.drop(worker.uid, worker.why_no_uid),
        lambda worker: identity.faults(worker.uid),
    ),
    Layer("no_new_privs", _no_new_privs, lambda worker: process.no_new_privs_faults()),
    Layer("landlock", _landlock, lambda worker: landlock.faults()),
    Layer(
        "seccomp",
        lambda worker: seccomp.restrict(worker.order.profile, brokered=BROKERED),
        lambda worker: seccomp.faults(),
    ),
    Layer("egress", _egress),
)


def enter(
    order: Spawn,
    keep: Collection[int],
    *,
    parent: int,
    layers: Collection[str] = LAYERS,
    scratch: int | None = None,
) -> dict[str, str]:
    """Lock this process down as `order` says; "on" or why not, for each layer.

    Of its descriptors only 0, 1, 2 and those to `keep` are left, and it dies
    with `parent`. `scratch` is one of them, the folder for its files. Must run
    before any thread exists and before a destination is imported. `layers` leaves
    some out, which shows what each of them stops.
    Raises OSError where a change of identity fails half-way.
    """
    report = dict.fromkeys(LAYERS, "left out")
    uid, reason = _uid_of(order) if "uid" in layers else (None, "left out")
    openings.forget()
    worker = Confinement(
        order,
        tuple(keep),
        uid,
        reason,
        (*order.write_paths, *_scratch(scratch, uid)),
    )
    for layer in TABLE:
        if layer.name in layers:
            report[layer.name] = layer.apply(worker)
        if layer.name == "uid":
            # The kernel forgets it at a change of uid, and later ones are not for us to make.
            process.die_with_parent(parent)
    for layer in TABLE:
        if report[layer.name] == "on" and (fault := layer.faults(worker)):
            report[layer.name] = f"not in force: {fault}"
    return report


def seal(profile: str, report: dict[str, str]) -> None:
    """Take away what only imports need: native code that is not loaded yet. `report` is `enter`'s.

    Profile `relaxed` keeps it. Where it cannot be taken away, `report` says so of `seccomp`.
    """
    if profile == "relaxed" or report["seccomp"] != "on":
        return
    native.explain_refusals()
    if (sealed := seccomp.seal()) != "on":
        report["seccomp"] = f"in part: new code can still be loaded: {sealed}"


def prepare() -> None:
    """Do in the zygote what is the same for all workers, so that each starts sooner."""
    native.load_ahead()
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
