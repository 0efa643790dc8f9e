"""Compressors that are never flushed; their memory is zlib's, which tells no size."""

from __future__ import annotations

import zlib

STREAMS: list[object] = []


async def main() -> None:
    for _ in range(12):
        STREAMS.append(zlib.compressobj())
