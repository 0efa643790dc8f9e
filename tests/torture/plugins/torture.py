"""One destination with every bad habit of the torture list, and its harmless neighbour.

An event called "Bad" sets off the habit that the settings name; any other is
delivered. Nothing here is written to files: what was delivered is in the books.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome

#: What bad events do, by name. It is found by its function's name.
HABITS: dict[str, Callable[[Destination, Event], Awaitable[Outcome]]] = {}


class Torture(Destination):
    """Does at an event called "Bad" what its settings say."""

    name = "torture"
    batch_events = 10

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`habit` is one of `HABITS`."""

        habit: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        outcomes = await self._outcomes(events)
        if any(event.event == "Bad" for event in events):
            outcomes = _OUTCOMES.get(self.settings.habit, list)(outcomes)
        return outcomes

    async def _outcomes(self, events: Sequence[Event]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for index, event in enumerate(events):
            self.at(index)
            if event.event == "Bad":
                outcomes.append(await HABITS[self.settings.habit](self, event))
            else:
                outcomes.append(Delivered())
                self.report(index, Delivered())
        return outcomes


class Blast(Destination):
    """Posts its batch to a sink, and has a habit at one event of so many: for the benchmarks."""

    name = "blast"
    hosts = ("{url}",)
    batch_events = 100

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """Without a `habit` it behaves; with one, it misbehaves at one event of `one_of`."""

        url: str
        habit: str | None = None
        one_of: int = 100

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for index, event in enumerate(events):
            outcome: Outcome = Delivered()
            if self.settings.habit is not None and self._is_bad(event):
                self.at(index)
                outcome = await HABITS[self.settings.habit](self, event)
            outcomes.append(outcome)
        self.at(-1)
        # As they were stored, so that the sink sees when each was received.
        body = b"[" + b",".join(event.raw for event in events) + b"]"
        async with self.http.post(self.settings.url, data=body) as answer:
            await answer.read()
        return outcomes

    def _is_bad(self, event: Event) -> bool:
        return zlib.crc32(str(event.message_id).encode()) % int(self.settings.one_of) == 0


class Neighbour(Destination):
    """Delivers everything, each batch after a moment: it has something to lose."""

    name = "neighbour"
    batch_events = 10

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        await asyncio.sleep(0.05)
        return [Delivered() for _ in events]


def habit(
    function: Callable[[Destination, Event], Awaitable[Outcome]],
) -> Callable[[Destination, Event], Awaitable[Outcome]]:
    """Known to the settings by its name."""
    HABITS[function.__name__] = function
    return function


# --- time ---


@habit
async def awaits_for_ever(self: Destination, event: Event) -> Outcome:
    await asyncio.Event().wait()
    return Delivered()


@habit
async def spins(self: Destination, event: Event) -> Outcome:
    while True:
        pass


@habit
async def sleeps(self: Destination, event: Event) -> Outcome:
    time.sleep(3600)  # noqa: ASYNC251 - that is the habit
    return Delivered()


@habit
async def holds_the_gil(self: Destination, event: Event) -> Outcome:
    # One call into C that does not come back, nor let any other thread run.
    sum(range(10**15))
    return Delivered()


@habit
async def ignores_signals(self: Destination, event: Event) -> Outcome:
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            time.sleep(3600)  # noqa: ASYNC251 - that is the habit
        except BaseException:  # noqa: BLE001, S112 - that too
            continue


@habit
async def swallows_cancellation(self: Destination, event: Event) -> Outcome:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


@habit
async def blocks_for_a_moment(self: Destination, event: Event) -> Outcome:
    time.sleep(0.2)  # noqa: ASYNC251 - that is the habit
    return Delivered()


@habit
async def takes_many_short_steps(self: Destination, event: Event) -> Outcome:
    for _ in range(200):
        until = time.perf_counter() + 0.001
        while time.perf_counter() < until:
            pass
        await asyncio.sleep(0)
    return Delivered()


@habit
async def never_rests(self: Destination, event: Event) -> Outcome:
    while True:
        await takes_many_short_steps(self, event)


@habit
async def computes(self: Destination, event: Event) -> Outcome:
    # By its own clock: on a busy machine it takes as much of a CPU, and longer.
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    return Delivered()


# --- raising ---


@habit
async def raises(self: Destination, event: Event) -> Outcome:
    raise ValueError("no good")


@habit
async def raises_in_a_task(self: Destination, event: Event) -> Outcome:
    async def left_behind() -> None:
        raise ValueError("from a task")

    # Nobody keeps it, and nobody awaits it: that is the habit.
    asyncio.create_task(left_behind())  # noqa: RUF006
    return Delivered()


@habit
async def raises_in_a_callback(self: Destination, event: Event) -> Outcome:
    asyncio.get_running_loop().call_soon(_raise, ValueError("from a callback"))
    return Delivered()


@habit
async def raises_in_del(self: Destination, event: Event) -> Outcome:
    class Bomb:
        def __del__(self) -> None:
            raise ValueError("from __del__")

    Bomb()
    return Delivered()


@habit
async def raises_in_a_thread(self: Destination, event: Event) -> Outcome:
    threading.Thread(target=_raise, args=(ValueError("from a thread"),)).start()
    return Delivered()


@habit
async def raises_base_exception(self: Destination, event: Event) -> Outcome:
    class Odd(BaseException):
        pass

    raise Odd("not even an Exception")


@habit
async def exits_politely(self: Destination, event: Event) -> Outcome:
    sys.exit(3)


@habit
async def exits_in_a_task(self: Destination, event: Event) -> Outcome:
    async def left_behind() -> None:
        sys.exit(3)

    task = asyncio.create_task(left_behind())
    await asyncio.wait([task])
    return Delivered()


def _raise(error: BaseException) -> None:
    raise error


# --- dying ---


@habit
async def exits(self: Destination, event: Event) -> Outcome:
    os._exit(3)


@habit
async def aborts(self: Destination, event: Event) -> Outcome:
    os.abort()


@habit
async def segfaults(self: Destination, event: Event) -> Outcome:
    ctypes.string_at(0)
    return Delivered()


@habit
async def overflows_the_stack(self: Destination, event: Event) -> Outcome:
    sys.setrecursionlimit(10**8)

    def deeper(_: int) -> list[object]:
        return list(map(deeper, [0]))  # through C, which has a stack of its own

    deeper(0)
    return Delivered()


@habit
async def kills_itself(self: Destination, event: Event) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    return Delivered()


@habit
async def exits_in_a_callback(self: Destination, event: Event) -> Outcome:
    asyncio.get_running_loop().call_soon(sys.exit, 4)
    await asyncio.sleep(0)
    return Delivered()


@habit
async def stops_the_loop(self: Destination, event: Event) -> Outcome:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return Delivered()


# --- memory ---

_KEPT: list[bytes] = []


@habit
async def leaks(self: Destination, event: Event) -> Outcome:
    _KEPT.append(bytes(100 * 1024) + str(event.message_id).encode())
    await asyncio.sleep(0.005)
    return Delivered()


@habit
async def leaks_in_itself(self: Destination, event: Event) -> Outcome:
    # Held by the connection's own instance, and by nothing that connections share.
    self.__dict__.setdefault("kept", []).append(bytes(100 * 1024) + event.raw)
    await asyncio.sleep(0.005)
    return Delivered()


@habit
async def allocates_at_once(self: Destination, event: Event) -> Outcome:
    _KEPT.append(bytes(10 * 1024**3))
    return Delivered()


@habit
async def allocates_without_end(self: Destination, event: Event) -> Outcome:
    mine: list[list[int]] = []
    while True:
        mine.append(list(range(100_000)))


@habit
async def hoards(self: Destination, event: Event) -> Outcome:
    # Memory past Python, and a destination that would not hear of a limit.
    mine: list[mmap.mmap] = []
    while True:
        try:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            mine.append(mmap.mmap(-1, 1024 * 1024, flags=flags))
            mine[-1].write(b"x" * 1024 * 1024)
        except BaseException:  # noqa: BLE001, S112 - that is the habit
            continue


@habit
async def maps_shared_memory(self: Destination, event: Event) -> Outcome:
    # Memory that no sum of its worker has once it is filled and unmapped.
    kept = []
    for descriptor in (*_zeros(), -1):
        page = mmap.mmap(descriptor, 512 * 1024**2)
        for at in range(0, len(page), mmap.PAGESIZE):
            page[at] = 1
        page.madvise(mmap.MADV_DONTNEED)
        kept.append(page)
    await asyncio.sleep(3600)
    return Delivered()


def _zeros() -> list[int]:
    try:
        return [os.open("/dev/zero", os.O_RDWR)]
    except PermissionError:
        return []


# --- output: 100 MB, 100 MB, and what would be 1 GB ---


@habit
async def prints(self: Destination, event: Event) -> Outcome:
    for number in range(1000):
        print("x" * 100_000, file=sys.stderr if number % 2 else sys.stdout)
    return Delivered()


@habit
async def prints_past_python(self: Destination, event: Event) -> Outcome:
    for number in range(1000):
        os.write(1 + number % 2, b"y" * 100_000)
        await asyncio.sleep(0)
    return Delivered()


@habit
async def logs_without_end(self: Destination, event: Event) -> Outcome:
    for _ in range(100):
        for _ in range(100):
            self.log.info("%s", "z" * 100_000)
        await asyncio.sleep(0)
    return Delivered()


# --- files, threads, processes ---


@habit
async def writes_a_scratch_file(self: Destination, event: Event) -> Outcome:
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("abc")
        file.flush()
        self.log.info("scratch: %d of 3", os.path.getsize(file.name))
    return Delivered()


@habit
async def fills_its_scratch_folder(self: Destination, event: Event) -> Outcome:
    folder = tempfile.mkdtemp()
    number = 0
    while True:
        number += 1
        with open(f"{folder}/{number}", "wb") as file:
            file.write(bytes(4 * 1024 * 1024))
        await asyncio.sleep(0)


@habit
async def keeps_unlinked_files(self: Destination, event: Event) -> Outcome:
    while True:
        with tempfile.NamedTemporaryFile() as file:
            _FILES.append(os.dup(file.fileno()))
            file.write(bytes(4 * 1024 * 1024))
            file.flush()
        await asyncio.sleep(0)


@habit
async def nests_folders(self: Destination, event: Event) -> Outcome:
    folder = os.open(tempfile.mkdtemp(), os.O_RDONLY)
    for _ in range(1_900):
        os.mkdir("n" * 255, dir_fd=folder)
        deeper = os.open("n" * 255, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    await asyncio.sleep(3600)
    return Delivered()


@habit
async def leaks_files(self: Destination, event: Event) -> Outcome:
    while True:
        _FILES.append(open("/dev/null", "rb"))  # noqa: SIM115 - that is the habit


_FILES: list[object] = []


@habit
async def starts_threads(self: Destination, event: Event) -> Outcome:
    for _ in range(10_000):
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return Delivered()


@habit
async def forks_without_end(self: Destination, event: Event) -> Outcome:
    while True:
        try:
            if os.fork() == 0:
                time.sleep(3600)  # noqa: ASYNC251 - its parent goes on, and that is enough
        except OSError:
            await asyncio.sleep(0.01)


@habit
async def forks_with_memory(self: Destination, event: Event) -> Outcome:
    for _ in range(4):
        if os.fork() == 0:
            held = [bytes([1]) * 1024 * 1024 for _ in range(200)]
            time.sleep(3600)  # noqa: ASYNC251 - that is the habit
            os._exit(len(held))
    await asyncio.sleep(3600)
    return Delivered()


@habit
async def orphans_a_child(self: Destination, event: Event) -> Outcome:
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(3600)  # noqa: ASYNC251 - that is the habit
        os._exit(0)
    os.wait()  # noqa: ASYNC222 - for a moment
    await asyncio.sleep(3600)
    return Delivered()


@habit
async def leaves_a_child(self: Destination, event: Event) -> Outcome:
    if os.fork() == 0:
        time.sleep(3600)  # noqa: ASYNC251 - that is the habit
    os._exit(5)


# --- what it says in its worker's name ---


@habit
async def forges_out_of_memory(self: Destination, event: Event) -> Outcome:
    await asyncio.sleep(0.3)  # its neighbour is in this worker by then
    _forge([24, _neighbour(self), "MemoryError: not at all"])
    await asyncio.sleep(0.05)
    return Delivered()


@habit
async def forges_too_many_files(self: Destination, event: Event) -> Outcome:
    await asyncio.sleep(0.3)
    _forge([21, 0.0, 1, 100_000, _neighbour(self)])
    await asyncio.sleep(0.05)
    return Delivered()


def _forge(frame: list[object]) -> None:
    """Say it eight times, past the worker: its own transport may have more to write."""
    os.write(_wire(), msgspec.msgpack.encode(frame) * 8)


def _neighbour(self: Destination) -> str:
    """Who behaves beside this connection: in the torture list, and in the benchmarks."""
    name = self.log.name.removeprefix("destination.")
    return f"{name.removesuffix('bad')}good" if name.endswith("-bad") else "c1"


def _wire() -> int:
    for number in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(number)) as found:
                if (found.family, found.type) == (socket.AF_UNIX, socket.SOCK_STREAM):
                    return number
        except OSError:
            continue
    raise LookupError("no wire among its descriptors")


# --- outcomes ---


async def _fine(self: Destination, event: Event) -> Outcome:
    return Delivered()


HABITS |= dict.fromkeys(("too_few_outcomes", "too_many_outcomes", "wrong_outcomes"), _fine)
#: What becomes of a batch's outcomes where a bad event is in it. Any: nonsense on purpose.
_OUTCOMES: dict[str, Callable[[list[Outcome]], Any]] = {
    "too_few_outcomes": lambda outcomes: outcomes[:-1],
    "too_many_outcomes": lambda outcomes: [*outcomes, Delivered()],
    "wrong_outcomes": lambda outcomes: [True for _ in outcomes],
}
