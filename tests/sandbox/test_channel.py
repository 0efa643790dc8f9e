"""A worker's end of the channel: datagrams in order, and a descriptor with the one it came with."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

import msgspec
import pytest

from sandbox.channel import SupervisorChannel
from sandbox.protocol import Connect, Connected, Message, Taken, ToWorkerChannel, encode

Heard = tuple[ToWorkerChannel, int | None]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The supervisor's end, and the worker's, which the channel takes over."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    yield ours, theirs
    ours.close()


@contextlib.contextmanager
def channel(end: socket.socket) -> Iterator[tuple[SupervisorChannel, asyncio.Queue[Heard]]]:
    """An open channel and what it hears."""
    heard: asyncio.Queue[Heard] = asyncio.Queue()
    number = end.detach()
    opened = SupervisorChannel(number, lambda *message: heard.put_nowait(message))
    opened.open()
    try:
        yield opened, heard
    finally:
        loop = asyncio.get_running_loop()
        loop.remove_reader(number)
        loop.remove_writer(number)
        opened._socket.close()


def send(end: socket.socket, message: Message, *descriptors: int) -> None:
    """As the supervisor sends."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    end.sendmsg([encode(message)], rights if descriptors else [])


async def test_a_descriptor_comes_with_its_datagram(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """It is the receiver's own, and closed on exec; without one there is None."""
    readable, writable = os.pipe()
    with channel(ends[1]) as (_, heard):
        send(ends[0], Connected(1), writable)
        send(ends[0], Connected(2))
        os.close(writable)
        message, number = await heard.get()
        assert message == Connected(1)
        assert number is not None
        assert not os.get_inheritable(number)
        os.write(number, b"x")
        os.close(number)
        assert await heard.get() == (Connected(2), None)
    assert os.read(readable, 2) == b"x"
    os.close(readable)


async def test_what_the_supervisor_does_not_read_waits_in_order(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """A full buffer blocks no loop, loses nothing and changes no order."""
    sent = [Connect(n, "c" * 200, "host.example", 443) for n in range(500)]
    with channel(ends[1]) as (opened, _):
        for message in sent:
            opened.send(message)
        ends[0].setblocking(False)
        loop = asyncio.get_running_loop()
        decoder = msgspec.msgpack.Decoder(Connect)
        assert [decoder.decode(await loop.sock_recv(ends[0], 4096)) for _ in sent] == sent


async def test_a_supervisor_that_is_gone_is_no_error(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """The wire says so too, and ends the worker; until then nothing raises."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    with channel(ends[1]) as (opened, heard):
        ends[0].close()
        for _ in range(3):
            opened.send(Taken(1))
            await asyncio.sleep(0)
        assert heard.empty()
    assert errors == []
