"""What an operator asks a living worker for: heap snapshots, profiles, tasks.

Owns the copies that are forked for snapshots, and their burial. The worker goes
on while its copy walks the heap; a copy never outlives it, writes to one
descriptor, and is told to begin once the supervisor knows of it, which also
ends it where nobody wants it any more: the jail lets a worker signal nobody.
One piece of evidence at a time: the supervisor asks for no more.
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
from sandbox.heap.strings import Policy
from sandbox.protocol import MAX_DETAIL, Begun, Collect, Collected, Message

#: Seconds between two samples of a profile.
SAMPLE_S = 0.005
#: Seconds between two looks for a copy that has closed its pipe, and is being torn down.
REAP_S = 0.01
_PIPE_BYTES = 64 * 1024
#: A copy is niced: on a busy machine it may get a tenth of a core.
_LIMITS = snapshot.Limits(walk_s=180.0, total_s=270.0)


class Evidence:
    """`send` writes to the supervisor."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._copy: _Copy | None = None
        self._on_idle: Callable[[], None] | None = None
        self._profiling = 0

    def gather(self, asked: Collect, descriptor: int | None) -> None:
        """Begin; `Collected` says the end. The descriptor is ours, and closed in any case."""
        if descriptor is None:
            self._send(Collected(asked.id, "the worker has no descriptor left for it", 0.0))
            return
        match asked.kind:
            case "heapsnapshot" | "summary" | "hpy":
                self._fork(asked, asked.kind, descriptor)
            case "tasks":
                self._write(asked, descriptor, tasks.text())
            case "speedscope" | "collapsed":
                self._profile(asked, descriptor)

    def proceed(self, asked: int) -> None:
        """The supervisor knows of the copy: let it begin."""
        if self._copy is not None and self._copy.id == asked:
            self._copy.go()

    def when_idle(self, done: Callable[[], None]) -> None:
        """Call `done` once no copy is at work: the worker must not end before it."""
        self._on_idle = done
        self._told_if_idle()

    def _told_if_idle(self) -> None:
        if self._on_idle is not None and self._copy is None and not self._profiling:
            done, self._on_idle = self._on_idle, None
            done()

    # --- snapshots ---

    def _fork(self, asked: Collect, kind: snapshot.Kind, descriptor: int) -> None:
        policy: Policy = "full" if asked.full_strings else "truncated"
        try:
            self._copy = _Copy(asked.id, kind, policy, descriptor, self._ended)
        except OSError as error:
            self._send(Collected(asked.id, f"the worker cannot fork: {error.strerror}", 0.0))
            return
        finally:
            os.close(descriptor)
        self._send(Begun(asked.id, self._copy.pid))

    def _ended(self, copy: _Copy, error: str) -> None:
        self._copy = None
        self._send(Collected(copy.id, error[:MAX_DETAIL], copy.pause_s))
        self._told_if_idle()

    # --- what takes no copy ---

    def _write(self, asked: Collect, descriptor: int, text: str) -> None:
        self._send(Collected(asked.id, _written(descriptor, text), 0.0))

    def _profile(self, asked: Collect, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        kind: profiler.Kind = "speedscope" if asked.kind == "speedscope" else "collapsed"

        def sample() -> None:
            text = profiler.profile(kind, asked.seconds, SAMPLE_S)
            error = _written(descriptor, text)
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker ends
                loop.call_soon_threadsafe(self._profiled, asked.id, error)

        self._profiling += 1
        self._send(Begun(asked.id, None))
        threading.Thread(target=sample, name="profiler", daemon=True).start()

    def _profiled(self, asked: int, error: str) -> None:
        self._profiling -= 1
        self._send(Collected(asked, error, 0.0))
        self._told_if_idle()


class _Copy:
    """A fork of this worker that writes a snapshot; `ended` is called once, with "" or an error."""

    def __init__(
        self,
        number: int,
        kind: snapshot.Kind,
        policy: Policy,
        descriptor: int,
        ended: Callable[[_Copy, str], None],
    ) -> None:
        """Fork. Raises OSError where there are no processes or descriptors left."""
        self.id = number
        self._end = ended
        self._said = bytearray()
        waits, self._go = os.pipe()
        try:
            self._says, says = os.pipe()
        except OSError:
            os.close(waits)
            os.close(self._go)
            raise
        parent = os.getpid()
        roots = snapshot.capture()
        began = time.perf_counter()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self._go)
            os.close(self._says)
            raise
        else:
            if self.pid == 0:
                _be_copy(parent, kind, policy, roots, descriptor, waits, says)
        finally:
            os.close(waits)
            os.close(says)
        self.pause_s = time.perf_counter() - began
        os.set_blocking(self._says, False)
        asyncio.get_running_loop().add_reader(self._says, self._readable)

    def go(self) -> None:
        """Let it begin."""
        if self._go >= 0:
            with contextlib.suppress(BrokenPipeError):  # it is dead, and will be reaped
                os.write(self._go, b"g")
            os.close(self._go)
            self._go = -1

    def _readable(self) -> None:
        """It says why it failed, or its end of the pipe is closed, which comes with its own end."""
        said = os.read(self._says, _PIPE_BYTES)
        if said:
            self._said += said[:MAX_DETAIL]
            return
        asyncio.get_running_loop().remove_reader(self._says)
        os.close(self._says)
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
        said = self._said.decode("utf-8", "replace")
        if code == 0:
            error = ""
        elif code < 0:
            error = f"the copy of the worker was ended by {signal.Signals(-code).name}"
        else:
            error = said or f"the copy of the worker ended with status {code}"
        self._end(self, error)


def _be_copy(
    parent: int,
    kind: snapshot.Kind,
    policy: Policy,
    roots: snapshot.Roots,
    descriptor: int,
    waits: int,
    says: int,
) -> NoReturn:
    """Be the copy: write the snapshot once it may, and end. Never touches the event loop."""
    code = 1
    try:
        gc.disable()
        process.die_with_parent(parent)
        _close_all_but(descriptor, waits, says)
        # Its memory is the worker's, and a bit: it may use what the hard limit leaves.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        if os.read(waits, 1) == b"g":
            snapshot.write(descriptor, kind, strings=policy, roots=roots, limits=_LIMITS)
            code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, the operator is told
        text = str(error) if isinstance(error, snapshot.SnapshotFailed) else repr(error)
        os.write(says, text.encode("utf-8", "replace")[:MAX_DETAIL])
    finally:
        os._exit(code)


def _close_all_but(*kept: int) -> None:
    first = 0
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _written(descriptor: int, text: str) -> str:
    """Write a text and close; "" or why it could not be written."""
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"cannot write it: {error.strerror}"
    return ""
