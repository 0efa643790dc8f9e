"""What one worker says on its wire: read within its budget, and heard so much a turn.

Owns the order of what is heard, and that a worker which says more than it is worth is found out
before that was decoded. Others have their turn of the event loop between any few frames of it, and
while they have, nothing more is read of it. Must not know what a message means, beyond its price.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from sandbox.protocol import (
    FRAME_SIZES,
    MAX_FRAME_FROM_WORKER,
    AskToken,
    BatchDone,
    CollectionStarted,
    FrameReader,
    FromWorker,
    GiveUpToken,
    KeepToken,
    Log,
    OutOfMemory,
    ProtocolError,
    Sampled,
    Stats,
    UnhandledException,
    count_of_outcomes,
    kind_of,
    tag_of,
)
from supervisor.core.lifecycle.wire_budget import WireBudget
from supervisor.workers.edge import at_the_edge

#: Frames of one worker that are heard in a turn of the event loop, and bytes of it that are decoded
#: at once: the shortest frame has three.
FRAMES_A_TURN, PIECE_BYTES = 64, 16 * 1024
#: What a frame costs beside its bytes, by kind: a log line, a look at what the kernel says and a
#: write to the disk take as long as it takes to decode so many bytes, or longer.
PRICES = {
    tag_of(BatchDone): 512,
    tag_of(Stats): 2 * 1024,
    tag_of(Log): 1024,
    tag_of(UnhandledException): 1024,
    tag_of(CollectionStarted): 4 * 1024,
    tag_of(AskToken): 4 * 1024,
    tag_of(GiveUpToken): 4 * 1024,
    tag_of(Sampled): 8 * 1024,
    tag_of(KeepToken): 64 * 1024,
    tag_of(OutOfMemory): 16 * 1024,
}


class Hearing:
    """That of one worker.

    `heard` raises ProtocolError, and `broken` is told of it: nothing that follows counts. `failed`
    is told of what else it raises, see `edge.py`.
    """

    def __init__(
        self,
        heard: Callable[[FromWorker], None],
        broken: Callable[[str], None],
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._heard = heard
        self._failed = failed
        self._broken = broken
        self._budget = WireBudget(PRICES)
        self._frames = FrameReader(
            FromWorker, MAX_FRAME_FROM_WORKER, sizes=FRAME_SIZES, admit=self._admit
        )
        self._unread: deque[memoryview] = deque()
        self._messages: deque[FromWorker] = deque()
        self._transport: asyncio.Transport | None = None
        self._turn: asyncio.Handle | None = None
        self._is_over = self._is_paused = False

    def begin(self, transport: asyncio.Transport) -> None:
        """This is where it speaks from."""
        self._transport = transport

    def given(self, deliveries: int) -> None:
        """A batch goes to the worker: it will have that much more to say."""
        self._budget.given(deliveries)

    def take(self, data: bytes) -> None:
        """It has said this; some of it is heard now, the rest in the next turns."""
        if self._is_over:
            return
        if not self._budget.read(len(data), time.monotonic()):
            self._fail("it says more than its batches are worth")
            return
        view = memoryview(data)
        self._unread += [view[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
        if self._turn is None:
            self._hear(FRAMES_A_TURN)

    def finish(self) -> None:
        """Its wire has ended: hear all that was read of it."""
        self._stop_turn()
        self._hear(None)

    def close(self) -> None:
        """Nothing that it says counts any more."""
        self._is_over = True
        self._stop_turn()
        self._unread.clear()
        self._messages.clear()

    def failed_at(self, step: str, error: Exception) -> None:
        """A turn of its own raised."""
        self._failed(step, error)

    # --- inside ---

    @at_the_edge
    def _next_turn(self) -> None:
        self._turn = None
        self._hear(FRAMES_A_TURN)

    def _hear(self, most: int | None) -> None:
        left = most
        try:
            while not self._is_over and (message := self._next()) is not None:
                self._heard(message)
                if left is not None:
                    left -= 1
                    if left == 0:
                        break
        except ProtocolError as error:
            self._fail(str(error))
        if self._is_over or most is None:
            return
        if self._messages or self._unread:
            self._turn = asyncio.get_running_loop().call_soon(self._next_turn)
        self._pause(is_wanted=self._turn is not None)

    def _pause(self, *, is_wanted: bool) -> None:
        """Read no more of it while there is something to hear; its socket holds the rest."""
        transport = self._transport
        if is_wanted is self._is_paused or transport is None or transport.is_closing():
            return
        self._is_paused = is_wanted
        if is_wanted:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _next(self) -> FromWorker | None:
        """The next message; None where none is whole. Raises ProtocolError."""
        while not self._messages:
            self._frames.check()
            if not self._unread:
                return None
            self._messages += self._frames.feed(self._unread.popleft())
        return self._messages.popleft()

    def _admit(self, frame: bytes | memoryview) -> None:
        kind = kind_of(frame)
        if not self._budget.said(kind, count_of_outcomes(frame)):
            raise ProtocolError("it says more than its batches are worth")

    def _fail(self, why: str) -> None:
        self.close()
        self._broken(why)

    def _stop_turn(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
