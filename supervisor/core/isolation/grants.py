"""How many batches a worker may have at once, for the sake of the connections in it.

Owns four limits: a dedicated worker has one batch at a time, so that no other is there when it
dies; a shared worker that still has batches of an unproven connection is left to them; so is one
that has had a batch for many times as long as its connection usually takes, whatever it says of
itself; and one shared worker has one batch at a time for a while where it cannot be told which of
several connections leaks memory, so that each of them is seen alone. Must not know workers but by
number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from supervisor.core.placement import TrustState

#: Seconds for which one worker is serial, and seconds until one is again.
SERIAL_S, PAUSE_S = 10.0, 60.0
#: Looks in a row that find the serial worker at work, after which it is given up: there is more to
#: do than one batch at a time allows, and others wait.
BUSY_LOOKS = 2
#: Looks in a row, of those every 20 ms, that find others waiting for a place while one is serial,
#: after which it is given up, too: they are not to wait for the slower looks.
WAITING_LOOKS = 10


#: A batch is late that takes so many times what those of its connection usually do, and so many
#: seconds at least; and what one batch counts in what is usual.
OVERTIME, OVERTIME_S, NEWEST_SHARE = 10.0, 1.0, 0.2


class BatchTimes:
    """How long batches of each connection usually take, in seconds."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}

    def ended(self, connection: str, seconds: float) -> None:
        """One took so long."""
        usual = self._usual.get(connection, seconds)
        self._usual[connection] = usual + NEWEST_SHARE * (seconds - usual)

    def is_late(self, connection: str, seconds: float) -> bool:
        """Whether one that its worker has had for so long should have ended long ago.

        Not while none has ended: nobody knows what it takes.
        """
        usual = self._usual.get(connection)
        return usual is not None and seconds > max(OVERTIME_S, OVERTIME * usual)

    def forget(self, connection: str) -> None:
        """It left the pool."""
        self._usual.pop(connection, None)


@dataclass(frozen=True, slots=True)
class SharedWorker:
    """A worker in a slot that takes batches, and the connections that it has batches of.

    `is_late`: one of them is, see `BatchTimes`.
    """

    worker: int
    is_unresponsive: bool
    connections: Collection[str]
    is_late: bool = False


def left_alone(
    shared: Iterable[SharedWorker], trust: Callable[[str], TrustState]
) -> frozenset[int]:
    """Shared workers that get nothing more, since they have batches that bode no good.

    Late ones, and those of unproven connections: one that has a worker of its own may have batches
    among the others still. New ones go elsewhere meanwhile, as long as there is an elsewhere.
    """
    workers = list(shared)
    theirs = {
        one.worker
        for one in workers
        if one.is_late or any(trust(name) is TrustState.UNPROVEN for name in one.connections)
    }
    is_elsewhere = any(not one.is_unresponsive and one.worker not in theirs for one in workers)
    return frozenset(theirs) if is_elsewhere else frozenset()


def batches_at_once(credits: int, *, is_dedicated: bool, is_serial: bool) -> int:
    """Batches that a worker may have at once which takes `credits` of them."""
    return min(credits, 1) if is_dedicated or is_serial else credits


@dataclass(slots=True)
class SerialTurn:
    """Which worker of a pool is serial. Times are seconds of a clock that does not go back."""

    worker: int | None = None
    _until: float = 0.0
    _not_before: float = 0.0
    _busy_looks: int = 0
    _waiting_looks: int = 0

    def waited(self, now: float, *, is_waiting: bool) -> bool:
        """Others wait for a place, or do not; whether the serial one is given up for that."""
        is_missed = is_waiting and self.worker is not None
        self._waiting_looks = self._waiting_looks + 1 if is_missed else 0
        if self._waiting_looks < WAITING_LOOKS:
            return False
        self.worker, self._not_before, self._waiting_looks = None, now + PAUSE_S, 0
        return True

    def looked(self, *, is_busy: bool) -> bool:
        """The serial worker was looked at; whether it has had no rest of late."""
        self._busy_looks = self._busy_looks + 1 if is_busy else 0
        return self._busy_looks >= BUSY_LOOKS

    def decide(self, memory_bytes: Mapping[int, int], now: float, *, is_in_question: bool) -> None:
        """Let `worker` be the one that is serial from now on.

        `memory_bytes` is that of every worker that takes batches; the largest shows most.
        `is_in_question`: there are connections of which some leak, nobody knows which.
        """
        if self.worker not in memory_bytes:
            self.worker = None  # it was replaced: its successor is as good
        is_over = not is_in_question or now >= self._until or self._busy_looks >= BUSY_LOOKS
        if self.worker is not None and is_over:
            self.worker, self._not_before = None, now + PAUSE_S
        if self.worker is None and is_in_question and now >= self._not_before and memory_bytes:
            self.worker = max(memory_bytes, key=lambda number: memory_bytes[number])
            self._until, self._busy_looks = now + SERIAL_S, 0
