"""How much of a disk a worker's folder takes: by names, by descriptors and by maps.

Owns the counting where the kernel does not do it for us, as it does in a tmpfs. A file counts for
as long as anything holds its blocks: a name in the folder, a descriptor that a process of the
worker has open, a map of it. What cannot be looked at counts as too much: whoever makes a folder
unreadable shall not have more room for it. A file that is on its way in a socket would be missing;
the jail denies workers the call that sends one. Must not know what is allowed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

#: Folders that may lie one in the other: each is a descriptor while they are counted.
MAX_DEPTH = 32
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: How the kernel marks the name of a mapped file that has none any more.
_DELETED = b" (deleted)"


class Uncountable(Exception):
    """It takes too much, or what it takes cannot be known; the text says which."""


@dataclass(slots=True)
class ScratchUsage:
    """What was counted so far. `max_entries` bounds how long counting takes."""

    max_entries: int
    entries: int = 0
    size_bytes: int = 0
    hidden: PermissionError | None = None
    """Why some of it was not looked at, by a fault of this process: no worker is ended for it."""
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def count_names(self, folder: int) -> None:
        """All that has a name below a folder. Raises Uncountable."""
        self._count_folder(folder, 0)

    def _count_folder(self, folder: int, depth: int) -> None:
        try:
            for entry in _entries(folder):
                self.entries += 1
                if self.entries > self.max_entries:
                    raise Uncountable(f"more than {self.max_entries} files in its scratch folder")
                try:
                    self._count(entry.stat(follow_symlinks=False))
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    if depth == MAX_DEPTH:
                        raise Uncountable(
                            f"folders more than {MAX_DEPTH} deep in its scratch folder"
                        )
                    deeper = os.open(entry.name, _FOLDER, dir_fd=folder)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # removed or replaced while we look
                except PermissionError as error:
                    if os.geteuid() != 0:
                        raise  # it is the same user's, who has closed it
                    self.hidden = error  # a root without CAP_DAC_READ_SEARCH
                    continue
                try:
                    self._count_folder(deeper, depth + 1)
                finally:
                    os.close(deeper)
        except OSError as error:
            raise Uncountable(f"its scratch folder cannot be counted: {error.strerror}") from error

    def count_open(self, pid: int, device: int) -> None:
        """What a process has open on a device and has no name any more."""
        try:
            with os.scandir(f"/proc/{pid}/fd") as entries:
                for entry in entries:
                    try:
                        found = os.stat(entry.path)
                    except FileNotFoundError:
                        continue  # closed while we look
                    if (
                        found.st_dev == device
                        and not found.st_nlink
                        and stat.S_ISREG(found.st_mode)
                    ):
                        self._count(found)
        except (FileNotFoundError, ProcessLookupError):
            return  # it has ended
        except PermissionError as error:
            self.hidden = error

    def count_mapped(self, pid: int, device: int, below: str) -> None:
        """What a process has mapped of the folder `below`, without a name or a descriptor.

        Its blocks cannot be asked for. Raises Uncountable where there is such a file.
        """
        try:
            with open(f"/proc/{pid}/maps", "rb") as file:
                maps = file.read()
        except (FileNotFoundError, ProcessLookupError):
            return  # it has ended
        except PermissionError as error:
            self.hidden = error
            return
        if _DELETED not in maps:
            return
        prefix = os.fsencode(below) + b"/"
        for line in maps.splitlines():
            if not line.endswith(_DELETED):
                continue
            _, _, _, where, inode, path = line.split(maxsplit=5)
            major, minor = (int(part, 16) for part in where.split(b":"))
            known = (device, int(inode)) in self._seen
            if os.makedev(major, minor) == device and path.startswith(prefix) and not known:
                raise Uncountable("a file without a name is mapped, and can not be counted")

    def _count(self, found: os.stat_result) -> None:
        key = found.st_dev, found.st_ino
        if key not in self._seen:
            self._seen.add(key)
            self.size_bytes += found.st_blocks * 512  # what is allocated, and not what is claimed


def counted(folder: int, processes: Iterable[int], below: str, max_entries: int) -> ScratchUsage:
    """What a folder takes, with what `processes` hold of it; `below` is its path.

    Raises Uncountable.
    """
    usage = ScratchUsage(max_entries)
    usage.count_names(folder)
    device = os.fstat(folder).st_dev
    for pid in processes:
        usage.count_open(pid, device)
        usage.count_mapped(pid, device, below)
    return usage


def _entries(folder: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from entries
