"""The outcomes of one batch on their way to the supervisor: the first one of an event counts.

Owns what an outcome of the kit is on the wire, and when reports are written. Must not call a
destination.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from destinations.kit import Delivered, Failed, Outcome, Retry, Unauthorized, Unsupported
from destinations.kit.outcomes import Cause
from sandbox.protocol import MAX_DETAIL, BatchDone, Message, OutcomeCode, Outcomes
from sandbox.protocol.foreign_text import printable

#: Seconds within which a report is on its way. A frame an event would cost the supervisor more than
#: all the rest of its work on it.
REPORT_WITHIN_S = 0.01

#: By its own name, since nearly every event has it: to read a member off its enum costs 0.2 µs.
_DELIVERED = OutcomeCode.DELIVERED

WireOutcome = tuple[int, OutcomeCode, str, float | None]


class BatchReport:
    """The outcome of each event of a batch; the first report of an event counts.

    `failed` hears of each that is no delivery, ahead of its report.
    """

    def __init__(
        self,
        batch: int,
        size: int,
        send: Callable[[Message], None],
        failed: Callable[[int, Outcome], None],
    ) -> None:
        self._batch = batch
        self._failed = failed
        self._size = size
        self._send = send
        self._told = bytearray(size)
        self._pending: list[WireOutcome] = []
        self._flush: asyncio.TimerHandle | None = None
        self._closed = False

    def report(self, index: int, outcome: Outcome) -> None:
        """Report the outcome of one event early. Raises TypeError or IndexError for nonsense."""
        if not 0 <= index < self._size:
            raise IndexError(f"event {index} of a batch of {self._size}")
        wire = _wire(index, outcome)
        if self._told[index] or self._closed:
            return
        self._told[index] = 1
        if wire[1] is not _DELIVERED:
            self._failed(index, outcome)
        self._pending.append(wire)
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(REPORT_WITHIN_S, self._write)

    def take(self, returned: Sequence[Outcome]) -> str:
        """Take what `deliver` returned; says what is wrong with it, "" where nothing is."""
        if not isinstance(returned, (list, tuple)):
            return f"deliver returned {type(returned).__name__}, not a sequence of outcomes"
        if len(returned) != self._size:
            return f"deliver returned {len(returned)} outcomes for {self._size} events"
        told, pending = self._told, self._pending
        for index, outcome in enumerate(returned):
            if told[index]:
                continue
            try:
                wire = _wire(index, outcome)
            except TypeError as error:
                return str(error)
            if wire[1] is not _DELIVERED:
                self._failed(index, outcome)
            pending.append(wire)
            told[index] = 1
        return ""

    def close(self, code: OutcomeCode, reason: str) -> None:
        """The batch is over: `code` and `reason` for the events without a report."""
        self.give_up(code, reason)
        self._send(BatchDone(self._batch))

    def give_up(self, code: OutcomeCode, reason: str) -> None:
        """No outcome counts any more, though the batch may go on: it is the supervisor's to end."""
        if self._closed:
            return
        self._closed = True
        if self._flush is not None:
            self._flush.cancel()
        reason = reason[:MAX_DETAIL]
        self._pending += [
            (index, code, reason, None) for index, told in enumerate(self._told) if not told
        ]
        self._write()

    def _write(self) -> None:
        self._flush = None
        if self._pending:
            self._send(Outcomes(self._batch, self._pending))
            self._pending = []


def _wire(index: int, outcome: Outcome) -> WireOutcome:
    """Raises TypeError for what is no outcome: a destination's code is not type-checked by us."""
    match outcome:
        case Delivered():
            return index, _DELIVERED, "", None
        case Retry(reason=reason, after_s=after_s, cause=cause):
            return index, _retry_code(cause), shortened(reason), _seconds(after_s)
        case Unauthorized(reason=reason, is_certain=is_certain):
            code = OutcomeCode.LOCKED_OUT if is_certain else OutcomeCode.UNAUTHORIZED
            return index, code, shortened(reason), None
        case Failed(reason=reason):
            return index, OutcomeCode.FAILED, shortened(reason), None
        case Unsupported():
            return index, OutcomeCode.UNSUPPORTED, "", None
    raise TypeError(f"{type(outcome).__name__} is not an outcome")


def _seconds(after_s: object) -> float | None:
    """A wait as the wire has it. Raises TypeError for what is no number, or none that ends."""
    if after_s is None:
        return None
    if not isinstance(after_s, (int, float)):
        raise TypeError(f"after_s is {type(after_s).__name__}, not seconds")
    try:
        return float(after_s)
    except OverflowError:
        raise TypeError("after_s is more seconds than there are") from None


def _retry_code(cause: Cause) -> OutcomeCode:
    match cause:
        case Cause.THROTTLED:
            return OutcomeCode.THROTTLED
        case Cause.TIMEOUT:
            return OutcomeCode.TIMEOUT
        case Cause.CONNECT:
            return OutcomeCode.CONNECT
        case Cause.SERVER:
            return OutcomeCode.SERVER
        case Cause.SETUP:
            return OutcomeCode.SETUP
        case Cause.OTHER:
            return OutcomeCode.RETRY
    return OutcomeCode.RETRY  # a destination's own word for a cause; it is not type-checked by us


def shortened(reason: object) -> str:
    """A text that the wire carries: one short line of print, whatever of a server's it quotes."""
    return printable(str(reason)[:MAX_DETAIL])[:MAX_DETAIL]
