"""The worker's end of its channel to the supervisor: datagrams, and descriptors that come in.

Owns the socket and the order of what is sent. Must not know what messages mean.
"""

from __future__ import annotations

import array
import asyncio
import socket
from collections import deque
from collections.abc import Callable

import msgspec

from sandbox.protocol import (
    MAX_CHANNEL_DATAGRAM,
    FromWorkerChannel,
    ToWorkerChannel,
    encode,
)

_decoder = msgspec.msgpack.Decoder(ToWorkerChannel)
_INT = array.array("i").itemsize


class SupervisorChannel:
    """`heard` gets each message with the descriptor that came along, which is then its own.

    The descriptor is None where none came, and where there was no room for it: past the limit of
    open files the kernel drops it without a word.
    """

    def __init__(
        self, descriptor: int, heard: Callable[[ToWorkerChannel, int | None], None]
    ) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._heard = heard
        self._waiting: deque[bytes] = deque()
        self._is_writing = False

    def open(self) -> None:
        """Begin to listen, on the running loop."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def send(self, message: FromWorkerChannel) -> None:
        """Send a message, after those that wait."""
        self._waiting.append(encode(message))
        if len(self._waiting) == 1:
            self._flush()

    def _readable(self) -> None:
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                MAX_CHANNEL_DATAGRAM, socket.CMSG_SPACE(_INT), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            # The supervisor is gone. The wire says so too, and ends us.
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            return
        descriptor = None
        for _, _, rights in ancillary:
            numbers = array.array("i", rights[: len(rights) // _INT * _INT])
            descriptor = numbers[0] if numbers else None
        self._heard(_decoder.decode(data), descriptor)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        number = self._socket.fileno()
        while self._waiting:
            try:
                self._socket.send(self._waiting[0])
            except BlockingIOError:
                if not self._is_writing:
                    self._is_writing = True
                    loop.add_writer(number, self._flush)
                return
            except OSError:
                self._waiting.clear()  # the same: the supervisor is gone
                break
            self._waiting.popleft()
        if self._is_writing:
            self._is_writing = False
            if number >= 0:
                loop.remove_writer(number)
