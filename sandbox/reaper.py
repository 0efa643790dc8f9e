"""The process that ends what workers leave behind, where their supervisor has died.

A worker dies with its supervisor by the kernel's doing; what it had forked does not. Each zygote
starts one of these before anything else, and tells it each worker. It outlives that zygote, however
it ends, and watches the supervisor by a descriptor: when that is dead, it ends all processes of
those workers, and then itself. Before that it ends when its zygote and all of its workers are gone.
Where it dies itself, nobody would do that: its zygote ends with it (`Gone`), and the supervisor,
which looks after both, starts another zygote, whose reaper is told of all living workers.
Must not import what workers share: it is to be small, and it never answers to anybody.
"""

from __future__ import annotations

import os
import select
import struct
from typing import NoReturn

from sandbox import sessions

#: One worker, as the zygote tells it: its process id, which is its session, and its user, or 0.
_WORKER = struct.Struct("=II")
#: Milliseconds between two looks whether all its workers are gone, once its zygote is.
_LOOK_MS = 1000


class Gone(Exception):
    """The reaper is dead: a zygote without one forks nobody."""


def start(supervisor: int, channel: int) -> tuple[int, int]:
    """Fork it: its process id, and the pipe for `tell`. `channel` is the zygote's own. OSError."""
    watched = os.pidfd_open(supervisor)
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(channel)
        os.close(writable)
        _serve(watched, readable)
    os.close(watched)
    os.close(readable)
    return pid, writable


def tell(pipe: int, worker: int, uid: int) -> None:
    """There is this worker, whose user is `uid`, or 0 where it has none of its own.

    Raises Gone, and OSError for anything else.
    """
    try:
        os.write(pipe, _WORKER.pack(worker, uid))
    except BrokenPipeError:
        raise Gone("the reaper is dead") from None


def _serve(supervisor: int, pipe: int) -> NoReturn:
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        os.set_blocking(pipe, False)
        _watch(supervisor, pipe)
    finally:
        os._exit(0)


def _watch(supervisor: int, pipe: int) -> None:
    """Until the supervisor is dead, or there is nothing left to watch."""
    workers: dict[int, int] = {}
    poll = select.poll()
    poll.register(supervisor, select.POLLIN)
    poll.register(pipe, select.POLLIN)
    has_zygote = True
    while True:
        ready = {number for number, _ in poll.poll(None if has_zygote else _LOOK_MS)}
        if has_zygote and not _read(pipe, workers):
            has_zygote = False
            poll.unregister(pipe)
        if supervisor in ready:
            sessions.end_all(workers, set(workers.values()) - {0, os.geteuid()})
            return
        if not has_zygote or len(workers) > sessions.MANY:
            living = sessions.alive()
            workers = {worker: uid for worker, uid in workers.items() if worker in living}
            if not has_zygote and not workers:
                return


def _read(pipe: int, workers: dict[int, int]) -> bool:
    """Take what was told; False once there is nobody who could tell more."""
    while True:
        try:
            # Whole: a pipe takes so little in one piece.
            data = os.read(pipe, 512 * _WORKER.size)
        except BlockingIOError:
            return True
        if not data:
            return False
        workers.update(_WORKER.iter_unpack(data))
