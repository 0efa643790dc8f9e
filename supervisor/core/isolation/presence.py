"""Who had a batch in a worker when something was done that only a look finds out.

Owns the one rule of all limits that are judged by a look: files and bytes in a scratch folder, what
is open or mapped without a name, processes, descriptors, memory with that of descendants and shared
maps. A look comes some time after the deed. Who runs then, as the worker's page says, may have come
since, and who did it may have ended. So what a look finds

- is **one connection's**, and named so, only where that connection alone had batches in that worker
  since all was well;
- else may be **anybody's** that had: the exit names nobody, nobody is charged, and they are tried
  apart; where a hint says whose step it was, that one alone is tried first;
- where nobody had any since, it comes from something left behind, by whoever ever had one there.

"Since all was well" is since the last look but one that found that. Some of it shows a little later
than it was done: a process that has lost its parent is found by another timer than the rest.

Must not know what is limited, clocks, or what becomes of those who are named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Presence:
    """Of one worker, for one thing that is looked at. Counts are of events, by connection."""

    _before: Counter[str] = field(default_factory=Counter)
    _last: Counter[str] = field(default_factory=Counter)

    def was_well(self, worked: Mapping[str, int]) -> None:
        """A look found nothing wrong, when the worker had ended batches of so many events."""
        self._before, self._last = self._last, Counter(worked)

    def since(self, worked: Mapping[str, int], running: Mapping[str, int]) -> frozenset[str]:
        """Who may have done what is found now; none where nobody ever had a batch there.

        `running` are events of batches that it has.
        """
        has = {name for name, events in running.items() if events > 0}
        ended = {name for name, events in worked.items() if events > self._before[name]}
        return frozenset(has | ended or worked)


def only(names: frozenset[str]) -> str | None:
    """The one to name, where it is one."""
    return next(iter(names)) if len(names) == 1 else None
