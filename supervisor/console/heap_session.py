"""One kept heap snapshot, read once and asked about for as long as somebody does.

Owns the process that reads it: a snapshot is hostile input, so that it is read in a jail, by a
process that takes one descriptor and answers small questions over a pipe
(`sandbox/heap/session.py`). There is one at a time, it ends when nobody has asked for a while, and
one that does not answer is killed and named. Must not read a snapshot itself, nor believe an
answer before it is decoded by its type and within its bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, cast

import msgspec
import structlog

from sandbox.protocol import (
    MAX_BROWSED_BYTES,
    HeapAnswer,
    HeapAnswered,
    HeapQuestion,
    HeapReady,
    HeapUnread,
    NoSuchObject,
    printable,
)
from supervisor.diagnostics.reports import report_environment
from supervisor.errors import Busy, EvidenceFailed, NotFound
from supervisor.runtime.threads import in_thread
from supervisor.telemetry.unanswered import Unanswered
from supervisor.workers.resources.priority import as_usual
from supervisor.workers.resources.stillness import STILL_S, Stillness

_log = structlog.get_logger(__name__)

#: Seconds that a session lives on after the last answer.
IDLE_S = 300.0
#: Seconds that reading a snapshot and one answer may take at most.
READ_S, ANSWER_S = 600.0, 60.0
#: Seconds that a question waits for its turn, and for a snapshot to be read.
PATIENCE_S = 20.0
#: Questions that wait at once, and seconds between two looks whether the process goes on.
MOST_WAITING, LOOK_S = 16, 1.0
#: Seconds that a killed process may take to end before it is left to itself.
KILLED_S = 5.0


class HeapSessions:
    """The session that there is, if any.

    `started` and `ended` hear of its process id: it is a child of ours that is no stray.
    """

    def __init__(
        self,
        started: Callable[[int], None],
        ended: Callable[[int], None],
        unanswered: Unanswered,
        *,
        idle_s: float = IDLE_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._started = started
        self._ended = ended
        self._unanswered = unanswered
        self._idle_s = idle_s
        self._answer_s = answer_s
        self._session: _HeapSession | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._waiting = 0

    async def ask(self, name: str, snapshot: Path, question: HeapQuestion) -> HeapAnswered:
        """The answer about the snapshot `name`, which is in the file `snapshot`.

        Raises NotFound for an object that is not there, Busy where another question or another
        snapshot has its turn, EvidenceFailed where it cannot be read or answered.
        """
        if self._waiting >= MOST_WAITING:
            raise Busy(f"{self._waiting} questions about heaps wait already; ask again")
        self._waiting += 1
        try:
            answer = await self._asked(self._session_of(name, snapshot), question)
        finally:
            self._waiting -= 1
        match answer:
            case HeapAnswered():
                return answer
            case NoSuchObject():
                raise NotFound(f"there is no object of that id in {name}")
            case HeapReady() | HeapUnread():
                raise AssertionError("sorted out by the session")

    def _session_of(self, name: str, snapshot: Path) -> _HeapSession:
        session = self._session
        if session is not None and session.name != name:
            if session.is_busy:
                raise Busy(f"the heap {session.name} is being read; ask again")
            self._end("another snapshot is asked for")
            session = None
        if session is None:
            try:
                session = self._session = _HeapSession(name, snapshot)
            except FileNotFoundError:
                raise NotFound(f"snapshot {name} is gone: it made room for newer ones") from None
            except OSError as error:
                raise EvidenceFailed(f"{name} cannot be opened: {error.strerror}") from error
            self._started(session.pid)
            _log.info("heap_session_began", snapshot=name, pid=session.pid)
        return session

    async def _asked(self, session: _HeapSession, question: HeapQuestion) -> HeapAnswer:
        if self._timer is not None:
            self._timer.cancel()
        try:
            answer = await session.ask(question, self._answer_s)
        except Busy:
            self._rest()
            raise
        except _Overdue as error:
            self._unanswered.tell(f"reader of the heap {session.name}", str(error))
            self._end(str(error), session)
            raise EvidenceFailed(f"{session.name}: {error}") from None
        except EvidenceFailed as error:
            self._end(str(error), session)
            raise EvidenceFailed(f"{session.name}: {error}") from None
        except asyncio.CancelledError:
            self._end("who asked is gone", session)  # half an answer is under way
            raise
        self._rest()
        return answer

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(
            self._idle_s, self._end, f"nobody asked for {self._idle_s:g} s"
        )

    def _end(self, why: str, which: _HeapSession | None = None) -> None:
        session = self._session if which is None else which
        if session is None:
            return
        if session is self._session:
            self._session = None
            if self._timer is not None:
                self._timer.cancel()
        if session.is_ended:
            return
        task = asyncio.get_running_loop().create_task(self._ended_of(session))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        _log.info("heap_session_ended", snapshot=session.name, pid=session.pid, reason=why)

    async def _ended_of(self, session: _HeapSession) -> None:
        await session.end()
        self._ended(session.pid)

    async def close(self) -> None:
        """End the session that there is."""
        self._end("the service stops")
        await asyncio.gather(*self._ending)


class _Overdue(Exception):
    """The process let its time pass; the text says how."""


class _HeapSession:
    """One process, that reads `snapshot`. Raises OSError where it cannot be started."""

    def __init__(self, name: str, snapshot: Path) -> None:
        self.name = name
        self.is_ended = False
        self._process = _start(snapshot)
        self.pid = self._process.pid
        self._turn = asyncio.Lock()
        self._reading: asyncio.Task[HeapAnswer] = asyncio.get_running_loop().create_task(
            self._talk(b"", READ_S, "read it")
        )
        # Who asked may have given up meanwhile: the next one hears of it.
        self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def is_busy(self) -> bool:
        """Whether it reads, or answers, just now."""
        return not self._reading.done() or self._turn.locked()

    async def ask(self, question: HeapQuestion, answer_s: float) -> HeapAnswer:
        """Raises Busy, EvidenceFailed and _Overdue."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._turn.acquire()
        except TimeoutError:
            raise Busy(f"another question about {self.name} is being answered") from None
        try:
            await asyncio.wait({self._reading}, timeout=PATIENCE_S)
            if not self._reading.done():
                raise Busy(f"{self.name} is being read; ask again")
            self._reading.result()
            return await self._talk(msgspec.json.encode(question) + b"\n", answer_s, "answered")
        finally:
            self._turn.release()

    async def _talk(self, question: bytes, most_s: float, done: str) -> HeapAnswer:
        """A line to the process, and the line that it answers. Raises EvidenceFailed, _Overdue."""
        if self.is_ended:
            raise EvidenceFailed("its reader has ended; ask again")
        try:
            talk = in_thread("heap-session", partial(self._exchange, question))
        except RuntimeError as error:
            raise EvidenceFailed(f"nobody to hear its reader: {error}") from error
        stillness = Stillness(self.pid)
        loop = asyncio.get_running_loop()
        until = loop.time() + most_s
        while not talk.done():
            await asyncio.wait({talk}, timeout=LOOK_S)
            if talk.done():
                break
            if stillness.is_still:
                raise _Overdue(f"its reader has stood still for {STILL_S:g} s")
            if loop.time() > until:
                raise _Overdue(f"its reader has not {done} within {most_s:g} s")
        return talk.result()

    def _exchange(self, question: bytes) -> HeapAnswer:
        """In a thread: it waits for the process, and a killed one ends the wait."""
        try:
            if question:
                pipe = cast(IO[bytes], self._process.stdin)
                pipe.write(question)
                pipe.flush()
            line = cast(IO[bytes], self._process.stdout).readline(MAX_BROWSED_BYTES + 1)
        except (OSError, ValueError) as error:
            raise EvidenceFailed(f"its reader is gone: {error}; ask again") from error
        if not line:
            raise EvidenceFailed("its reader ended without an answer; ask again")
        try:
            answer: HeapAnswer = msgspec.json.decode(line, type=HeapAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EvidenceFailed(f"its reader said what is no answer: {error}") from error
        if isinstance(answer, HeapUnread):
            raise EvidenceFailed(printable(answer.why))
        if isinstance(answer, HeapReady) is bool(question):
            raise EvidenceFailed("its reader spoke out of turn")
        return answer

    async def end(self) -> None:
        """Kill it, and reap it."""
        self.is_ended = True
        self._process.kill()
        self._reading.cancel()
        try:
            reaped = in_thread("heap-session-end", self._process.wait)
        except RuntimeError:
            self._process.wait()  # no thread is left: it was killed, so that this is short
        else:
            _, pending = await asyncio.wait({reaped}, timeout=KILLED_S)
            if pending:  # closing a pipe would wait for the thread that reads it
                _log.error("heap_session_does_not_end", pid=self.pid, limit_s=KILLED_S)
                return
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what it was not told yet goes nowhere
                cast(IO[bytes], pipe).close()


def _start(snapshot: Path) -> subprocess.Popen[bytes]:
    with snapshot.open("rb") as file:
        descriptor = file.fileno()
        # Not asyncio's: its child watcher would reap processes that are ours to reap.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
            [
                *(sys.executable, "-P", "-m", "sandbox.heap.session"),
                f"--snapshot={descriptor}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[descriptor],
            env=report_environment(),
            cwd="/",
            start_new_session=True,
        )
    as_usual(process.pid)
    return process
