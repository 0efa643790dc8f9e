"""Makes code that lies below a closed folder readable to other users, for us alone.

A worker with a uid of its own cannot reach Python where that was installed
below /root, or a plugin folder in a home. Loosening the folder is the
operator's business, not ours. So, in a mount namespace of our own, an empty
folder is laid over the closed one, with what workers need mounted in it at its
old place; everybody else sees the file system as it was. Needs CAP_SYS_ADMIN,
and CAP_SYS_CHROOT where a worker needs more of a folder than its zygote.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 32, 4096, 16384, 1 << 19

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class _Before:
    """Descriptors of the root folder and the mount namespace, before anything was laid over."""

    root: int
    namespace: int


_before: _Before | None = None
#: What is shown in this process's namespace, in place of the closed folders on the way to it.
_shown: tuple[str, ...] = ()


class ClosedError(Exception):
    """A folder that other users cannot search, and cannot be shown to them; the text names it."""


def closed_above(path: str | os.PathLike[str]) -> Path | None:
    """The outermost folder on the way to `path` that other users may not search, if any."""
    real = Path(os.path.realpath(path))
    for folder in (*reversed(real.parents), real):
        try:
            mode = folder.stat().st_mode
        except OSError:
            return None  # it is not there to be read
        if stat.S_ISDIR(mode) and not mode & stat.S_IXOTH:
            return folder
    return None


def open_up(paths: Sequence[str]) -> None:
    """Make `paths` reachable for all users of this process and those that it forks.

    What else is in the closed folders is out of their sight from then on.
    Raises ClosedError where the kernel does not let us.
    """
    global _shown
    if _before is not None and any(map(_is_hidden, paths)):
        # A folder that is laid over already has no room for more: begin anew, with all.
        paths = (*_shown, *paths)
        _go_back(_before)
    by_closed: dict[Path, list[Path]] = {}
    for path in dict.fromkeys(_with_targets(paths)):
        closed = closed_above(path)
        if closed is not None:
            by_closed.setdefault(closed, []).append(path)
    if not by_closed:
        return
    try:
        _unshare()
        for closed, wanted in by_closed.items():
            _lay_over(closed, wanted)
    except OSError as error:
        names = ", ".join(map(str, by_closed))
        raise ClosedError(f"other users may not search {names}: {error.strerror}") from error
    _shown = (*_shown, *paths)


def remember() -> None:
    """Keep the way to all files as they are now: for `outside`, and for a later `open_up`.

    Forks inherit it; they `forget` it before they run code that is not ours.
    """
    global _before
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _before = _Before(root, os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))


def forget() -> None:
    """Let go of what `remember` keeps, if anything."""
    global _before
    if _before is not None:
        os.close(_before.root)
        os.close(_before.namespace)
        _before = None


def outside(path: str) -> str:
    """A path to the same file, whatever has been laid over it since `remember`.

    `path` is absolute, and free of links to absolute places, which would lead inside again.
    """
    return path if _before is None else f"/proc/self/fd/{_before.root}{path}"


def obstacle(wanted: Iterable[str]) -> str:
    """Why another user could not read `wanted`, made reachable where it can be; "" where none."""
    paths = tuple(wanted)
    try:
        open_up(paths)
    except ClosedError as error:
        return str(error)
    closed = unreadable(paths)
    return "" if closed is None else f"{closed} can be read by its owner only"


def unreadable(paths: Iterable[str]) -> str | None:
    """The first of `paths`, or of the modules in them, that other users may not read, if any."""
    for path in paths:
        real = Path(os.path.realpath(path))
        closed = closed_above(real)
        if closed is not None:
            return str(closed)
        entries = [real, *real.glob("*.py")] if real.is_dir() else [real]
        for entry in entries:
            try:
                mode = entry.stat().st_mode
            except OSError:
                continue  # it is not there
            if not mode & stat.S_IROTH:
                return str(entry)
    return None


def _with_targets(paths: Iterable[str]) -> Iterator[Path]:
    """Real places: a virtual environment's own folder, and where its links lead."""
    for path in paths:
        yield Path(os.path.realpath(path))


def _is_hidden(path: str) -> bool:
    real = os.path.realpath(path)
    return not os.path.lexists(real) and os.path.lexists(outside(real))


def _go_back(before: _Before) -> None:
    """Into the namespace that was remembered, and to its root folder."""
    try:
        if _libc.setns(before.namespace, _CLONE_NEWNS) != 0:
            _raise()
        os.fchdir(before.root)  # where we were in a chroot, it is not the namespace's own
        os.chroot(".")
    except OSError as error:
        raise ClosedError(f"what was laid over cannot be taken away: {error.strerror}") from error


def _lay_over(closed: Path, wanted: list[Path]) -> None:
    roots = [path for path in wanted if not any(other in path.parents for other in wanted)]
    held = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in roots if path.exists()]
    mask = os.umask(0o022)
    try:
        _mount("tmpfs", closed, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=755,size=64k")
        for path, descriptor in held:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                path.mkdir(mode=0o755, parents=True, exist_ok=True)
            else:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                path.touch(0o644)
            _mount(f"/proc/self/fd/{descriptor}", path, None, _MS_BIND | _MS_REC, None)
        _mount(None, closed, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID, None)
    finally:
        os.umask(mask)
        for _, descriptor in held:
            os.close(descriptor)


def _unshare() -> None:
    if _libc.unshare(_CLONE_NEWNS) != 0:
        _raise()
    _mount(None, Path("/"), None, _MS_REC | _MS_SLAVE, None)  # ours stay ours, later ones reach us


def _mount(
    source: str | None, target: Path, kind: str | None, flags: int, data: str | None
) -> None:
    encoded = (None if text is None else os.fsencode(text) for text in (source, kind, data))
    source_raw, kind_raw, data_raw = encoded
    where = os.fsencode(target)
    if _libc.mount(source_raw, where, kind_raw, ctypes.c_ulong(flags), data_raw) != 0:
        _raise()


def _raise() -> None:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))
