"""What an operator asks a living worker for: heap snapshots, profiles, tasks.

Owns the copies that are forked for snapshots and counts of holdings, and reaps them.
The worker goes on while its copy walks the heap; a copy never outlives it, writes to one
descriptor, and begins once the supervisor knows of it. The supervisor also ends
a copy that is not wanted any more, since the jail lets a worker signal no other
process. One request at a time: the supervisor sends no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from sandbox import process, profiler, tasks
from sandbox.heap import snapshot
from sandbox.heap.holders import Principals, holdings
from sandbox.heap.limits import Clock
from sandbox.heap.strings import Policy
from sandbox.protocol import MAX_DETAIL, Collect, Collected, CollectionStarted, Message

#: Seconds between two samples of a profile.
SAMPLE_S = 0.005
#: Seconds between two looks for a copy that has closed its pipe, and is being torn down.
REAP_S = 0.01
_PIPE_BYTES = 64 * 1024
#: What a copy says when it has written all. Its memory is freed after that, which takes as long
#: as the snapshot itself where the machine is busy.
_DONE = b"\0"
#: A copy is niced: on a busy machine it may get a tenth of a core.
SNAPSHOT_LIMITS = snapshot.SnapshotLimits(walk_s=180.0, total_s=270.0)
#: A count of holdings is of use only while it is fresh.
HOLDINGS_LIMITS = snapshot.SnapshotLimits(total_s=60.0)


class DiagnosticsWriter:
    """`send` writes to the supervisor; `principals` are whom objects may belong to.

    `tables` is the descriptor of the file that copies have their tables in, see `heap.room`.
    """

    def __init__(
        self, send: Callable[[Message], None], principals: Callable[[], Principals], tables: int
    ) -> None:
        self._send = send
        self._tables = tables
        self._principals = principals
        self._copy: _Copy | None = None
        self._on_idle: Callable[[], None] | None = None
        self._profiling = 0

    def collect(self, request: Collect, descriptor: int | None) -> None:
        """Begin; `Collected` says the end. The descriptor is ours, and closed in any case."""
        if descriptor is None:
            self._send(Collected(request.id, "the worker has no descriptor left for it", 0.0))
            return
        match request.kind:
            case "heapsnapshot" | "summary" | "hpy":
                policy: Policy = "full" if request.full_strings else "truncated"
                kind: snapshot.Kind = request.kind
                roots = snapshot.capture()
                self._fork(
                    request,
                    descriptor,
                    lambda: snapshot.write(
                        descriptor,
                        kind,
                        tables=self._tables,
                        strings=policy,
                        roots=roots,
                        limits=SNAPSHOT_LIMITS,
                    ),
                )
            case "holdings":
                principals = self._principals()
                self._fork(
                    request,
                    descriptor,
                    lambda: _write_all(
                        descriptor, holdings(principals, Clock(HOLDINGS_LIMITS), self._tables)
                    ),
                )
            case "tasks":
                self._write(request, descriptor, tasks.text())
            case "speedscope" | "collapsed":
                self._profile(request, descriptor)

    def proceed(self, request: int) -> None:
        """The supervisor knows of the copy: let it begin."""
        if self._copy is not None and self._copy.id == request:
            self._copy.go()

    def when_idle(self, done: Callable[[], None]) -> None:
        """Call `done` once no copy is at work: the worker must not end before it."""
        self._on_idle = done
        self._call_if_idle()

    def _call_if_idle(self) -> None:
        if self._on_idle is not None and self._copy is None and not self._profiling:
            done, self._on_idle = self._on_idle, None
            done()

    # --- snapshots ---

    def _fork(self, request: Collect, descriptor: int, write: Callable[[], None]) -> None:
        try:
            self._copy = _Copy(request.id, write, descriptor, self._tables, self._ended)
        except OSError as error:
            self._send(Collected(request.id, f"the worker cannot fork: {error.strerror}", 0.0))
            return
        finally:
            os.close(descriptor)
        self._send(CollectionStarted(request.id, self._copy.pid))

    def _ended(self, copy: _Copy, error: str) -> None:
        self._copy = None
        self._send(Collected(copy.id, error[:MAX_DETAIL], copy.pause_s))
        self._call_if_idle()

    # --- what takes no copy ---

    def _write(self, request: Collect, descriptor: int, text: str) -> None:
        self._send(Collected(request.id, _written(descriptor, text), 0.0))

    def _profile(self, request: Collect, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        kind: profiler.Kind = "speedscope" if request.kind == "speedscope" else "collapsed"

        def sample() -> None:
            text = profiler.profile(kind, request.seconds, SAMPLE_S)
            error = _written(descriptor, text)
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker ends
                loop.call_soon_threadsafe(self._profiled, request.id, error)

        self._profiling += 1
        self._send(CollectionStarted(request.id, None))
        threading.Thread(target=sample, name="profiler", daemon=True).start()

    def _profiled(self, request: int, error: str) -> None:
        self._profiling -= 1
        self._send(Collected(request, error, 0.0))
        self._call_if_idle()


class _Copy:
    """A fork of this worker that writes evidence; `ended` is called once, with "" or an error."""

    def __init__(
        self,
        number: int,
        write: Callable[[], None],
        descriptor: int,
        tables: int,
        ended: Callable[[_Copy, str], None],
    ) -> None:
        """Fork. Raises OSError where there are no processes or descriptors left."""
        self.id = number
        self._end = ended
        self._error_text = bytearray()
        self._is_told = False
        go_pipe, self._go_pipe = os.pipe()
        try:
            self._error_pipe, error_pipe = os.pipe()
        except OSError:
            os.close(go_pipe)
            os.close(self._go_pipe)
            raise
        parent = os.getpid()
        began = time.perf_counter()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self._go_pipe)
            os.close(self._error_pipe)
            raise
        else:
            if self.pid == 0:
                _be_copy(parent, write, (descriptor, tables), go_pipe, error_pipe)
        finally:
            os.close(go_pipe)
            os.close(error_pipe)
        self.pause_s = time.perf_counter() - began
        os.set_blocking(self._error_pipe, False)
        asyncio.get_running_loop().add_reader(self._error_pipe, self._readable)

    def go(self) -> None:
        """Let it begin."""
        if self._go_pipe >= 0:
            with contextlib.suppress(BrokenPipeError):  # it is dead, and will be reaped
                os.write(self._go_pipe, b"g")
            os.close(self._go_pipe)
            self._go_pipe = -1

    def _readable(self) -> None:
        """It says why it failed, or its end of the pipe is closed, which comes with its own end."""
        error_text = os.read(self._error_pipe, _PIPE_BYTES)
        if error_text == _DONE and not self._error_text:
            self._tell("")
            return
        if error_text:
            self._error_text += error_text[:MAX_DETAIL]
            return
        asyncio.get_running_loop().remove_reader(self._error_pipe)
        os.close(self._error_pipe)
        self.go()
        self._reap()

    def _reap(self) -> None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            # A destination has waited for any child: how this one ended cannot be known.
            pid, status = self.pid, 1 << 8
        if pid == 0:
            asyncio.get_running_loop().call_later(REAP_S, self._reap)
            return
        code = os.waitstatus_to_exitcode(status)
        error_text = self._error_text.decode("utf-8", "replace")
        if code == 0:
            error = ""
        elif code < 0:
            error = f"the copy of the worker was ended by {signal.Signals(-code).name}"
        else:
            error = error_text or f"the copy of the worker ended with status {code}"
        self._tell(error)

    def _tell(self, error: str) -> None:
        """Say how it ended, once: it may be heard of before the kernel is done with it."""
        if not self._is_told:
            self._is_told = True
            self._end(self, error)


def _be_copy(
    parent: int,
    write: Callable[[], None],
    used: tuple[int, int],
    go_pipe: int,
    error_pipe: int,
) -> NoReturn:
    """Be the copy: `write` once it may, and end. Never touches the event loop.

    `used` are the descriptors of what it writes to, and of its tables.
    """
    code = 1
    try:
        gc.disable()
        process.die_with_parent(parent)
        _close_all_but(*used, go_pipe, error_pipe)
        # Its memory is the worker's, and a bit: it may use what the hard limit leaves.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        if os.read(go_pipe, 1) == b"g":
            write()
            # The end of both pipes would come only when the kernel has freed this memory.
            os.close(used[0])
            os.write(error_pipe, _DONE)
            code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, the operator is told
        text = str(error) if isinstance(error, snapshot.SnapshotFailed) else repr(error)
        os.write(error_pipe, text.encode("utf-8", "replace")[:MAX_DETAIL])
    finally:
        os._exit(code)


def _close_all_but(*kept: int) -> None:
    first = 0
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _write_all(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb", buffering=0, closefd=False) as file:
        while data:
            data = data[file.write(data) or 0 :]


def _written(descriptor: int, text: str) -> str:
    """Write a text and close; "" or why it could not be written."""
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"cannot write it: {error.strerror}"
    return ""
