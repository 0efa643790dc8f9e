"""Destinations that the jail's tests put on the plugin path."""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import signal
import tempfile
import threading
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


class Lurks(Destination):
    """Forks once a file is there: a child and a grandchild, which heed no signal."""

    name = "lurks"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`path` is that file."""

        path: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        threading.Thread(target=self._lurk, daemon=True).start()
        return [Delivered() for _ in events]

    def _lurk(self) -> None:
        while not os.path.exists(self.settings.path):
            time.sleep(0.01)
        if os.fork() == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            os.fork()
            time.sleep(600)
            os._exit(0)


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
        except OSError as error:
            return [Failed(f"wrote {self.settings.files}; beside it: {error.strerror}")] * len(
                events
            )
        return [Delivered() for _ in events]


class Loads(Destination):
    """Loads native code while it serves; each event fails with what came of its attempt."""

    name = "loads"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """An extension module and its file, and a folder to write to beside the scratch folder."""

        module: str
        file: str
        folder: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        return [Failed(self._attempt(str(event["event"]))) for event in events]

    def _attempt(self, what: str) -> str:
        try:
            match what:
                case "scratch" | "folder":
                    own = Path(tempfile.gettempdir() if what == "scratch" else self.settings.folder)
                    own = own / f"own-{os.getpid()}.so"
                    own.write_bytes(Path(self.settings.file).read_bytes())
                    with own.open("rb") as file:
                        mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_EXEC)
                case "own library":
                    own = Path(self.settings.folder, "own.so")
                    own.write_bytes(Path(self.settings.file).read_bytes())
                    ctypes.CDLL(str(own))
                case "library":
                    ctypes.CDLL(self.settings.file)
                case "module":
                    importlib.import_module(self.settings.module)
                case "loaded":
                    ctypes.CDLL(None)
                    ctypes.CDLL("libc.so.6")
                case "callback":
                    kind = ctypes.CFUNCTYPE(ctypes.c_int)
                    return str(sum(made() for made in [kind(lambda: 1) for _ in range(400)]))
                case _:
                    return "no such attempt"
        except (ImportError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return "let through"
