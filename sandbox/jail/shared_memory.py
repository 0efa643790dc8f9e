"""Shared memory in a worker: what a plugin hears that asks for some, and what it can do instead.

Owns the words. `rules.py` and `paths.py` deny it: shared memory without a file is in no limit of a
process, and in a sum only while it is mapped and touched. Must not restrict anything.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import mmap
from collections.abc import Callable
from typing import Any

#: The rule's name, in errors and in the log.
RULE = "no-uncounted-memory"
_TEXT = (
    f"workers get no shared memory, since no limit counts it (rule {RULE}): "
    "mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) maps private memory, "
    "and a file in tempfile.gettempdir() can be mapped shared"
)

_log = logging.getLogger(__name__)


def explain_refusals(running: Callable[[], str]) -> None:
    """From now on, `mmap.mmap` and `multiprocessing.shared_memory` say why they are refused.

    The log has it once a connection; `running` says whose code runs.
    """
    told: set[str] = set()

    def explained(error: PermissionError) -> PermissionError:
        if (connection := running()) not in told:
            told.add(connection)
            _log.warning("%s", _TEXT)
        return PermissionError(error.errno, _TEXT)

    class Explaining(mmap.mmap):
        __slots__ = ()

        # Any: whatever the real one takes.
        def __new__(cls, fileno: int, *arguments: Any, **options: Any) -> Explaining:
            try:
                return super().__new__(cls, fileno, *arguments, **options)
            except PermissionError as error:
                flags = (
                    arguments[1] if len(arguments) > 1 else options.get("flags", mmap.MAP_SHARED)
                )
                if fileno != -1 or error.errno != errno.EPERM or not flags & mmap.MAP_SHARED:
                    raise
                raise explained(error) from error

    Explaining.__name__ = Explaining.__qualname__ = "mmap"
    Explaining.__module__ = "mmap"
    # By name: to a type checker a class is not to be replaced.
    setattr(mmap, "mmap", Explaining)  # noqa: B010
    with contextlib.suppress(ImportError):  # a Python without POSIX shared memory
        _explain_posix(explained)


def _explain_posix(explained: Callable[[PermissionError], PermissionError]) -> None:
    posix = importlib.import_module("_posixshmem")
    shm_open: Callable[..., int] = posix.shm_open

    # Any: whatever the real one takes.
    def open_or_explain(*arguments: Any, **options: Any) -> int:
        try:
            return shm_open(*arguments, **options)
        except PermissionError as error:
            raise explained(error) from error

    setattr(posix, "shm_open", open_or_explain)  # noqa: B010
