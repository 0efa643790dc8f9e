"""Where the paths of a config lead, and that none leads workers to what is not theirs.

Owns the one rule for every path that a config names:

- A folder of `write_paths` is its workers' to read and to change. It is no part of a tree that the
  service takes things from or keeps them in (plugin folders, the state directory with the kept
  code, our own code), and holds no such tree and none of our files (the config, files of secrets,
  certificates, sockets). Nor does a name stand in it that is on the way to any of these, a link
  included: who may change a folder decides where the names in it lead. So no such folder lies in
  another one either.
- What a plugin folder and `ca_file` hold is every worker's to read. A plugin folder is no part of
  the state directory, and `ca_file` holds no secret. What of ours lies in a plugin folder is left
  out of what workers get, which is up to `supervisor/workers/code.py`, links in it included.

Paths are compared by where they lead, links, `..` and mounts followed, and never as they are
written. A new key that names a path takes its place in `_ours`; one that lets workers write, in
`_written`. Must not open what it is asked about, nor know what is in it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from supervisor.config.secrets import key_path
from supervisor.config.types import Address, Config, Pool, Service
from supervisor.runtime.files import read_file

#: Links that are followed on the way to one place; the kernel follows as many.
MAX_LINKS = 40
_MOUNTS = Path("/proc/self/mountinfo")
_MAX_MOUNTS = 16 * 1024 * 1024
_PACKAGES = ("supervisor", "sandbox", "destinations")


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file system, whatever paths lead there: `path` is the one from its own root."""

    device: str
    path: str

    def is_in(self, other: Spot) -> bool:
        """Whether it is `other`, or lies somewhere below it."""
        return self.device == other.device and (
            self.path == other.path or self.path.startswith(f"{other.path.rstrip('/')}/")
        )


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a path leads."""

    spots: tuple[Spot, ...]
    """The place itself, then what is mounted below it."""
    way: tuple[Spot, ...]
    """The folders that the names on the way there stand in."""

    def is_in(self, other: Whereabouts) -> bool:
        """Whether it, or what is mounted below it, is part of the other."""
        return any(mine.is_in(theirs) for mine in self.spots for theirs in other.spots)

    def is_decided_in(self, other: Whereabouts) -> bool:
        """Whether somebody who may change the other may change where the path leads."""
        return any(mine.is_in(theirs) for mine in self.way for theirs in other.spots)


class _Mount(NamedTuple):
    point: str
    spot: Spot


class FileTree:
    """All that is mounted for this process, as it was when this was made."""

    def __init__(self) -> None:
        self._mounts = _mounts()

    def whereabouts(self, path: Path) -> Whereabouts:
        """Where `path`, which is absolute, leads now. Whatever is not there lies where it would."""
        real, folders = _followed(str(path))
        below = f"{real.rstrip('/')}/"
        return Whereabouts(
            (
                self._spot(real),
                *(
                    mount.spot
                    for mount in self._mounts.values()
                    if mount.point.startswith(below) and mount.point != real
                ),
            ),
            tuple(map(self._spot, dict.fromkeys(folders))),
        )

    def _spot(self, real: str) -> Spot:
        mount = self._mounts.get(_mount_number(real))
        if mount is None or not f"{real}/".startswith(f"{mount.point.rstrip('/')}/"):
            return Spot("", real)  # no /proc, or another root than its: as good as one file system
        inside = real[len(mount.point.rstrip("/")) :]
        return Spot(mount.spot.device, f"{mount.spot.path.rstrip('/')}{inside}" or "/")


class _Kept(NamedTuple):
    """What no worker may change: what it is called, what would come of it, and where it is."""

    name: str
    consequence: str
    path: Path
    is_tree: bool = True
    """Nobody may write into it either."""


def faults_of(config: Config) -> list[tuple[str, str]]:
    """As `faults`, of a whole config."""
    return faults(
        config_file=config.path.absolute(),
        service=config.service,
        pools=config.pools,
        ca_file=config.sandbox.ca_file,
        listens={"api.listen": config.api.listen, "admin.listen": config.admin.listen},
        secret_files=config.secret_files,
    )


def faults(
    *,
    config_file: Path,
    service: Service,
    pools: Mapping[str, Pool | None],
    ca_file: Path | None,
    listens: Mapping[str, Address],
    secret_files: Collection[Path],
) -> list[tuple[str, str]]:
    """Which paths lead where they must not: the key path of each, and what is wrong with it.

    Of each path the first place is told that it meets.
    """
    written = list(_written(pools))
    if not written and not service.plugin_paths and ca_file is None:
        return []
    tree = FileTree()
    found: list[tuple[str, str]] = []
    state = tree.whereabouts(service.state_dir)
    for index, folder in enumerate(service.plugin_paths):
        if tree.whereabouts(folder).is_in(state):
            found.append(
                (
                    key_path(("service", "plugin_paths", index)),
                    f"{folder} leads into service.state_dir ({service.state_dir}), which no "
                    "worker may see; name a folder with nothing but plugins",
                )
            )
    if ca_file is not None:
        is_secret = {path.resolve() for path in secret_files}
        if ca_file.resolve() in is_secret:
            text = f"{ca_file} holds a secret, and every worker may read it; give the CA a file"
            found.append(("sandbox.ca_file", text))
    if not written:
        return found
    ours = [
        (kept, tree.whereabouts(kept.path))
        for kept in _ours(config_file, service, ca_file, listens, secret_files)
    ]
    places = {name: tree.whereabouts(folder) for name, folder in written}
    for name, folder in written:
        others = [
            (_Kept(other, "its workers could put another folder there", path), places[other])
            for other, path in written
            if other != name
        ]
        for kept, where in [*ours, *others]:
            is_other = kept.name in places
            how = _meets(places[name], where, is_tree=kept.is_tree, is_shared=is_other)
            if how:
                found.append(
                    (
                        name,
                        f"{folder} {how} {kept.name} ({kept.path}): {kept.consequence}; name a "
                        "folder apart from it",
                    )
                )
                break
    return found


def _meets(written: Whereabouts, kept: Whereabouts, *, is_tree: bool, is_shared: bool) -> str:
    """How a folder that workers write to meets what they must not change; "" where it does not.

    `is_shared`: it is a folder that workers write to as well, which two pools may have in common.
    """
    if is_shared:
        return "holds the place of" if kept.is_decided_in(written) else ""
    if kept.is_in(written):
        return "is, or holds," if is_tree else "holds"
    if is_tree and written.is_in(kept):
        return "lies in"
    return "holds a name on the way to" if kept.is_decided_in(written) else ""


def _written(pools: Mapping[str, Pool | None]) -> Iterator[tuple[str, Path]]:
    """Folders that workers may write to, by key path."""
    for pool in pools.values():
        if pool is not None:
            for index, folder in enumerate(pool.write_paths):
                yield key_path(("pools", pool.name, "write_paths", index)), folder


def _ours(
    config_file: Path,
    service: Service,
    ca_file: Path | None,
    listens: Mapping[str, Address],
    secret_files: Collection[Path],
) -> Iterator[_Kept]:
    """What no worker may change."""
    takes = "its workers could change what the next reload takes"
    for index, folder in enumerate(service.plugin_paths):
        yield _Kept(key_path(("service", "plugin_paths", index)), takes, folder)
    sees = "its workers could read and change the queue, tokens and kept code"
    yield _Kept("service.state_dir", sees, service.state_dir)
    yield _Kept("the config", takes, config_file, is_tree=False)
    for file in sorted({*secret_files} - {config_file}):
        reads = "its workers could read and change it"
        yield _Kept("a file with a secret", reads, file, is_tree=False)
    if ca_file is not None:
        trusts = "its workers could change whom the others trust"
        yield _Kept("sandbox.ca_file", trusts, ca_file, is_tree=False)
    for key, address in listens.items():
        if address.path is not None:
            answers = "its workers could put another socket there"
            yield _Kept(key, answers, address.path, is_tree=False)
    runs = "its workers could change what the service runs"
    for path in _own_code():
        yield _Kept("Bulkhead's own code", runs, path)
    yield _Kept("Bulkhead's Python", runs, Path(sys.executable), is_tree=False)


def _own_code() -> Iterator[Path]:
    """Our packages, Python's library and what is installed beside us."""
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        yield from map(Path, (spec.submodule_search_locations or ()) if spec else ())
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(name))


