"""The way of every command's text to the terminal.

Owns that a terminal obeys nothing that a stranger wrote: `say` and `say_lines`, and for
tables the console of `context`, make text harmless themselves, so that no caller has to
remember it. Commands print by them alone; a test holds that. Imports little, since it
says what is wrong with a command line, too.
"""

from __future__ import annotations

import sys

import click

from sandbox.protocol import printable, printable_lines


def say(text: str, *, is_error: bool = False) -> None:
    """One line to standard output, or to standard error: an end of line in `text` is escaped."""
    _write(printable(text), is_error=is_error)


def say_lines(text: str, *, is_error: bool = False) -> None:
    """Several lines, for text that is made of lines by whoever calls."""
    _write(printable_lines(text), is_error=is_error)


def _write(text: str, *, is_error: bool) -> None:
    stream = sys.stderr if is_error else sys.stdout
    # What the stream's encoding lacks is escaped, and no traceback.
    encoding = stream.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=is_error)


def write_evidence(piece: bytes) -> None:
    """A piece of a file to standard output: unchanged, but for a terminal made harmless."""
    if sys.stdout.isatty():
        piece = printable_lines(piece.decode("utf-8", "backslashreplace")).encode()
    sys.stdout.buffer.write(piece)
