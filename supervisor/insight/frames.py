"""What one stretch of time held for one connection or source: a frame, and what frames add up to.

Owns the columns, how frames are merged, and how they are written. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import add, sub
from typing import Final

import msgspec

from supervisor.queue import Books, Counted

#: Counters of the books that frames count; `pending` is what is left of them.
OF_BOOKS: Final = tuple(name for name in Books.__struct_fields__ if name != "pending")
#: What a frame counts, in order. A dead letter that is replayed is taken out of the books as what
#: it was: `failed` and `quarantined` have that taken out, and the `replayed_` columns say how much.
COLUMNS: Final = (
    *OF_BOOKS,
    "replayed_failed",
    "replayed_quarantined",
    "retries",
    "received",
    "rejected",
    "duplicates",
)
NOTHING: Final = (0,) * len(COLUMNS)
REPLAYED_FAILED, REPLAYED_QUARANTINED, RETRIES, RECEIVED, REJECTED, DUPLICATES = range(
    len(OF_BOOKS), len(COLUMNS)
)
#: Seconds of a minute, of the two coarser tiers, and how long frames of each are kept.
MINUTE_S, TEN_MINUTES_S, HOUR_S = 60, 600, 3600
KEPT_S: Final = {MINUTE_S: 6 * 3600, TEN_MINUTES_S: 7 * 86400, HOUR_S: 90 * 86400}

Counts = tuple[int, ...]


class Frame(msgspec.Struct, array_like=True, gc=False):
    """`counts` by `COLUMNS`; `depth` is what was pending at its end.

    `gap_s` is not 0 where it is of a restart: for so many seconds before it nobody has counted,
    and it holds what the books have moved by meanwhile. `latency` is sparse, see
    `telemetry.latencies`.
    """

    counts: Counts = NOTHING
    depth: int = 0
    gap_s: int = 0
    latency: list[int] = []

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.depth or self.gap_s or self.latency) and self.counts == NOTHING


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


def packed(frame: Frame) -> bytes:
    """As it is stored: mostly 30 to 60 bytes."""
    return _encode(frame)


def unpacked(blob: bytes) -> Frame:
    """The other way round. Raises msgspec.MsgspecError for what is none."""
    frame = _decode(blob)
    missing = len(COLUMNS) - len(frame.counts)
    return msgspec.structs.replace(frame, counts=frame.counts + (0,) * missing)


def merged(frames: Iterable[Frame]) -> Frame:
    """One frame of several, in the order of time."""
    counts, depth, gap_s = NOTHING, 0, 0
    latency: dict[int, int] = {}
    for frame in frames:
        counts = plus(counts, frame.counts)
        depth = frame.depth
        gap_s += frame.gap_s
        for slot, n in zip(frame.latency[::2], frame.latency[1::2], strict=True):
            latency[slot] = latency.get(slot, 0) + n
    return Frame(
        counts, depth, gap_s, [each for slot in sorted(latency) for each in (slot, latency[slot])]
    )


def plus(one: Counts, other: Counts) -> Counts:
    """The sum, column by column."""
    return tuple(map(add, one, other))


def minus(one: Counts, other: Counts) -> Counts:
    """The difference, column by column."""
    return tuple(map(sub, one, other))


def books_between(before: Books, counted: Counted, replayed: Sequence[int]) -> Counts:
    """What the books of one connection have moved by; `replayed` is as it was counted before.

    What was replayed counts as failed or quarantined all the same, and once more as replayed.
    """
    now = counted.books
    failed = counted.replayed_failed - replayed[0]
    quarantined = counted.replayed_quarantined - replayed[1]
    if now == before and not (failed or quarantined):
        return NOTHING
    return (
        now.accepted - before.accepted,
        now.delivered_first_try - before.delivered_first_try,
        now.delivered_on_retry - before.delivered_on_retry,
        now.failed - before.failed + failed,
        now.unsupported - before.unsupported,
        now.filtered - before.filtered,
        now.quarantined - before.quarantined + quarantined,
        failed,
        quarantined,
        *NOTHING[RETRIES:],
    )


def as_books(counts: Counts) -> Books:
    """What frames say that the books are, `pending` included."""
    of_books = dict(zip(OF_BOOKS, counts, strict=False))
    of_books["failed"] -= counts[REPLAYED_FAILED]
    of_books["quarantined"] -= counts[REPLAYED_QUARANTINED]
    return Books(**of_books, pending=2 * of_books["accepted"] - sum(of_books.values()))


assert OF_BOOKS == (
    "accepted",
    "delivered_first_try",
    "delivered_on_retry",
    "failed",
    "unsupported",
    "filtered",
    "quarantined",
)
