"""Scratch folders: the one place that a worker may write to, and how much of it.

Owns `scratch` in the state directory: a folder a worker, made before it is
forked and removed when it is buried. The jail bounds each file; how many there
are, and how large together, is looked at here from time to time.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sandbox.protocol import Withheld

#: Bytes on disk that one worker's folder may take, and files and folders in it: the latter bounds
#: how long looking at it takes.
MAX_BYTES = 256 * 1024 * 1024
MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Scratch:
    """The folder that holds those of all workers."""

    folder: Path

    def prepare(self) -> None:
        """Make it, and remove what workers of an earlier service have left. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.folder.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    def create(self, child: int, uid: int | Withheld) -> str | Withheld:
        """A folder for the worker with that number, which has that uid; or why there is none."""
        path = self._of(child)
        try:
            path.mkdir(mode=0o700)
            if isinstance(uid, int):
                os.chown(path, uid, uid)
        except OSError as error:
            return Withheld(f"{path}: {error.strerror}")
        return str(path)

    def excess(self, child: int) -> str:
        """What there is too much of in a worker's folder; empty where all is well."""
        entries = size_bytes = 0
        folders = [str(self._of(child))]
        while folders:
            try:
                with os.scandir(folders.pop()) as found:
                    for entry in found:
                        entries += 1
                        if entries > MAX_ENTRIES:
                            return f"more than {MAX_ENTRIES} files in its scratch folder"
                        size_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
            except OSError:
                continue  # removed while we look
        if size_bytes > MAX_BYTES:
            return f"{size_bytes} bytes in its scratch folder, {MAX_BYTES} are allowed"
        return ""

    def remove_empty(self, child: int) -> bool:
        """Remove a worker's folder where nothing is left in it; whether it is gone."""
        try:
            self._of(child).rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def remove(self, child: int) -> None:
        """Remove a worker's folder and all that it left there."""
        shutil.rmtree(self._of(child), ignore_errors=True)

    def _of(self, child: int) -> Path:
        return self.folder / str(child)
