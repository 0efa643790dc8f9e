"""What a worker says is heard in order, so much a turn, and not at all where it is too much."""

from __future__ import annotations

import asyncio
import itertools
import socket
import tracemalloc

import msgspec

from sandbox.protocol import (
    BatchDone,
    FromWorker,
    Log,
    OutcomeCode,
    Outcomes,
    ProtocolError,
    encode,
)
from sandbox.protocol.frames import MAX_FRAME_OF_OTHERS
from supervisor.core.lifecycle.wire_budget import MOST_EARNED
from supervisor.workers.hearing import FRAMES_A_TURN, PRICES, Hearing


class Ear:
    """A hearing with a real transport, what it heard, and what it was told of the end."""

    def __init__(self) -> None:
        self.heard: list[FromWorker] = []
        self.broken: list[str] = []
        self.refuses: FromWorker | None = None
        self.hearing = Hearing(self._hear, self.broken.append, self._failed)

    def _hear(self, message: FromWorker) -> None:
        if message == self.refuses:
            raise ProtocolError("out of turn")
        self.heard.append(message)

    def _failed(self, step: str, error: Exception) -> None:
        raise AssertionError(step) from error


def done(*numbers: int) -> bytes:
    return b"".join(encode(BatchDone(number)) for number in numbers)


async def test_so_many_frames_are_heard_a_turn_and_all_in_order() -> None:
    """Others have their turn between; nothing more is read of it until it was heard."""
    ours, theirs = socket.socketpair()
    ear = Ear()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    ear.hearing.begin(transport)
    many = 3 * FRAMES_A_TURN + 5
    ear.hearing.take(done(*range(many - 3)))
    ear.hearing.take(done(*range(many - 3, many)))
    heard = [len(ear.heard)]
    assert not transport.is_reading()
    for _ in range(3):
        await asyncio.sleep(0)
        heard.append(len(ear.heard))
    assert all(after - before <= FRAMES_A_TURN for before, after in itertools.pairwise(heard))
    assert heard[0] == FRAMES_A_TURN
    assert ear.heard == [BatchDone(number) for number in range(many)]
    await asyncio.sleep(0)
    assert transport.is_reading()
    assert not ear.broken
    transport.close()
    theirs.close()


async def test_last_words_are_heard_at_once() -> None:
    """A worker's exit follows them; what is not whole was not said."""
    ear = Ear()
    ear.hearing.take(done(*range(FRAMES_A_TURN + 9)) + done(7)[:1])
    ear.hearing.finish()
    assert len(ear.heard) == FRAMES_A_TURN + 9
    await asyncio.sleep(0)
    assert len(ear.heard) == FRAMES_A_TURN + 9


async def test_what_was_said_before_nonsense_holds_and_nothing_after() -> None:
    """However it was cut, and whether the bytes are none or their meaning is out of turn."""
    for nonsense in (b"\xc1", done(99)):
        data = done(1, 2) + nonsense + done(3)
        for cut in range(len(data) + 1):
            ear = Ear()
            ear.refuses = BatchDone(99)
            ear.hearing.take(data[:cut])
            ear.hearing.take(data[cut:])
            ear.hearing.finish()
            assert ear.heard == [BatchDone(1), BatchDone(2)], (nonsense, cut)
            assert len(ear.broken) == 1


async def test_frames_are_priced_by_what_they_cost_and_not_decoded_past_that() -> None:
    """A flood of log lines ends after as many as its price allows, however small they are."""
    ear = Ear()
    frame = encode(Log(20, "", "", 0))
    for _ in range(40):
        ear.hearing.take(frame * 1000)
    ear.hearing.finish()
    assert ear.broken == ["it says more than its batches are worth"]
    assert len(ear.heard) <= MOST_EARNED // PRICES[22] + 1


async def test_outcomes_are_counted_ahead_of_being_decoded() -> None:
    """A worker has one to tell of each delivery, and a million of them cost no memory."""
    ear = Ear()
    outcome = (0, OutcomeCode.DELIVERED, "", None)
    ear.hearing.given(3)
    ear.hearing.take(encode(Outcomes(1, [outcome] * 2)))
    ear.hearing.take(encode(Outcomes(1, [outcome])))
    assert len(ear.heard) == 2
    many = msgspec.msgpack.encode([19, 2**62, [outcome] * 150_000])
    tracemalloc.start()
    ear.hearing.take(many)
    ear.hearing.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(ear.broken) == 1
    assert peak < 8 * len(many)


async def test_a_frame_has_the_size_of_its_kind_at_most() -> None:
    """Whatever it holds, and in whatever form its head is written."""
    for head in (b"\x95\x16", b"\xdc\x00\x05\x16"):
        ear = Ear()
        ear.hearing.take(
            head + b"\x14\xa0\xdb" + (200_000).to_bytes(4, "big") + b"x" * 200_000 + b"\x00"
        )
        ear.hearing.finish()
        assert ear.heard == []
        assert ear.broken == ["frame larger than any honest one of its kind"]
    assert MAX_FRAME_OF_OTHERS < 200_000
