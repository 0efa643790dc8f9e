"""Workers without a process: what the supervisor takes for its zygote, and who answers it.

Owns the other ends of wires and channels. Each worker has a real process id, that of a
`sleep`, so that the supervisor watches, kills and reaps as it always does; what it says comes
from a script in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence

from sandbox import channel
from sandbox.protocol import (
    MAX_FRAME_TO_WORKER,
    Batch,
    BatchDone,
    Configure,
    Connected,
    CurrentToken,
    Declaration,
    Declared,
    Drain,
    FrameReader,
    Message,
    OutcomeCode,
    Outcomes,
    Ping,
    Pong,
    Proceed,
    Ready,
    RunSelftest,
    Spawn,
    Stats,
    Taken,
    TokenDenied,
    TokenGranted,
    TokenStored,
    ToWorker,
    ToWorkerChannel,
    Validate,
    Validated,
    WantSamples,
    encode,
)
from scripts.fuzzing.cases import Case, Known, case

CREDITS = 16
#: Seconds that a liar waits for a batch to lie about, and how often it does.
BATCH_S, PATIENT = 0.5, 0.8
EVENT_TYPES = ["alias", "group", "identify", "page", "screen", "track"]
#: The pool whose workers lie; all others are honest.
LIARS = "liars"


class Tally:
    """What was said so far, and how much more may be."""

    def __init__(self, seed: int, cases: int, places: Sequence[tuple[str, int]]) -> None:
        self.seed = seed
        self.left = cases
        self.places = places
        self.kinds: Counter[str] = Counter()
        self.workers = 0

    @property
    def said(self) -> int:
        """Cases that were said."""
        return self.kinds.total()


class Nursery:
    """Stands where the supervisor expects its `Zygote`."""

    pid = None
    pids: frozenset[int | None] = frozenset()
    is_answering = True
    is_warm = False
    restarts = 0

    def __init__(self, answered: Callable[[int, int, str], None], tally: Tally) -> None:
        self._answered = answered
        self._tally = tally
        self.players: dict[int, Player] = {}

    def start(self) -> None:
        """Nothing has to be imported."""

    def stop(self) -> None:
        """Workers are gone by now."""

    def died_within(self, seconds: float) -> bool:
        """It never dies."""
        return False

    def fork(self, order: Spawn, ends: Sequence[int]) -> None:
        """Bring a worker to life; takes over `ends`."""
        wire, its_channel, *boxes = ends
        for marker_page in boxes:
            os.close(marker_page)
        pid = os.posix_spawn("/bin/sleep", ["sleep", "3600"], {})
        self._tally.workers += 1
        player = self.players[order.child] = Player(order, wire, its_channel, self._tally, self)
        pidfd = os.pidfd_open(pid)

        def died() -> None:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)
            self.players.pop(order.child, None)
            player.end()

        asyncio.get_running_loop().add_reader(pidfd, died)
        player.pid = pid
        self._answered(order.child, pid, "")
        player.begin()


class Player:
    """One worker: honest but in the pool of liars."""

    def __init__(
        self, order: Spawn, wire: int, its_channel: int, tally: Tally, nursery: Nursery
    ) -> None:
        self.pid = 0
        self._order = order
        self._tally = tally
        self._nursery = nursery
        self._random = random.Random(f"{tally.seed}/{order.child}")
        self._is_liar = order.label.startswith(LIARS) and not order.declare
        self._wire = socket.socket(fileno=wire)
        self._wire.setblocking(False)
        # The liar writes past the worker's own end, which closes when it will.
        self._past = socket.socket(fileno=os.dup(its_channel))
        self._channel = channel.SupervisorChannel(its_channel, self._heard)
        self._frames = FrameReader(ToWorker, MAX_FRAME_TO_WORKER)
        self._out = bytearray()
        self._is_over = False
        self._given = asyncio.Event()
        self._raving: asyncio.Task[None] | None = None
        self.known = Known(foreign_batches=self._foreign_batches)

    def begin(self) -> None:
        """Listen, and say what a worker says first."""
        asyncio.get_running_loop().add_reader(self._wire.fileno(), self._readable)
        self._channel.open()
        layers = {"seccomp": "on"}
        if not self._order.declare:
            self._say(Ready(CREDITS, layers))
            if self._is_liar:
                self._raving = asyncio.get_running_loop().create_task(self._rave())
            return
        self._say(Ready(0, layers))
        hosts = tuple(f"{host}:{port}" for host, port in self._tally.places[:-1])
        declaration = Declaration(types=frozenset(EVENT_TYPES), hosts=hosts, batch_events=100)
        for name, _ in self._order.destinations:
            self._say(Declared(name, declaration))

    def end(self) -> None:
        """Its process is dead, and so is it."""
        if self._is_over:
            return
        self._is_over = True
        if self._raving is not None:
            self._raving.cancel()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._wire.fileno())
        loop.remove_writer(self._wire.fileno())
        self._wire.close()
        self._past.close()

    # --- lies ---

    async def _rave(self) -> None:
        while self._tally.left > 0 and not self._is_over:
            if not self.known.batches and self._random.random() < PATIENT:
                self._given.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BATCH_S):
                        await self._given.wait()
            for _ in range(self._random.randint(1, 40)):
                said = case(self._random, self.known, self._tally.places)
                self._tally.left -= 1
                self._tally.kinds[said.kind] += 1
                if not self._utter(said):
                    await asyncio.sleep(0.001)  # the supervisor lets it wait
                if self._is_over:
                    return
            await asyncio.sleep(0)
        if not self._is_over:
            os.kill(self.pid, signal.SIGKILL)  # so that an honest one, or none, takes its place

    def _utter(self, said: Case) -> bool:
        """Say it; whether there was room for all of it."""
        if said.is_for_channel:
            try:
                self._past.send(said.data)
            except BlockingIOError:
                return False
            except OSError:
                pass  # closed, or larger than a datagram may be
            return True
        data = said.data
        cut = self._random.randrange(len(data) + 1)
        for piece in (data[:cut], data[cut:]):
            self._write(piece)
        return not self._out

    def _foreign_batches(self) -> list[int]:
        return [
            batch
            for player in self._nursery.players.values()
            if player is not self
            for batch in player.known.batches
        ]

    # --- honesty ---

    def _handle(self, message: ToWorker) -> None:
        match message:
            case Configure():
                self.known.connections.add(message.connection)
            case Batch() if self._is_liar and self._tally.left > 0:
                self.known.batches[message.id] = set(range(len(message.events)))
                self._given.set()
            case Batch():
                self._say(
                    Outcomes(
                        message.id,
                        [
                            (index, OutcomeCode.DELIVERED, "", None)
                            for index in range(len(message.events))
                        ],
                    )
                )
                self._say(BatchDone(message.id))
                self._say(Stats(0.0, 0))
            case Validate():
                self._say(Validated(message.connection, []))
            case Drain():
                os.kill(self.pid, signal.SIGKILL)
            case Ping(id=id):
                self._say(Pong(id))
            case (
                Proceed()
                | CurrentToken()
                | TokenGranted()
                | TokenStored()
                | TokenDenied()
                | WantSamples()
            ):
                return
            case RunSelftest():
                raise AssertionError("nobody asked for that")

    def _heard(self, message: ToWorkerChannel, descriptor: int | None) -> None:
        if descriptor is not None:
            os.close(descriptor)
        match message:
            case Connected() if self._is_liar:
                self.known.to_take.append(message.id)
            case Connected():
                self._channel.send(Taken(message.id))
            case _:
                return

    def _say(self, message: Message) -> None:
        self._write(encode(message))

    def _readable(self) -> None:
        try:
            data = self._wire.recv(256 * 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._wire.fileno())
            return
        for message in self._frames.feed(data):
            self._handle(message)

    def _write(self, data: bytes) -> None:
        self._out += data
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._out:
                del self._out[: self._wire.send(self._out)]
        except BlockingIOError:
            loop.add_writer(self._wire.fileno(), self._flush)
            return
        except OSError:
            self._out.clear()  # the supervisor has hung up
        loop.remove_writer(self._wire.fileno())
