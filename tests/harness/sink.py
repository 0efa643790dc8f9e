"""A real HTTP server behind `webhooks`, in a process of its own.

Owns what was received: how often each message id came. `python -m
tests.harness.sink` runs it; `SinkProcess` starts that and asks it. It prints
its port as its first line, ends when its standard input does, and counts
without looking at bodies where it is told to be `--light`, so that a
benchmark measures the sender.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import urllib.request
from collections import Counter
from typing import Any, cast

import msgspec
import uvloop
from aiohttp import web

from tests.harness.own_process import OwnProcess

#: Statuses that `POST /control` may have the sink answer with.
ANSWERS = range(200, 600)


class _Ids(msgspec.Struct):
    """The only field of an event that the sink looks at."""

    messageId: str


class Sink:
    """Counts message ids of events, posted singly or as arrays."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.status = 200
        self._decoder = msgspec.json.Decoder(_Ids | list[_Ids])

    def app(self) -> web.Application:
        """`POST /` takes events; `GET /received` tells counts; `POST /control` sets the answer."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/received", self._tell)
        app.router.add_post("/control", self._control)
        app.router.add_post("/{path:.*}", self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        events = self._decoder.decode(await request.read())
        if self.status == 200:
            for event in events if isinstance(events, list) else [events]:
                self.received[event.messageId] += 1
        return web.Response(status=self.status)

    async def _tell(self, request: web.Request) -> web.Response:
        return web.json_response(dict(self.received))

    async def _control(self, request: web.Request) -> web.Response:
        status = int((await request.json())["status"])
        if status not in ANSWERS:
            raise web.HTTPBadRequest(text=f"no HTTP status: {status}")
        self.status = status
        return web.Response()


class LightSink(asyncio.Protocol):
    """As little HTTP as answering 200 takes: requests with Content-Length, none of it kept."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        # uvloop's transports quack like this class but do not inherit it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete now."""
        assert self._transport is not None
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).lower()
            mark = head.find(b"content-length:")
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            del self._buffer[: end + 4 + length]
            self._transport.write(self.answer)


class SinkProcess(OwnProcess):
    """A sink in a process of its own; a context manager. `url` ends in a slash."""

    def __init__(self, *, light: bool = False) -> None:
        super().__init__("tests.harness.sink", *(["--light"] if light else []))

    def received(self) -> dict[str, int]:
        """How often each message id was received in a request that was answered with 200."""
        with urllib.request.urlopen(self.url + "received", timeout=30) as answer:  # noqa: S310 - http
            counts: dict[str, int] = json.load(answer)
            return counts

    def answer_with(self, status: int) -> None:
        """From now on answer with this HTTP status; anything but 200 counts nothing."""
        body = json.dumps({"status": status}).encode()
        with urllib.request.urlopen(self.url + "control", data=body, timeout=30):  # noqa: S310 - http
            pass


async def _serve(light: bool) -> None:
    loop = asyncio.get_running_loop()
    if light:
        server = await loop.create_server(LightSink, "127.0.0.1", 0)
        port: Any = server.sockets[0].getsockname()[1]
    else:
        runner = web.AppRunner(Sink().app(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        port = runner.addresses[0][1]
    print(port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--light", action="store_true")
    uvloop.run(_serve(parser.parse_args().light))
