"""Destinations that the process tests put on the plugin path, each with one habit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome
from sandbox.protocol import BEATS, MARK, SCRATCH_ENTRIES


class Diary(Destination):
    """Writes the message id of each event as a line of a file, after `seconds`."""

    name = "diary"
    batch_events = 10

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`path` is appended to; `version` has no meaning but that it may change."""

        path: str
        seconds: float = 0.0
        version: int = 1

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        await asyncio.sleep(self.settings.seconds)
        with Path(self.settings.path).open("a") as diary:
            diary.writelines(f"{event.message_id} {os.getpid()}\n" for event in events)
        return [Delivered() for _ in events]


class Computes(Destination):
    """Takes so many seconds of a CPU for each batch, and lets others run meanwhile."""

    name = "computes"
    batch_events = 10

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`seconds` of CPU time."""

        seconds: float

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        until = time.thread_time() + self.settings.seconds
        while time.thread_time() < until:  # noqa: ASYNC110 - it computes
            await asyncio.sleep(0)
        return [Delivered() for _ in events]


class Litters(Destination):
    """Leaves more files than a worker may have behind its batch."""

    name = "litters"
    batch_events = 10

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        folder = tempfile.mkdtemp()
        with contextlib.suppress(OSError):  # where the folder takes no more by itself
            for number in range(SCRATCH_ENTRIES + 1):
                Path(folder, str(number)).touch()
        return [Delivered() for _ in events]


class Fragile(Destination):
    """Reports each event early, and ends its worker at an event called "Fatal", once."""

    name = "fragile"
    batch_events = 10

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`path` is appended to, and remembers beside it that the worker has died."""

        path: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        scar = Path(self.settings.path + ".died")
        for index, event in enumerate(events):
            if event.event == "Fatal" and not scar.exists():
                scar.touch()
                await asyncio.sleep(0.05)  # what was reported has left by then
                os._exit(3)
            with Path(self.settings.path).open("a") as diary:
                diary.write(f"{event.message_id}\n")
            self.report(index, Delivered())
        return [Delivered() for _ in events]


class Hung(Destination):
    """Never gives the event loop back."""

    name = "hung"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        while True:
            pass


class Raises(Destination):
    """Raises at an event called "Bad", whatever else is in the batch."""

    name = "raises"
    batch_events = 10

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for event in events:
            if event.event == "Bad":
                raise ValueError("no good")
        return [Delivered() for _ in events]


class Liar(Destination):
    """Writes to the supervisor itself, past the runner."""

    name = "liar"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`says` names one of `LIES`."""

        says: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        frame, times = LIES[self.settings.says]
        wire = _wire()
        os.set_blocking(wire, True)
        for _ in range(times):
            os.write(wire, frame)
        await asyncio.Event().wait()
        return []


#: What the liar says: bytes, and how often.
LIES = {
    "garbage": (b"\xc1\xff\x00 not msgpack at all", 1),
    "no array": (b"\x05", 1),
    "another batch": (msgspec.msgpack.encode([19, 987654, [[0, 0, "", None]]]), 1),
    "an index that is none": (msgspec.msgpack.encode([19, 1, [[77, 0, "", None]]]), 1),
    "an outcome that is none": (msgspec.msgpack.encode([19, 1, [[0, 99, "", None]]]), 1),
    "an end too early": (msgspec.msgpack.encode([20, 1]), 1),
    "ready again": (msgspec.msgpack.encode([16, 1000, {}]), 1),
    "a frame for others": (msgspec.msgpack.encode([18, "trial", []]), 1),
    "a gigabyte to come": (b"\xc6\x40\x00\x00\x00" + bytes(60_000), 200),
    "an endless array": (b"\xdd\xff\xff\xff\xff" + b"\x01" * 60_000, 200),
    "deep nesting": (b"\x91" * 60_000, 1),
    "a flood": (msgspec.msgpack.encode([21, 0.0, 1]) * 4000, 50),
    "an endless log line": (msgspec.msgpack.encode([22, 20, "trial", "x" * 1_000_000, 0]), 1),
}


class Forger(Destination):
    """Says a thing of `FORGERIES` eight times at each event, of `names`, and delivers it."""

    name = "forger"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`says` names one of `FORGERIES`; `after_s` is how long it waits first."""

        says: str
        names: str
        after_s: float = 0.0

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        await asyncio.sleep(self.settings.after_s)
        names = self.settings.names
        frame = [names if part == "NAME" else part for part in FORGERIES[self.settings.says]]
        # Its own transport may have more to write, so no waiting, and whole frames.
        os.write(_wire(), msgspec.msgpack.encode(frame) * 8)
        await asyncio.sleep(0.05)
        return [Delivered() for _ in events]


