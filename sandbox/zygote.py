"""The fork server: imports what every worker shares, then forks workers on request.

Started with exec by the supervisor as `python -m sandbox.zygote FD`, where FD
is one end of a SEQPACKET pair. Single-threaded, without an event loop, and it
never runs destination code. It forks twice, so that the worker is handed on to
the supervisor (a child subreaper), which then watches and reaps it at first
hand. Ends when the supervisor does, and when its reaper has: then the supervisor
starts another one.
"""

from __future__ import annotations

import array
import errno
import gc
import os
import signal
import socket
import sys
from typing import NoReturn

import msgpack
import msgspec

from sandbox import jail, reaper, tls
from sandbox.protocol import (
    DESCRIPTORS,
    MAX_DATAGRAM,
    Spawn,
    Spawned,
    SpawnFailed,
    Warm,
    encode,
)


def main() -> None:
    """Serve fork requests until the supervisor closes its end, or the reaper is gone."""
    try:
        _serve()
    except reaper.Gone as error:
        # Whom it was about to name, nobody knows: the supervisor ends that one, and asks again.
        sys.exit(str(error))


def _serve() -> None:
    supervisor = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A terminal's ^C is for the supervisor, which then drains; we end with it.
        signal.signal(number, signal.SIG_IGN)
    channel = socket.socket(fileno=int(sys.argv[1]))
    reaper_pid, to_reaper = reaper.start(supervisor, channel.fileno())
    for worker in filter(None, sys.argv[2:]):  # those of an earlier zygote
        reaper.tell(to_reaper, *map(int, worker.split(":")))
    _import_what_workers_share()
    jail.prepare()
    gc.collect()
    gc.freeze()
    channel.send(encode(Warm(reaper_pid)))
    while True:
        request, descriptors = _receive(channel)
        if request is None:
            return  # the supervisor is gone; the reaper sees to the rest
        try:
            if len(descriptors) < len(DESCRIPTORS) - (request.scratch is not None):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            tls.prepare(request.ca_file)
            pid = _fork(request, descriptors, supervisor)
            reaper.tell(to_reaper, pid, request.uid if isinstance(request.uid, int) else 0)
        except tls.NoCertificates as error:
            answer = encode(SpawnFailed(request.child, str(error)))
        except OSError as error:
            answer = encode(SpawnFailed(request.child, f"fork: {error.strerror}"))
        else:
            answer = encode(Spawned(request.child, pid))
        finally:
            for descriptor in descriptors.values():
                os.close(descriptor)
        channel.send(answer)


def _import_what_workers_share() -> None:
    import encodings.idna  # noqa: F401  (glibc and asyncio import it lazily, in every worker)

    import aiohttp  # noqa: F401
    import guppy.heapy.View  # noqa: F401  (looks at every module's names, so before destinations')
    import uvloop  # noqa: F401

    import sandbox.heap.snapshot
    import sandbox.worker  # noqa: F401  (with the runner and the kit)

    tls.prepare(None)


def _receive(channel: socket.socket) -> tuple[Spawn | None, dict[str, int]]:
    size = len(DESCRIPTORS) * array.array("i").itemsize
    data, ancillary, _, _ = channel.recvmsg(MAX_DATAGRAM, socket.CMSG_SPACE(size))
    if not data:
        return None, {}
    numbers = array.array("i")
    for _, _, raw in ancillary:
        numbers.frombytes(raw[: len(raw) - len(raw) % numbers.itemsize])
    request = msgspec.convert(msgpack.unpackb(data), Spawn)
    # Fewer of them, where we may have no more open; and no scratch folder where none is given.
    return request, dict(zip(DESCRIPTORS, numbers, strict=False))


def _fork(request: Spawn, descriptors: dict[str, int], supervisor: int) -> int:
    """Fork twice; the worker's pid comes back through a pipe. Raises OSError where fork fails."""
    readable, writable = os.pipe()
    try:
        middle = os.fork()
        if middle == 0:
            os.close(readable)
            _middle(request, descriptors, supervisor, writable)
    except OSError:
        os.close(readable)
        raise
    finally:
        os.close(writable)
    try:
        answer = os.read(readable, 32)
    finally:
        os.close(readable)
        os.waitpid(middle, 0)
    number = int(answer or b"0")
    if number <= 0:
        raise OSError(-number, os.strerror(-number) if number else "the child died at once")
    return number


def _middle(
    request: Spawn, descriptors: dict[str, int], supervisor: int, writable: int
) -> NoReturn:
    """The process in between: forks the worker, tells its pid, and is gone."""
    try:
        worker = os.fork()
    except OSError as error:
        os.write(writable, str(-(error.errno or 1)).encode())
        os._exit(0)
    if worker:
        os.write(writable, str(worker).encode())
        os._exit(0)
    from sandbox import worker as child

    child.main(request, descriptors, supervisor)


if __name__ == "__main__":
    main()
