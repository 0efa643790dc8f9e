"""What workers have open, by connection, and the last minute of it.

Owns the look at each worker once a second: which of the sockets that it was given it still has, by
the kernel's word, and its memory. A worker says nothing of it itself. Must not decide anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable

from supervisor.delivery.records import PoolWorker
from supervisor.workers.resources.procfs import open_sockets, tcp_sockets


async def look_at_open(workers: Iterable[PoolWorker]) -> None:
    """Look at each of them once more."""
    hidden: list[PoolWorker] = []
    for pool_worker in workers:
        pid, given = pool_worker.worker.pid, pool_worker.egress_session.given
        if pid is None:
            continue
        held = open_sockets(pid) if given else frozenset[int]()
        if held is None:
            hidden.append(pool_worker)
        else:
            _looked_at(pool_worker, held)
    if hidden:
        # A supervisor that may not trace them: what is nowhere any more they have not either.
        try:
            everywhere = await asyncio.to_thread(tcp_sockets)
        except RuntimeError:
            return  # the machine has no thread for us just now; the next second may have
        for pool_worker in hidden:
            _looked_at(pool_worker, everywhere)


def _looked_at(pool_worker: PoolWorker, held: frozenset[int]) -> None:
    given = pool_worker.egress_session.given
    for inode in given.keys() - held:
        del given[inode]
    pool_worker.seen.add(time.monotonic(), Counter(given.values()), pool_worker.worker.rss_bytes)
