"""A real reverse proxy that serves another server below a path, in a process of its own.

`python -m tests.harness.prefix PREFIX UPSTREAM` prints its port, and ends with its standard input.
It passes bodies on as they come, so that streams stream.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from aiohttp import web

from tests.harness.own_process import OwnProcess

#: Headers of one hop, which a proxy does not pass on.
_OF_ONE_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


class PrefixProxy(OwnProcess):
    """`upstream`, such as `http://127.0.0.1:9190`, below `prefix`, such as `/ops/bulkhead`."""

    def __init__(self, prefix: str, upstream: str) -> None:
        super().__init__("tests.harness.prefix", prefix, upstream)


async def _serve(prefix: str, upstream: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def passed_on(request: web.Request) -> web.StreamResponse:
            if not request.path.startswith(f"{prefix}/"):
                return web.Response(status=404, text="nothing of ours")
            kept = {k: v for k, v in request.headers.items() if k.lower() not in _OF_ONE_HOP}
            async with session.request(
                request.method,
                upstream + request.raw_path.removeprefix(prefix),
                headers=kept,
                data=await request.read(),
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(status=answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in _OF_ONE_HOP:
                        response.headers.add(name, value)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return response

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", passed_on)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        # What still streams then is cut: nobody waits for its end.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
