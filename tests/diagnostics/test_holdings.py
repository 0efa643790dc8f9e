"""What a worker's copy says of who holds its memory is read with care."""

from __future__ import annotations

import errno
import os
from typing import cast

import pytest

from sandbox.protocol import MAX_HOLDINGS, Collected, Holdings
from supervisor.diagnostics.collector import CollectFailed, Collector
from supervisor.diagnostics.holdings import count_holdings
from tests.delivery.handles import StillWorker


class Answering:
    """A collector whose worker writes these bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def collect(self, worker: object, kind: str, sink: int, *, max_bytes: int) -> Collected:
        """Write them."""
        assert (kind, max_bytes) == ("holdings", MAX_HOLDINGS)
        os.write(sink, self._answer)
        return Collected(1, "", 0.0)


async def read(answer: bytes) -> Holdings:
    """What is made of an answer."""
    return await count_holdings(cast(Collector, Answering(answer)), StillWorker(1, label="p-1"))


async def test_holdings_are_read() -> None:
    """In the form that a copy writes."""
    said = (
        b'{"connections":{"a":70000},"destinations":[[["d","e"],90000]],"shared":{"libraries":1}}'
    )
    assert await read(said) == Holdings({"a": 70000}, [(["d", "e"], 90000)], {"libraries": 1})


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"connections":{"a":"much"},"destinations":[],"shared":{}}',
        b'{"connections":{"a":1e999},"destinations":[],"shared":{}}',
        b'{"connections":{"a":123456789012345678901234567890},"destinations":[],"shared":{}}',
        b'{"connections":{"a":-1},"destinations":[],"shared":{}}',
        b'{"connections":{},"destinations":[["d",1,2]],"shared":{}}',
    ],
)
async def test_nonsense_is_a_failure(answer: bytes) -> None:
    """Nothing of it comes through, and nothing breaks."""
    with pytest.raises(CollectFailed, match="nonsense"):
        await read(answer)


async def test_no_descriptor_left_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another count is asked for later; nothing breaks."""

    def refuse(name: str, flags: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(CollectFailed, match="Too many open files"):
        await read(b"")
