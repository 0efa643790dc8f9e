"""`python -m sandbox.heap.report`: a snapshot on standard input, a report on standard output.

A process for one report: a snapshot is hostile input, so whatever it does to
this process, it does to nothing else. Before it reads a byte it limits itself
and goes to jail, as strictly as a worker: it may read Python's own files and
what it was given open, and write its answer. Exit 0 with the report, 1 with the
reason on standard error, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import zlib
from typing import IO

import msgspec

from sandbox.heap import file, reader
from sandbox.heap.analysis import Heap, report_of
from sandbox.heap.diff import compared
from sandbox.heap.file import Malformed
from sandbox.heap.page import difference_page, page_template, report_page
from sandbox.heap.picture import picture
from sandbox.heap.summary import Row, Summary
from sandbox.heap.text import difference_text, report_text, summary_text
from sandbox.protocol import printable

#: What one report may use: the largest snapshot that `file` takes needs about 3 GiB.
MAX_MEMORY_BYTES = 4 << 30
MAX_CPU_S = 600
_MAX_SUMMARY_BYTES = 4 << 20


def main() -> int:
    """Write the report that the arguments ask for; returns the exit status."""
    arguments = _arguments()
    reader.limit(MAX_MEMORY_BYTES, MAX_CPU_S)
    try:
        _enter_jail([] if arguments.old is None else [arguments.old])
    except OSError as error:
        return _failed(f"it cannot be read safely here: {error}")
    try:
        sys.stdout.buffer.write(_report(arguments).encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    except Malformed as error:
        return _failed(f"not a readable snapshot: {error}")
    except (OSError, EOFError, zlib.error) as error:
        return _failed(f"cannot read it: {error}")
    except MemoryError:
        return _failed(f"it needs more than {MAX_MEMORY_BYTES >> 20} MiB of memory")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sandbox.heap.report")
    parser.add_argument("--format", choices=("text", "json", "html"), default="text")
    parser.add_argument("--width", type=int, default=120, help="columns of the terminal")
    parser.add_argument("--title", default="", help="what the page says that it is of")
    parser.add_argument("--old", type=int, help="descriptor of an older snapshot to compare with")
    return parser.parse_args()


def _enter_jail(keep: list[int]) -> None:
    """The layers of a worker's jail that this machine has. Raises OSError half-way through."""
    _warm_up()
    reader.enter_jail(keep)


def _warm_up() -> None:
    """Import what is imported on first use: another user may not be able to read it."""
    nothing = Summary(0, 0, [Row("str", 0, 0)], [], [])
    summary_text(msgspec.json.decode(msgspec.json.encode(nothing), type=Summary), 80)
    page_template()


def _report(arguments: argparse.Namespace) -> str:
    stream = reader.unpacked(sys.stdin.buffer)
    start = stream.peek(64)[:64].lstrip()
    if start.startswith(b".loader:"):
        raise Malformed("it is guppy's own; open it with `guppy.hpy().load(FILE)`")
    if start.startswith(b'{"file":'):
        if arguments.old is not None or arguments.format == "html":
            raise Malformed("it is a summary; only a heapsnapshot can be compared or drawn")
        return _of_summary(stream, arguments)
    new = file.read(stream)
    if arguments.old is not None:
        with os.fdopen(arguments.old, "rb") as older:
            heap, found = compared(file.read(reader.unpacked(older)), new)
        if arguments.format == "json":
            return _json(found)
        if arguments.format == "html":
            return difference_page(heap, found, arguments.title)
        return difference_text(found, arguments.width)
    heap = Heap(new)
    report = report_of(heap)
    if arguments.format == "json":
        # The picture in one line: indented, it would be mostly blanks.
        drawn = msgspec.json.encode(picture(heap)).decode()
        return _json(report).removesuffix("\n}\n") + f',\n  "picture": {drawn}\n}}\n'
    if arguments.format == "html":
        return report_page(heap, report, arguments.title)
    return report_text(report, arguments.width)


def _of_summary(stream: IO[bytes], arguments: argparse.Namespace) -> str:
    try:
        summary = msgspec.json.decode(stream.read(_MAX_SUMMARY_BYTES), type=Summary)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from error
    if arguments.format == "json":
        return _json(summary)
    return summary_text(summary, arguments.width)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _failed(why: str) -> int:
    sys.stderr.write(printable(why)[:500] + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
