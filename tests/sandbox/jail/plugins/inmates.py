"""Destinations that the jail's tests put on the plugin path."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from destinations.kit import Delivered, Destination, Event, Failed, Outcome


class Forks(Destination):
    """Leaves processes behind that wait for better times."""

    name = "forks"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`times` of them an event."""

        times: int = 1

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        for _ in range(self.settings.times):
            if os.fork() == 0:
                time.sleep(600)  # noqa: ASYNC251 - the fork has no loop to block
                os._exit(0)
        return [Delivered() for _ in events]


class Writes(Destination):
    """Writes to its scratch folder, and tries to write beside it."""

    name = "writes"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`files` are made, of `size` bytes each; `beside` is a path to write to."""

        files: int = 1
        size: int = 10
        beside: str = "/tmp/bulkhead-escaped"  # noqa: S108 - where nobody may write

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        folder = Path(tempfile.mkdtemp())
        for number in range(self.settings.files):
            (folder / str(number)).write_bytes(bytes(self.settings.size))
        with tempfile.NamedTemporaryFile() as named, tempfile.TemporaryFile() as unnamed:
            named.write(b"x")
            unnamed.write(b"x")
        try:
            Path(self.settings.beside).write_text("x")
        except PermissionError as error:
            return [Failed(f"wrote {self.settings.files}; beside it: {error.strerror}")] * len(
                events
            )
        return [Delivered() for _ in events]
