"""Destinations that the process tests put on the plugin path, each with one habit."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome


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
        wire = next(fd for fd in range(3, 64) if _is_unix_stream(fd))
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


def _is_unix_stream(fd: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as found:
            return found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM
    except OSError:
        return False
