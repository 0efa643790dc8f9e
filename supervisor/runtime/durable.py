"""Small files that are whole whenever somebody looks, whatever is killed or loses its power.

Owns how they are written: aside, to the disk, then renamed. Not for the event loop's thread where
the caller can avoid it: it waits for the disk.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file's content, readable by its owner alone. Raises OSError; then it is as before.

    One writer at a time for each path.
    """
    draft = path.with_name(f"{path.name}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def sync_folder(folder: Path) -> None:
    """Have names that were made, renamed or removed in a folder outlive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
