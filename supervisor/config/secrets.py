"""Secrets by reference: `{ env = "NAME" }` and `{ file = "PATH" }` become strings.

Owns the reading of secrets, and the record of which strings were secrets and
where they stood. Must not print one, and must not know what a key means.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from supervisor.config.values import Invalid, Secret, shown
from supervisor.runtime.files import read_file

#: Largest secret file, in bytes; a private key fits, a disk image does not.
MAX_SECRET = 64 * 1024
#: Deepest nesting of tables and arrays; what a file means beyond it no one can read.
MAX_DEPTH = 16
#: Integers past 64 bits have no place in JSON readers or on the wire.
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**63 - 1

KeyPath = tuple[str | int, ...]


class Unresolved:
    """Stands where a secret should: its error is noted already."""


class Secrets:
    """Resolves the references in a parsed file, and remembers what they were.

    `base` is the folder that relative files are relative to; `on_error` is told
    where and why a reference could not be resolved.
    """

    def __init__(
        self, base: Path, environ: Mapping[str, str], on_error: Callable[[KeyPath, str], None]
    ) -> None:
        self._base = base
        self._environ = environ
        self._on_error = on_error
        self.places: dict[KeyPath, str] = {}
        """Where each secret stands, and its value."""
        self.files: set[Path] = set()
        """Files that secrets were read from."""

    def resolve(self, value: Any, at: KeyPath) -> Any:  # Any: TOML's own tree of values
        """The same value with strings in place of references; what fails goes to `on_error`.

        A table of exactly one key, `env` or `file`, that holds a string is a reference.
        """
        if len(at) > MAX_DEPTH:
            self._on_error(at, f"is nested deeper than {MAX_DEPTH} levels; flatten it")
            return Unresolved()
        match value:
            case {"env": str(), **rest} | {"file": str(), **rest} if not rest:
                return self._secret(at, value)
            case dict():
                return self.resolve_table(value, at)
            case list():
                return [self.resolve(item, (*at, index)) for index, item in enumerate(value)]
            case _:
                return value

    def resolve_table(self, table: Mapping[str, Any], at: KeyPath) -> dict[str, Any]:
        """As `resolve`, where only a table may stand: one key `env` in it is a key like any."""
        return {key: self.resolve(item, (*at, key)) for key, item in table.items()}

    def _secret(self, at: KeyPath, reference: Mapping[str, str]) -> Secret | Unresolved:
        ((kind, name),) = reference.items()
        try:
            secret = self._from_env(name) if kind == "env" else self._from_file(name)
            secret.encode()  # strangers in the environment are not always UTF-8
            if not secret:
                raise Invalid(("", "is empty"))
        except Invalid as error:
            self._on_error(at, f"{kind} {shown(name)} {error}")
            return Unresolved()
        except UnicodeError:
            self._on_error(at, f"{kind} {shown(name)} is not UTF-8 text")
            return Unresolved()
        self.places[at] = secret
        return Secret(secret)

    def _from_env(self, name: str) -> str:
        value = self._environ.get(name)
        if value is None:
            raise Invalid(("", "is not in the environment; set it, or name another variable"))
        return value

    def _from_file(self, name: str) -> str:
        where = self._base / name
        try:
            content = read_file(where, most_bytes=MAX_SECRET)
            self.files.add(where)
        except FileNotFoundError as error:
            raise Invalid(("", f"names no file: {where}")) from error
        except OSError as error:
            raise Invalid(("", f"cannot be read: {error.strerror}")) from error
        if len(content) > MAX_SECRET:
            raise Invalid(("", f"is larger than {MAX_SECRET} bytes, which is no secret"))
        # Editors and `echo` end a file with a newline that is no part of the secret.
        return content.decode().removesuffix("\n").removesuffix("\r")


def plain(value: Any) -> Any:  # Any: TOML's own tree of values
    """A resolved tree as plain values that JSON and msgpack can carry.

    Raises Invalid for what neither can: dates, endless numbers, and integers
    past 64 bits.
    """
    problems: list[tuple[str, str]] = []

    def convert(value: Any, at: str) -> Any:
        match value:
            case Unresolved():
                return ""  # an error already; the config will not be used
            case str():
                return str(value)
            case bool():
                return value
            case int() if not _LEAST_INTEGER <= value <= _MOST_INTEGER:
                problems.append((at, "is past 64 bits; write it as a string"))
            case float() if not math.isfinite(value):
                problems.append((at, "is no finite number; leave it out"))
            case int() | float():
                return value
            case list():
                return [convert(item, f"{at}[{index}]") for index, item in enumerate(value)]
            case dict():
                return {key: convert(item, f"{at}.{quoted(key)}") for key, item in value.items()}
            case _:
                problems.append((at, "is a date or time; write it as a string"))
        return None

    result = convert(value, "")
    if problems:
        raise Invalid(*problems)
    return result


def quoted(key: str) -> str:
    """A key as TOML wants it in a key path: quoted unless it is plain."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", key, re.ASCII):
        return key
    return json.dumps(key[:80])


def key_path(at: KeyPath) -> str:
    """`a.b[0]."c d"`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{quoted(step)}" for step in at)
    return "".join(steps).removeprefix(".")