#: What the forger says of another, as on the wire.
FORGERIES: dict[str, list[object]] = {
    "out of memory": [24, "NAME", "MemoryError: not at all"],
    "out of files": [21, 0.0, 1, 100_000, "NAME"],
    "a stray exception": [25, "NAME", "it was not caught", 0],
    "the end of a batch that is none": [20, 424242],
}


class Faker(Destination):
    """Blocks its loop at an event called "Bad", while a thread does what the loop would."""

    name = "faker"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`fakes` is some of beats, figures, and answers to what stands unread in the wire."""

        fakes: list[str]

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        if any(event.event == "Bad" for event in events):
            task = asyncio.current_task()
            assert task is not None
            # Any: what the worker wraps a batch in is none of the kit's interface.
            step: Any = task.get_coro()
            threading.Thread(
                target=_fake, args=(self.settings.fakes, step._page.words), daemon=True
            ).start()
            time.sleep(3600)  # noqa: ASYNC251 - that is its habit
        return [Delivered() for _ in events]


def _fake(fakes: Sequence[str], words: memoryview) -> None:
    descriptor = _wire()
    while True:
        time.sleep(0.01)
        if "beats" in fakes:
            words[BEATS] += 1
        if "figures" in fakes:
            os.write(descriptor, msgspec.msgpack.encode([21, 0.0, 1, 10, ""]))
        if "answers" in fakes:
            with socket.socket(fileno=os.dup(descriptor)) as found:
                flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
                with contextlib.suppress(BlockingIOError):
                    unread = msgpack.Unpacker(raw=True)
                    unread.feed(found.recv(1 << 20, flags))
                    for frame in unread:
                        if frame[0] == 14:
                            found.send(msgspec.msgpack.encode([30, frame[1]]))


class Framer(Destination):
    """Blocks its loop for a moment at each event, in the name of a neighbour's step."""

    name = "framer"
    batch_events = 1
    #: the last mark of a neighbour's that it has seen
    stolen = 0

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        task = asyncio.current_task()
        assert task is not None
        # Any: what the worker wraps a batch in is none of the kit's interface.
        own: Any = task.get_coro()
        steps: list[Any] = [one.get_coro() for one in asyncio.all_tasks()]
        others = [one._running for one in steps if getattr(one, "number", 0) not in (0, own.number)]
        Framer.stolen = random.choice(others) if others else Framer.stolen
        own._words[MARK] = Framer.stolen or own._running
        time.sleep(0.15)  # noqa: ASYNC251 - that is its habit
        return [Delivered() for _ in events]


class Flooder(Destination):
    """Writes one of `FLOODS` to the supervisor from a thread, as fast as it is read."""

    name = "flooder"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`says` names the flood."""

        says: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        threading.Thread(target=_flood, args=(FLOODS[self.settings.says],), daemon=True).start()
        await asyncio.Event().wait()
        return []


def _flood(frame: bytes) -> None:
    wire = _wire()
    os.set_blocking(wire, True)
    many = frame * max(1, 60_000 // len(frame))
    while True:
        os.write(wire, many)


#: Frames that are well formed and cost something to handle.
FLOODS = {
    "log lines": msgspec.msgpack.encode([22, 20, "flood", "x", 0]),
    "long log lines": msgspec.msgpack.encode([22, 20, "flood", "x" * 2000, 0]),
    "stray exceptions": msgspec.msgpack.encode([25, "", "x", 0]),
    "figures": msgspec.msgpack.encode([21, 0.0, 1, 100_000, ""]),
    "out of memory": msgspec.msgpack.encode([24, "flood", "x"]),
    "outcomes told again": msgspec.msgpack.encode([19, 1, [[0, 0, "", None]] * 200_000]),
    "no outcomes": msgspec.msgpack.encode([19, 1, []]),
    "copies": msgspec.msgpack.encode([26, 0, 1]),
    "long arrays": b"\x94" + msgspec.msgpack.encode(22) + b"\x14\xa0" + b"\x90" * 100_000,
}


def _wire() -> int:
    return next(fd for fd in range(3, 64) if _is_unix_stream(fd))


def _is_unix_stream(fd: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as found:
            return found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM
    except OSError:
        return False
