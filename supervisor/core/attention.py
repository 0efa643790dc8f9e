"""Whether a worker that has work comes round to it, or something keeps its event loop.

A worker that has batches beats every few milliseconds, so that it shows early when one of them
does not let the others go on. Such a worker gets nothing more until it beats again: what it
was given would wait too, at worst until it is killed for being silent. Others have room meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds without a beat after which a worker is away: two or three beats.
AWAY_S = 0.05


@dataclass(slots=True)
class Attention:
    """That of one worker. Times are seconds of a clock that does not go back."""

    is_away: bool = False
    _beats: int | None = None
    _since: float = 0.0

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
