"""Removal of folders whose content is hostile input: whatever a worker could make of one.

Owns the one way to remove such a folder, and a temporary folder that ends so. Nothing here trusts
the shape of what it removes: it works by descriptors and never by paths, which may be longer than
the kernel takes; it does not recurse, and holds two descriptors at most, since what lies deeper is
moved up before it is opened; it follows no link, opens no file, and ends in time. What remains is
the caller's to set aside. `shutil.rmtree` and `tempfile.TemporaryDirectory` do none of that, and
have no place where a worker can write.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Seconds that the removal of a temporary folder may take.
TEMPORARY_S = 10.0


class _OutOfTime(Exception):
    """There is more than could be removed in the time that was given."""


def remove(path: Path, within_s: float) -> str:
    """Remove whatever is at `path`, folder or not; why it is still there, or "" where it is gone.

    Blocks for `within_s` seconds at most, and a moment. What could be removed is, either way.
    """
    try:
        parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path.parent}: {error.strerror}"
    try:
        _Removal(time.monotonic() + within_s).remove(parent, path.name)
    except _OutOfTime:
        return f"not done within {within_s:g} s"
    except FileNotFoundError:
        return ""
    except OSError as error:
        return str(error.strerror)
    finally:
        os.close(parent)
    return ""


@contextmanager
def temporary_folder(prefix: str) -> Iterator[str]:
    """A new folder of mode 0700 that a worker may write to; its path. Raises OSError."""
    path = tempfile.mkdtemp(prefix=prefix)
    try:
        yield path
    finally:
        if why := remove(Path(path), TEMPORARY_S):
            _log.warning("temporary_folder_left", path=path, reason=why)


class _Removal:
    """One removal, until a time of the monotonic clock."""

    def __init__(self, until: float) -> None:
        self._until = until
        self._done = 0

    def remove(self, parent: int, name: str) -> None:
        """Raises OSError with what keeps the last of it, or _OutOfTime."""
        if self._unlink(parent, name):
            return
        top = _open(parent, name)
        try:
            obstacle: OSError | None = None
            while True:
                before = self._done
                found, obstacle = self._pass(top, move_up=None)
                if not found:
                    break
                if obstacle is not None and self._done == before:
                    raise obstacle
        finally:
            os.close(top)
        os.rmdir(name, dir_fd=parent)

    def _pass(self, folder: int, move_up: int | None) -> tuple[bool, OSError | None]:
        """Empty a folder as far as one look at it goes; whether there was anything, and what
        could not be done. Folders in it are emptied, or moved into `move_up`."""
        found, obstacle = False, None
        with os.scandir(folder) as entries:
            for entry in entries:
                found = True
                if time.monotonic() > self._until:
                    raise _OutOfTime
                try:
                    if self._unlink(folder, entry.name):
                        pass
                    elif move_up is None:
                        self._flatten(folder, entry.name)
                    else:
                        _move(folder, entry.name, move_up)
                        self._done += 1
                except FileNotFoundError:
                    continue  # somebody else has removed it
                except OSError as error:
                    obstacle = error
        return found, obstacle

    def _flatten(self, top: int, name: str) -> None:
        """Remove a folder that lies in `top`; the folders in it come to lie in `top`."""
        folder = _open(top, name)
        try:
            while True:
                before = self._done
                found, obstacle = self._pass(folder, move_up=top)
                if not found:
                    break
                if obstacle is not None and self._done == before:
                    raise obstacle
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=top)
        self._done += 1

    def _unlink(self, folder: int, name: str) -> bool:
        """Remove what is no folder; False where it is one."""
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            return False
        except PermissionError:  # POSIX has it for folders, and it is what it says as well
            if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                return False
            raise
        self._done += 1
        return True


def _open(parent: int, name: str) -> int:
    """A folder, to be read and written whatever its mode was. Raises OSError."""
    try:
        folder = os.open(name, os.O_RDONLY | _FOLDER, dir_fd=parent)
    except PermissionError:
        _make_ours(parent, name)
        return os.open(name, os.O_RDONLY | _FOLDER, dir_fd=parent)
    if os.fstat(folder).st_mode & 0o700 != 0o700:
        try:
            _make_ours(parent, name)
        except OSError:
            os.close(folder)
            raise
    return folder


def _move(folder: int, name: str, into: int) -> None:
    """Move a folder from one into another, under a name that is free there. Raises OSError."""
    fresh = secrets.token_hex(16)
    try:
        os.rename(name, fresh, src_dir_fd=folder, dst_dir_fd=into)
    except PermissionError:  # to move a folder is to write to it
        _make_ours(folder, name)
        os.rename(name, fresh, src_dir_fd=folder, dst_dir_fd=into)


def _make_ours(parent: int, name: str) -> None:
    """Give ourselves all of a folder. Raises OSError."""
    held = os.open(name, os.O_PATH | _FOLDER, dir_fd=parent)
    path = f"/proc/self/fd/{held}"  # what it stands for is this folder, whatever its name is now
    try:
        try:
            os.chmod(path, 0o700)
        except PermissionError:  # another user's: root may take it over even without CAP_FOWNER
            os.chown(path, os.geteuid(), os.getegid())
            os.chmod(path, 0o700)
    finally:
        os.close(held)
