"""Text of strangers for a terminal or a log: the one place where it is made harmless.

Events, partners' answers, plugins' prints and exceptions, file names and names in a heap
may hold whatever their author likes: escape sequences of C0 and C1, which move the cursor
or answer in the operator's place, and marks that turn the direction of writing round.
Everything that shows such text passes it through here. Must not do I/O.
"""

from __future__ import annotations


def printable(text: object) -> str:
    """`text` on one line, with nothing in it that a terminal would obey.

    What is no letter, digit, sign or blank is written as Python writes it in a literal:
    `\\n`, `\\x1b`, `\\u202e`, and `\\udcff` for a byte that is no UTF-8.
    """
    given = str(text)
    if given.isprintable():
        return given
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in given)


def printable_lines(text: str) -> str:
    """As `printable`, line by line: lines end where `\\n` or `\\r\\n` stands, and nowhere else."""
    return "\n".join(printable(line.removesuffix("\r")) for line in text.split("\n"))


def printable_json(document: str) -> str:
    """A JSON document of one or several lines, its value unchanged and nothing in it obeyed.

    Whatever is not printable stands in a string there, and is written as JSON escapes it.
    """
    if document.replace("\n", "").isprintable():
        return document
    return "".join(c if c == "\n" or c.isprintable() else _json_escape(c) for c in document)


def _json_escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
