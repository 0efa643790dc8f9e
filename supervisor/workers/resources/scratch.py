"""Scratch folders: the one place that a worker may write to, and how much of it.

Owns `scratch` in the state directory, and a tmpfs for each worker where this process may make one:
the kernel bounds that one, and nothing in it can be executed. Elsewhere it is a folder on disk,
made before the worker is forked, and what is in it is counted from time to time; the jail bounds
each file. What cannot be removed at once is set aside under another name, and is never a reason not
to start: a worker may leave what takes hours to remove, or what nobody may.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sandbox.protocol import SCRATCH_DISK_BYTES, SCRATCH_ENTRIES, SCRATCH_TMPFS_BYTES, Withheld
from supervisor.runtime.descriptors import REFUSED
from supervisor.workers.resources import mounts
from supervisor.workers.resources.disk_usage import ScratchUsage, Uncountable, counted
from supervisor.workers.resources.removal import remove

_log = structlog.get_logger(__name__)

#: Bytes that stay free on the disk, whatever workers do: the queue may live there. Where less is
#: left, a folder on it may take `SHORT_BYTES`.
KEPT_FREE_BYTES, SHORT_BYTES = 256 * 1024 * 1024, 16 * 1024 * 1024
#: A tmpfs is full where no more bytes are left than this.
FULL_BYTES = 64 * 1024
#: Seconds that a worker's exit waits for the removal of its folder, that a start takes to set aside
#: what it finds, and that each go at what was set aside may take.
REMOVE_S, PREPARE_S, CLEAR_S = 1.0, 1.0, 0.9
#: How the name of what was set aside begins. A worker's folder has its number for a name.
ASIDE = "aside-"
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Folder:
    """A worker's; `held` is a descriptor of it."""

    held: int
    is_tmpfs: bool


