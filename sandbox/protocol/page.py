"""The marker page: memory that worker and supervisor share.

64-bit words in native order. It costs the worker two stores a task step and the supervisor
one read a look, and it outlives the worker. Destination code can write there too, from any
thread: a hint, no proof. Whether the loop comes round is asked on the wire, by `Ping`.

Behind the page, from `TABLES_AT` on, a copy of the worker has the tables of a heap snapshot: memory
of which the kernel tells the supervisor how much is in use, whoever maps it.
"""

from __future__ import annotations

import signal
from typing import NamedTuple

#: Bytes of the page, and of the file that stacks are written to.
PAGE_BYTES, STACKS_BYTES = 4096, 256 * 1024
#: Where in the page's file the tables of heap snapshots begin: at a page of any machine.
TABLES_AT = 64 * 1024
#: Words: how often the event loop has come round; what runs, as of `mark_word`; what ran when a
#: process was forked last.
BEATS, MARK, FORKED = range(3)
#: Set in `MARK` while that is running, clear once its step is over.
RUNNING = 1 << 63
#: Most events of a batch that a mark tells apart, and most connections of a worker.
MARKED_EVENTS, MARKED_CONNECTIONS = 0xFFFF, 0x7FFF

#: Write the stacks of all threads into `stacks` and go on, or end.
STACKS_SIGNAL, LAST_STACKS_SIGNAL = signal.SIGUSR1, signal.SIGUSR2


class RawMark(NamedTuple):
    """`number` is the connection's of `Configure`, `batch` the low 32 bits of a batch's id.

    `event` is None where the destination did not say, or has more than can be told apart.
    """

    number: int
    batch: int
    event: int | None
    is_running: bool


def mark_word(number: int, batch: int, event: int | None) -> int:
    """A mark of what does not run; `RUNNING` is added while a step runs."""
    place = 0 if event is None or not 0 <= event < MARKED_EVENTS else event + 1
    return (number & MARKED_CONNECTIONS) << 48 | (batch & 0xFFFFFFFF) << 16 | place


def read_mark(word: int) -> RawMark | None:
    """What a word of the page says; None where nothing ever ran that is marked."""
    number = word >> 48 & MARKED_CONNECTIONS
    if number == 0:
        return None
    place = word & 0xFFFF
    return RawMark(
        number, word >> 16 & 0xFFFFFFFF, place - 1 if place else None, bool(word & RUNNING)
    )
