"""Whether work on a text grows with its length, and no faster: for accessors, mappings, parsers.

Owns the texts that patterns stumble over, and the measure: CPU time of this process, the least of
some rounds, so that what others do on the machine is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: What a text is made of that is hard for patterns which try things twice: each repeated.
REPEATED = (
    ".", "@", "a@.", "a@a.", " ", "\t\n", "1", "1,", "1.", "-", "+", "$", "e1", "a", "A_", "é",
    "😀", '"', "\\", "%", "{", "(", "/", "http://", "?a=1&", "&", "=", ";", "Mozilla/5.0 (",
    "Version/", "gclid=", "\u00a0", "'", "\0", "2026-01-01", "T", ":", "x y", "🇩",
)  # fmt: skip
#: Characters of the shorter text, and how many times as long the longer one is.
SHORT_CHARS = 1_000
TIMES = 10
#: How many times as long the longer text may take.
MOST = 15
#: Seconds that nobody minds for ten thousand characters: a pattern that is quadratic takes some
#: tenths of a second for them, and what is shorter is not measured well enough to be judged.
FLOOR_S = 0.04
_ROUNDS = 5


def texts(length: int) -> list[str]:
    """A text of this length of each kind; each ends as no pattern expects."""
    return [
        (part * (length // len(part) + 1))[: length - 1] + end for part in REPEATED for end in "@!"
    ]


def growth(work: Callable[[int], Callable[[], object]]) -> float:
    """How many times as long the work takes on a text ten times as long; 0 below the floor.

    `work` makes the work for a length; what it does itself is not measured.
    """
    long = work(TIMES * SHORT_CHARS)
    took_s = _least_s(long, 1)
    if took_s < FLOOR_S:
        return 0.0
    least_s = _least_s(work(SHORT_CHARS), _ROUNDS)
    for _ in range(_ROUNDS):
        if took_s <= max(FLOOR_S, MOST * least_s):
            break  # one good round shows that it can be done
        took_s = min(took_s, _least_s(long, 1))
    return 0.0 if took_s < FLOOR_S else took_s / max(least_s, 1e-9)


def _least_s(work: Callable[[], object], rounds: int) -> float:
    least_s = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        least_s = min(least_s, time.process_time() - started)
    return least_s
