"""When an event loop counts as blocked: it was silent, and it was not for want of a CPU.

Owns the arithmetic of one worker's silence. Time for which its main thread
was ready and had no CPU is not its silence, nor is time in which whoever looks
was away himself: a machine that stalls must not have its workers killed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Silence:
    """Times are seconds of a clock that does not go back."""

    beats: int | None = None
    at: float = 0.0
    waited_s: float = 0.0
    silent_s: float = 0.0

    def looked(self, beats: int, waited_s: float, now: float, most_s: float) -> float:
        """Seconds of silence, after a look that found `beats`.

        `waited_s` is what the thread has waited for a CPU in its life; one look
        charges `most_s` at most, however long ago the last one was.
        """
        if self.beats == beats:
            starved = max(0.0, waited_s - self.waited_s)
            self.silent_s += max(0.0, min(now - self.at, most_s) - starved)
        else:
            self.silent_s = 0.0
        self.beats, self.at, self.waited_s = beats, now, waited_s
        return self.silent_s
