"""What a worker can make of a folder that it may write to: trees that no naive removal survives."""

from __future__ import annotations

import os
from pathlib import Path


def nested(path: Path, depth: int, *, mode: int = 0o700) -> None:
    """Folders one in the other, `depth` deep, each with a name of 255 bytes and a file beside."""
    path.mkdir()
    folder = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
        os.mkdir("n" * 255, dir_fd=folder)
        deeper = os.open("n" * 255, os.O_RDONLY, dir_fd=folder)
        os.fchmod(folder, mode)
        os.close(folder)
        folder = deeper
    os.close(folder)


def many_files(path: Path, count: int) -> None:
    """Empty files in one folder."""
    path.mkdir()
    folder = os.open(path, os.O_RDONLY)
    for number in range(count):
        os.close(os.open(f"{number}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
    os.close(folder)


def odd_entries(path: Path, outside: Path) -> None:
    """A link to what is not the worker's, a FIFO, a dangling link, a loop, a name of no UTF-8."""
    path.mkdir()
    (path / "link").symlink_to(outside)
    (path / "loop").symlink_to(path)
    (path / "dangling").symlink_to("/nowhere")
    os.mkfifo(path / "fifo")
    os.close(os.open(bytes(path) + b"/\xff\xfe\n", os.O_CREAT | os.O_WRONLY, 0o600))
    (path / "deep").mkdir()
    (path / "deep" / "link").symlink_to(outside)
