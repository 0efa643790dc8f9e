"""Responses of aiohttp that nobody has read or released."""

from __future__ import annotations

import aiohttp
from aiohttp import web

OPEN: list[aiohttp.ClientResponse] = []


async def answer(_: web.Request) -> web.Response:
    return web.Response(body=bytes(30_000))


async def main() -> None:
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _, port = runner.addresses[0]
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    for _ in range(200):
        OPEN.append(await session.get(f"http://127.0.0.1:{port}/"))
