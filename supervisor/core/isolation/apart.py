"""Why a connection does not run among the others, and since when.

Owns the closed set of causes, and which of two is kept. Must not decide who is set apart: it is
told (`charges.py`), and what it keeps changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.core.effects import ExitReason


class ApartCode(StrEnum):
    """What it was that set a connection apart, in the words of `/pools/{name}`."""

    WORKER_DIED = "worker_died"
    """A worker died with batches of it, and each of those is tried alone."""
    LAST_IN_IT = "last_in_it"
    """A worker died that had told all; this connection was the last at work there."""
    FOUND = "found"
    """A look found too much in a worker that it and others had batches in."""
    MAY_HAVE_USED_UP = "may_have_used_up"
    """A worker that it shared ran out of memory or files; what names it proves nothing."""
    WAS_THERE_AGAIN = "was_there_again"
    """It was there each time, while those who were tried first turned out innocent."""
    USED_UP = "used_up"
    """It left a worker with no memory or files, as measured from outside."""
    LEAKS = "leaks"
    """Memory grows with its events."""
    KEEPS_LOOPS = "keeps_loops"
    """It keeps event loops of workers from the others."""
    MAY_KEEP_LOOPS = "may_keep_loops"
    """A loop that it shared was kept, and it may have been another."""


@dataclass(frozen=True, slots=True)
class ApartCause:
    """One cause; `reason` is the end that is meant, or what was used up, `worker` whose end.

    `exit_id` names the record of that end, where there was one.
    """

    code: ApartCode
    reason: ExitReason | None = None
    worker: str = ""
    exit_id: str | None = None

    def of_one_who_was_there(self) -> ApartCause:
        """The same for one that nothing points at but that it was there before, too."""
        return replace(self, code=ApartCode.WAS_THERE_AGAIN)


@dataclass(frozen=True, slots=True)
class Apart:
    """A connection is apart since then, in seconds of the clock of facts, for the last cause."""

    cause: ApartCause
    since: float

    @classmethod
    def after(cls, before: Apart | None, cause: ApartCause, now: float) -> Apart:
        """What is kept once there is this cause.

        That it was there says less than anything that is known of it already.
        """
        if before is None:
            return cls(cause, now)
        if cause.code is ApartCode.WAS_THERE_AGAIN:
            return before
        return cls(cause, before.since)
