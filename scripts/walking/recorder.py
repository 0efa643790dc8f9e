"""`bulkhead` under a profile hook: which of its functions are called, in which order.

Owns the hook and the socket that gives the record away. Runs inside the service
that is measured, which may be of another checkout, and so imports nothing but the
standard library until it starts `supervisor` itself. Must not judge the record.

The socket (at `SOCKET` of the environment) takes one command, and answers each
request `take` with a line of JSON: the calls and returns since the last request,
as `[seconds, thread, function, is_call]`, and the functions that are new since
then, as `[module, qualified name]`. Seconds are those of
`time.monotonic`, functions are counted from 0 in the order of their first call.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType

#: Environment variables: the checkout that is measured, and where the record is fetched.
ROOT = "BULKHEAD_WALK_ROOT"
SOCKET = "BULKHEAD_WALK_SOCKET"
#: The package whose functions count.
PACKAGE = "supervisor"
#: What stands for a function that does not count.
_FOREIGN = -1

Call = tuple[float, int, int, bool]
Function = tuple[str, str]


class Recorder:
    """The record of all threads that are started after `install`, and of the caller's."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = f"{root / PACKAGE}{os.sep}"
        self._numbers: dict[int, int] = {}
        # Numbers go by id: what had one must not make room for another with the same.
        self._codes: list[CodeType] = []
        self._functions: list[Function] = []
        self._told = 0
        self._calls: list[Call] = []

    def install(self) -> None:
        """Record from now on."""
        threading.setprofile(self._hook)
        sys.setprofile(self._hook)

    def _hook(self, frame: FrameType, event: str, argument: object) -> None:
        if event not in ("call", "return"):
            return
        code = frame.f_code
        number = self._numbers.get(id(code))
        if number is None:
            number = self._number(code)
        if number != _FOREIGN:
            self._calls.append((time.monotonic(), threading.get_ident(), number, event == "call"))

    def _number(self, code: CodeType) -> int:
        number = _FOREIGN
        if code.co_filename.startswith(self._folder) and code.co_name != "<module>":
            number = len(self._functions)
            self._functions.append((self._module(code.co_filename), code.co_qualname))
        self._codes.append(code)
        self._numbers[id(code)] = number
        return number

    def _module(self, file: str) -> str:
        parts = Path(file).relative_to(self._root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def take(self) -> bytes:
        """A line of JSON, see above."""
        calls, self._calls = self._calls, []
        functions, self._told = self._functions[self._told :], len(self._functions)
        return json.dumps({"calls": calls, "functions": functions}).encode() + b"\n"


def serve(recorder: Recorder, listening: socket.socket) -> None:
    """Answer the one who measures, until it goes."""
    connection, _ = listening.accept()
    with connection, connection.makefile("rb") as requests:
        for _ in requests:
            connection.sendall(recorder.take())


def main() -> None:
    """Listen, install the hook, and become `bulkhead`."""
    root = Path(os.environ[ROOT])
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(os.environ[SOCKET])
    listening.listen(1)
    recorder = Recorder(root)
    # Before the hook is there, so that this thread is none of the record.
    threading.Thread(target=serve, args=(recorder, listening), daemon=True).start()
    recorder.install()
    runpy.run_module(PACKAGE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
