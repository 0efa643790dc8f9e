"""How much a worker may say: what its batches are worth, and a little beside.

A worker is hostile input. Frames cost the supervisor time whether they mean
anything or not, so each worker has a budget in bytes, which fills with time
and with every delivery that it is given. An honest worker never comes near it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes a second for what no batch pays for: heartbeats and log lines.
BYTES_PER_S = 1024 * 1024
#: Most bytes that idle time can earn.
MOST_EARNED = 4 * 1024 * 1024
#: Bytes for each delivery: an outcome with the longest detail, in a frame of its own.
BYTES_PER_DELIVERY = 9 * 1024
#: What a frame costs beside its bytes, so that many small ones are not cheaper than a large one.
FRAME_COST = 256


@dataclass(slots=True)
class WireBudget:
    """Times are seconds of any clock that does not go back."""

    left: float = MOST_EARNED
    at: float | None = None

    def given(self, deliveries: int) -> None:
        """A batch went to the worker: it will have something to say."""
        self.left += deliveries * BYTES_PER_DELIVERY

    def said(self, size: int, frames: int, now: float) -> bool:
        """It said `frames` frames in `size` bytes; whether that was within its budget."""
        if self.at is not None and self.left < MOST_EARNED:
            self.left = min(MOST_EARNED, self.left + (now - self.at) * BYTES_PER_S)
        self.at = now
        self.left -= size + frames * FRAME_COST
        return self.left >= 0
