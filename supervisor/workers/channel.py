"""The supervisor's end of a worker's channel: datagrams both ways, descriptors one way.

Owns the socket, the order of what is sent, and how much is read of a worker
that talks without end. Descriptors that a worker sends are never received.
Must not know what messages mean.
"""

from __future__ import annotations

import array
import asyncio
import errno
import io
import socket
from collections import deque
from collections.abc import Callable

import msgspec

from sandbox.protocol import (
    MAX_CHANNEL_DATAGRAM,
    FromWorkerChannel,
    ProtocolError,
    ToWorkerChannel,
    encode,
)

#: Datagrams of a worker that are read in a second, and at once; others wait in its socket. One new
#: connection takes two, and with TLS a worker cannot make a thousand connections in a second.
READ_PER_S = 4000.0
#: Datagrams that are read before others have their turn.
READ_IN_A_ROW = 32
#: Seconds until a descriptor is sent again that the kernel would not take: too many are under way.
TRY_AGAIN_S = 0.01

#: A datagram that was cut, or whose descriptors were. A plain number: to combine the enumeration's
#: members for each datagram costs more than to read one.
_CUT = int(socket.MSG_TRUNC) | int(socket.MSG_CTRUNC)

#: What may travel to a worker: a connected socket, or the end of a pipe.
Descriptor = socket.socket | io.FileIO

_decoder = msgspec.msgpack.Decoder(FromWorkerChannel)


class Channel:
    """`heard` gets what the worker says and raises ProtocolError; `broken` is told why it may not
    be listened to any more.
    """

    def __init__(
        self,
        end: socket.socket,
        heard: Callable[[FromWorkerChannel], None],
        broken: Callable[[str], None],
    ) -> None:
        self._socket = end
        self._heard = heard
        self._broken = broken
        self._waiting: deque[tuple[bytes, Descriptor | None]] = deque()
        self._is_open = False
        self._is_writing = False
        self._may_read = READ_PER_S
        self._read_at = 0.0
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}

    def open(self) -> None:
        """Begin to listen."""
        self._is_open = True
        self._socket.setblocking(False)
        self._read_at = asyncio.get_running_loop().time()
        self._listen()

    def close(self) -> None:
        """Neither listen nor speak any more; descriptors that were not sent are closed."""
        loop = asyncio.get_running_loop()
        for timer in self._timers.values():
            timer.cancel()
        if self._is_open:
            loop.remove_reader(self._socket.fileno())
            loop.remove_writer(self._socket.fileno())
        self._is_open = False
        for _, descriptor in self._waiting:
            _close(descriptor)
        self._waiting.clear()
        self._socket.close()
        # The worker and its pool are in these: a dead one shall not wait for the cycle collector.
        self._heard = self._broken = _nobody

    def send(self, message: ToWorkerChannel, descriptor: Descriptor | None = None) -> None:
        """Send a message, with a descriptor that is ours no longer: it is closed once it is sent.

        Nothing where the channel is closed.
        """
        if not self._is_open:
            _close(descriptor)
            return
        self._waiting.append((encode(message), descriptor))
        if len(self._waiting) == 1:
            self._flush()

    # --- reading ---

    def _listen(self) -> None:
        self._timers.pop(self._listen, None)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._may_read = min(READ_PER_S, self._may_read + (now - self._read_at) * READ_PER_S)
        self._read_at = now
        for _ in range(READ_IN_A_ROW):
            if self._may_read < 1:
                loop.remove_reader(self._socket.fileno())
                self._timers[self._listen] = loop.call_later(
                    READ_IN_A_ROW / READ_PER_S, self._listen
                )
                return
            if not self._read_one():
                return
            self._may_read -= 1

    def _read_one(self) -> bool:
        """Read and hear one datagram; whether there may be another."""
        try:
            # Room for no ancillary data: the kernel closes what descriptors came along.
            data, _, flags, _ = self._socket.recvmsg(MAX_CHANNEL_DATAGRAM)
        except BlockingIOError:
            return False
        except OSError:
            data, flags = b"", 0  # reset: the worker is gone, with something of ours unread
        if not data:
            # Closed, or an empty datagram: from a living worker both are its own doing, and what
            # it is up to without a channel is seen on its wire.
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            return False
        try:
            if flags & _CUT:
                raise ProtocolError("a datagram larger than any honest one, or with descriptors")
            self._heard(_decode(data))
        except ProtocolError as error:
            self._broken(f"on its channel: {error}")
            return False
        return self._is_open

    # --- writing ---

    def _flush(self) -> None:
        self._timers.pop(self._flush, None)
        loop = asyncio.get_running_loop()
        while self._waiting:
            data, descriptor = self._waiting[0]
            try:
                self._send_one(data, descriptor)
            except BlockingIOError:
                if not self._is_writing:
                    self._is_writing = True
                    loop.add_writer(self._socket.fileno(), self._flush)
                return
            except OSError as error:
                if error.errno in (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM):
                    self._timers[self._flush] = loop.call_later(TRY_AGAIN_S, self._flush)
                    return
                # The worker is gone, and its exit is on its way to us.
            _close(descriptor)
            self._waiting.popleft()
        if self._is_writing:
            self._is_writing = False
            loop.remove_writer(self._socket.fileno())

    def _send_one(self, data: bytes, descriptor: Descriptor | None) -> None:
        if descriptor is None:
            self._socket.send(data)
            return
        rights = array.array("i", [descriptor.fileno()])
        self._socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


class NoChannel:
    """In the place of one that could not be made, of a worker that is never forked."""

    def send(self, message: ToWorkerChannel, descriptor: Descriptor | None = None) -> None:
        """Nobody is there: the descriptor is closed."""
        _close(descriptor)

    def open(self) -> None:
        """There is nobody to listen to."""

    def close(self) -> None:
        """There is nothing to let go of."""


def _nobody(said: object) -> None:
    """Nobody listens to a closed channel."""


def _decode(data: bytes) -> FromWorkerChannel:
    try:
        message: FromWorkerChannel = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(f"malformed datagram: {error}") from error
    return message


def _close(descriptor: Descriptor | None) -> None:
    if descriptor is not None:
        descriptor.close()
