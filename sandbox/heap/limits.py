"""What taking a snapshot may cost, and the error where it was not taken."""

from __future__ import annotations

import time
from dataclasses import dataclass

MIB = 1 << 20


class SnapshotFailed(Exception):
    """No usable snapshot was written; the text says why, for an operator."""


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """What one snapshot may cost.

    walk_s: seconds for the walk over the heap. At its end the file is written with what was found
        until then, and says so.
    total_s: seconds for all of it; past them it fails.
    table_bytes: memory for the walk's own tables, about two thirds of the heap's size; less where
        the file for them is smaller. Past it, as with `walk_s`.
    file_bytes: largest file; past it it fails.
    """

    walk_s: float = 60.0
    total_s: float = 120.0
    table_bytes: int = 1024 * MIB
    file_bytes: int = 2048 * MIB


class Clock:
    """How much time is left of a snapshot's limits. Starts to run when it is made."""

    def __init__(self, limits: SnapshotLimits) -> None:
        started = time.monotonic()
        self._walk_until = started + limits.walk_s
        self._until = started + limits.total_s
        self._total_s = limits.total_s

    @property
    def is_walk_over(self) -> bool:
        """Whether the walk must come to its end."""
        return time.monotonic() > self._walk_until

    def check(self) -> None:
        """Raise SnapshotFailed where the time for all of it is over."""
        if time.monotonic() > self._until:
            raise SnapshotFailed(f"not finished within {self._total_s:g} s")
