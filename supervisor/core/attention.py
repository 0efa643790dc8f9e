"""Whether a worker that has work comes round to it, or something keeps its event loop.

A worker that has batches beats every few milliseconds, so that it shows early when one of them
does not let the others go on. Such a worker gets nothing more until it beats again: what it
was given would wait too, at worst until it is killed for being silent. Others have room meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds without a beat after which a worker is away: two or three beats.
AWAY_S = 0.05
#: Share of the time between two looks at a worker that is away in which it must not have waited for
#: a CPU, for what it is at to count as what keeps it.
BUSY_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a worker that is away was at, and how long it had waited for a CPU in its life."""

    at: str
    when: float
    waited_s: float


@dataclass(slots=True)
class Attention:
    """That of one worker. Times are seconds of a clock that does not go back."""

    is_away: bool = False
    _beats: int | None = None
    _since: float = 0.0
    _seen: _Seen | None = None
    #: the absence for which it was last told what keeps it, by its beginning
    _told_since: float = float("-inf")

    def looked(self, beats: int, now: float) -> bool:
        """It has batches, and has beaten so often by now. Whether `is_away` has changed."""
        was_away = self.is_away
        if beats != self._beats:
            self._beats, self._since = beats, now
        self.is_away = now - self._since > AWAY_S
        return self.is_away is not was_away

    def rested(self) -> bool:
        """It has no batches, and need not show anything. Whether `is_away` has changed."""
        was_away = self.is_away
        self.is_away, self._beats = False, None
        return was_away

    def is_kept(self, at: str, waited_s: float, now: float) -> bool:
        """It is away in a step of the connection `at`; whether that keeps its loop: once a time.

        It does where the next look finds it there too, and it was not for want of a CPU.
        """
        seen, self._seen = self._seen, _Seen(at, now, waited_s)
        if (
            seen is None
            or seen.at != at
            or seen.when < self._since
            or self._told_since == self._since
        ):
            return False
        if waited_s - seen.waited_s > (1 - BUSY_SHARE) * (now - seen.when):
            return False
        self._told_since = self._since
        return True