def _followed(path: str) -> tuple[str, list[str]]:
    """Where a path leads, and the real folders in which the names on the way are looked up."""
    done, folders, links = "/", [], 0
    left = path.split("/")[::-1]
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            done = os.path.dirname(done)
            continue
        folders.append(done)
        here = os.path.join(done, name)
        try:
            target = os.readlink(here) if links < MAX_LINKS else ""
        except OSError:
            target = ""  # no link, or nothing there
        if not target:
            done = here
            continue
        links += 1
        if target.startswith("/"):
            done = "/"
        left += target.split("/")[::-1]
    return done, folders


def _mounts() -> dict[int, _Mount]:
    """All mounts by their number; none where /proc does not tell."""
    try:
        text = read_file(_MOUNTS, most_bytes=_MAX_MOUNTS).decode("utf-8", "surrogateescape")
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        # proc_pid_mountinfo(5): number, parent, device, root, point, and more.
        number, _, device, root, point = line.split(" ", 5)[:5]
        found[int(number)] = _Mount(_unescaped(point), Spot(device, _unescaped(root)))
    return found


def _unescaped(name: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), name)


def _mount_number(real: str) -> int:
    """Of the mount that a place is on: that of the nearest folder above that is there."""
    while True:
        try:
            descriptor = os.open(real, os.O_PATH | os.O_CLOEXEC)
        except (OSError, ValueError):
            if real == "/":
                return -1
            real = os.path.dirname(real)
            continue
        try:
            about = read_file(Path(f"/proc/self/fdinfo/{descriptor}"), most_bytes=4096)
        except OSError:
            return -1
        finally:
            os.close(descriptor)
        number = re.search(rb"^mnt_id:\s*(\d+)$", about, re.MULTILINE)
        return int(number[1]) if number else -1