@dataclass(slots=True)
class Scratch:
    """The folder that holds those of all workers. `may_mount`: try to give each a tmpfs."""

    folder: Path
    may_mount: bool = True
    no_tmpfs: str = ""
    """Why workers' folders are on disk; empty where they are not."""
    hidden: str = ""
    """Why not all that a worker may hold on disk is counted; empty where it is."""
    _folders: dict[int, _Folder] = field(default_factory=dict)
    _aside: deque[str] = field(default_factory=deque)

    def prepare(self) -> None:
        """Make it, and set aside what workers of an earlier service have left.

        What is wrong with it is logged: workers without scratch are better than no service.
        """
        try:
            if os.path.lexists(self.folder) and not self.folder.is_dir():
                self.folder.rename(self.folder.with_name(f"{self.folder.name}.{_token()}"))
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            until = time.monotonic() + PREPARE_S
            with os.scandir(self.folder) as left:
                for entry in left:
                    if entry.name.startswith(ASIDE):
                        self._aside.append(entry.name)
                    else:
                        self._set_aside(entry.name, "left by an earlier run")
                    if time.monotonic() > until:
                        break  # `create` makes way where it meets one
        except OSError as error:
            _log.error("scratch_unusable", path=str(self.folder), reason=error.strerror)

    @property
    def text(self) -> str:
        """What each worker has, for operators."""
        if self.may_mount and not self.no_tmpfs:
            return f"tmpfs: {SCRATCH_TMPFS_BYTES // _MIB} MiB and {SCRATCH_ENTRIES} files a worker"
        why = self.no_tmpfs or "not asked for"
        return (
            f"disk: {SCRATCH_DISK_BYTES // _MIB} MiB and {SCRATCH_ENTRIES} files a worker, counted "
            f"from time to time (no tmpfs: {why})"
        )

    def create(self, child: int, uid: int | Withheld) -> Withheld | None:
        """Make one for the worker with that number, which has that uid; or why there is none.

        Raises OSError where the kernel refuses it for now: no worker goes without for that.
        """
        owner = uid if isinstance(uid, int) else os.geteuid()
        if self.may_mount:
            try:
                held = mounts.tmpfs(SCRATCH_TMPFS_BYTES, SCRATCH_ENTRIES + 1, owner)
            except OSError as error:
                if error.errno in REFUSED:
                    raise
                self.no_tmpfs = f"{error.strerror}; it takes CAP_SYS_ADMIN and Linux 5.2"
            else:
                self.no_tmpfs = ""
                self._folders[child] = _Folder(held, is_tmpfs=True)
                return None
        path = self._of(child)
        try:
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                self._set_aside(path.name, "in the way of a new one")
                path.mkdir(mode=0o700)
            # Before it is another user's: there are roots that may not look into others' folders.
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._folders[child] = _Folder(held, is_tmpfs=False)
            if isinstance(uid, int):
                os.chown(path, uid, uid)
        except OSError as error:
            if error.errno in REFUSED:
                raise
            return Withheld(f"{path}: {error.strerror}")
        return None

    def descriptor(self, child: int) -> int | None:
        """One of a worker's folder, to be given away; None where it has none.

        Not a copy of ours: a worker could move the place in the folder that both would share.
        Raises OSError.
        """
        folder = self._folders.get(child)
        if folder is None:
            return None
        return os.open(f"/proc/self/fd/{folder.held}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def memory_bytes(self, child: int) -> int:
        """Memory that a worker's folder takes; none where it is on disk."""
        folder = self._folders.get(child)
        if folder is None or not folder.is_tmpfs:
            return 0
        found = os.fstatvfs(folder.held)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def is_full(self, child: int) -> bool:
        """Whether a worker's folder is a tmpfs that has no room."""
        folder = self._folders.get(child)
        return folder is not None and folder.is_tmpfs and bool(_fullness(folder.held))

    def excess(self, child: int, processes: Sequence[int]) -> str:
        """What there is too much of in a worker's folder; empty where all is well.

        `processes` are the worker's, which may hold what has no name.
        """
        folder = self._folders.get(child)
        if folder is None:
            return ""
        if folder.is_tmpfs:
            return _fullness(folder.held)
        try:
            usage = counted(folder.held, processes, str(self._of(child)), SCRATCH_ENTRIES)
        except Uncountable as error:
            return str(error)
        return self._judge(folder.held, usage)

    def _judge(self, held: int, usage: ScratchUsage) -> str:
        if usage.hidden is not None and not self.hidden:
            self.hidden = (
                "files that workers hold open without a name are not counted in their scratch "
                f"folders: {usage.hidden.strerror} (it takes CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH)"
            )
            _log.warning("scratch_not_counted", reason=self.hidden)
        size_bytes = usage.size_bytes
        if size_bytes > SCRATCH_DISK_BYTES:
            return f"{size_bytes} bytes in its scratch folder, {SCRATCH_DISK_BYTES} are allowed"
        if size_bytes > SHORT_BYTES:
            disk = os.fstatvfs(held)
            if disk.f_bavail * disk.f_frsize < KEPT_FREE_BYTES:
                return (
                    f"{size_bytes} bytes in its scratch folder, {SHORT_BYTES} are allowed while "
                    f"less than {KEPT_FREE_BYTES} are free on the disk"
                )
        return ""

    def is_empty(self, child: int) -> bool:
        """Whether nothing is left in a worker's folder: then it is gone, but for `remove`."""
        folder = self._folders.get(child)
        if folder is None:
            return not os.path.lexists(self._of(child))
        if folder.is_tmpfs:
            return not self.memory_bytes(child)
        try:
            self._of(child).rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True

    def remove(self, child: int) -> None:
        """Remove a worker's folder and all that it left there, or set it aside.

        Blocks, an empty one too: the last descriptor of a tmpfs unmounts it, and the kernel waits
        for all CPUs then, up to a tenth of a second where they are busy.
        """
        folder = self._folders.get(child)
        self._forget(child)
        if folder is not None and folder.is_tmpfs:
            return  # with the last descriptor
        path = self._of(child)
        if why := remove(path, REMOVE_S):
            try:
                self._set_aside(path.name, why)
            except OSError as error:
                _log.error("scratch_not_removed", path=str(path), reason=error.strerror)

    @property
    def has_aside(self) -> bool:
        """Whether there is anything for `clear_aside` to do."""
        return bool(self._aside)

    def clear_aside(self) -> None:
        """Go on removing what was set aside. Blocks for CLEAR_S seconds, more or less."""
        until = time.monotonic() + CLEAR_S
        while self._aside and (left_s := until - time.monotonic()) > 0:
            name = self._aside.popleft()
            path = self.folder / name
            if not (why := remove(path, left_s)):
                continue
            if time.monotonic() >= until:
                self._aside.appendleft(name)  # it takes more time than this
            else:
                _log.error("scratch_not_removed", path=str(path), reason=why)

    def _set_aside(self, name: str, why: str) -> None:
        """Free a name at once; what bore it is removed later. Raises OSError."""
        aside = ASIDE + _token()
        (self.folder / name).rename(self.folder / aside)
        self._aside.append(aside)
        _log.warning("scratch_set_aside", folder=name[:64], now=aside, reason=why)

    def _forget(self, child: int) -> None:
        folder = self._folders.pop(child, None)
        if folder is not None:
            os.close(folder.held)

    def _of(self, child: int) -> Path:
        return self.folder / str(child)


def _fullness(held: int) -> str:
    """The kernel refuses what goes beyond; a worker that has taken all leaves its others none."""
    found = os.fstatvfs(held)
    if found.f_bfree * found.f_frsize <= FULL_BYTES:
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        return f"{used} bytes in its scratch folder, {SCRATCH_TMPFS_BYTES} are allowed"
    if found.f_ffree == 0:
        return f"more than {SCRATCH_ENTRIES} files in its scratch folder"
    return ""


def _token() -> str:
    return secrets.token_hex(8)
