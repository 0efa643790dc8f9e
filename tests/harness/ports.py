"""Ports of loopback that nobody else takes, for services whose address is chosen before they start.

A port that the kernel offers may be a client's a moment later, and then nobody can listen there.
Those given out here lie below the range that the kernel offers clients. Each process takes whole
blocks of them, and shows it by an abstract UNIX socket named for the block: that name is one
process's at a time, and free again when it ends, however it does.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

#: Below the 32768 at which Linux begins to give ports to clients.
_FIRST, _END, _BLOCK = 10_000, 32_000, 100

#: What shows that blocks are ours; held until this process ends.
_held: list[socket.socket] = []


def free_port() -> int:
    """A TCP port on loopback that nobody listens on, and that is given to nobody else.

    Raises OSError where other processes have all blocks.
    """
    for port in _ports:
        return port
    raise OSError(f"every port of {_FIRST} to {_END} is somebody's")


def _free_ports() -> Iterator[int]:
    for first in range(_FIRST, _END, _BLOCK):
        if _is_ours(first):
            yield from filter(_is_free, range(first, first + _BLOCK))


def _is_ours(block: int) -> bool:
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0bulkhead-tests-ports-{block}")
    except OSError:
        mark.close()
        return False
    _held.append(mark)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the service sets it: what an earlier service's clients left behind is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_ports = _free_ports()
