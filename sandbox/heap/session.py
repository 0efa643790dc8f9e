"""`python -m sandbox.heap.session`: reads one snapshot, then answers questions about its objects.

The snapshot is the descriptor `--snapshot`; questions are lines on standard input, answers lines
on standard output (`sandbox/protocol/browsing.py`). Before it reads a byte it limits itself and
goes to jail. It ends with its standard input, or with its parent.
"""

from __future__ import annotations

import argparse
import os
import sys
import zlib

import msgspec

from sandbox.heap import file, reader
from sandbox.heap.analysis import Heap
from sandbox.heap.browsing import HeapBrowser
from sandbox.heap.file import Malformed
from sandbox.protocol import (
    MAX_HEAP_TEXT,
    HeapAnswer,
    HeapAnswered,
    HeapQuestion,
    HeapReady,
    HeapUnread,
    printable,
)

#: What a session may use, of memory for as long as it lives and of CPU in all.
MAX_MEMORY_BYTES = 2 << 30
MAX_CPU_S = 900
_MAX_QUESTION_BYTES = 8 << 10

_decode = msgspec.json.Decoder(HeapQuestion).decode
_encode = msgspec.json.Encoder().encode


def main() -> int:
    """Answer until nobody asks any more; returns the exit status."""
    parser = argparse.ArgumentParser(prog="sandbox.heap.session")
    parser.add_argument("--snapshot", type=int, required=True, help="its descriptor")
    snapshot = parser.parse_args().snapshot
    reader.limit(MAX_MEMORY_BYTES, MAX_CPU_S)
    try:
        _warm_up()
        reader.enter_jail([snapshot])
    except OSError as error:
        _say(_unread(f"it cannot be read safely here: {error}"))
        return 1
    try:
        browser = _browser(snapshot)
        while question := sys.stdin.buffer.readline(_MAX_QUESTION_BYTES):
            _say(browser.answer(_decode(question)))
    except Malformed as error:
        _say(_unread(f"not a readable heapsnapshot: {error}"))
    except (OSError, EOFError, zlib.error) as error:
        _say(_unread(f"cannot read it: {error}"))
    except MemoryError:
        _say(_unread(f"it needs more than {MAX_MEMORY_BYTES >> 20} MiB of memory"))
    else:
        return 0
    return 1


def _browser(descriptor: int) -> HeapBrowser:
    with os.fdopen(descriptor, "rb") as packed:
        heap = Heap(file.read(reader.unpacked(packed)))
    _say(HeapReady(len(heap.snapshot)))
    return HeapBrowser(heap)


def _warm_up() -> None:
    """Use once what is imported on first use: another user may not be able to read it."""
    _decode(b'{"type":"path","id":1}')
    _encode(HeapAnswered())


def _unread(why: str) -> HeapUnread:
    return HeapUnread(printable(why)[:MAX_HEAP_TEXT])


def _say(answer: HeapAnswer) -> None:
    sys.stdout.buffer.write(_encode(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
