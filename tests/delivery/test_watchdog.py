"""One batch at a time shows whose memory grows, where that is enough for what there is to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

from supervisor.core.isolation.leaks import Together
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.delivery.watchdog import BUSY_LOOKS, NARROW_S, WIDE_S, Watchdog


class _Pool:
    """A pool of one worker, and what its guard asks of it. Any: a stand-in for a `Worker`."""

    def __init__(self) -> None:
        self.worker: Any = SimpleNamespace(
            number=1, state=ProcessState.READY, private_bytes=1, running=Counter[str]()
        )
        self.asked: list[bool] = []

    def living(self) -> Iterable[Any]:
        return [self.worker]

    def narrow(self, worker: Any, *, is_narrow: bool) -> None:
        self.asked.append(is_narrow)


def a_guard() -> tuple[Watchdog, _Pool]:
    """One that does not know which of two connections leaks, and has begun to find out."""
    pool = _Pool()
    watchdog = Watchdog(cast(Any, pool))  # Any: no more of a pool is asked for here
    watchdog.together = (Together(("a", "b"), 1000.0),)
    watchdog._look_closer(100.0)
    assert pool.asked == [True]
    return watchdog, pool


def test_narrow_worker_that_rests_stays_so_for_its_time() -> None:
    """And is so again after a while."""
    watchdog, pool = a_guard()
    for _ in range(10):
        pool.worker.running["a"] = 1
        assert not watchdog._is_wanted(pool.worker)
        pool.worker.running["a"] = 0
        assert not watchdog._is_wanted(pool.worker)
    watchdog._look_closer(99.0 + NARROW_S)
    assert pool.asked == [True]
    watchdog._look_closer(100.0 + NARROW_S)
    assert pool.asked == [True, False]
    watchdog._look_closer(100.0 + NARROW_S + WIDE_S)
    assert pool.asked == [True, False, True]


def test_narrow_worker_that_has_no_rest_is_given_up() -> None:
    """What others wait for shall not wait for that."""
    watchdog, pool = a_guard()
    pool.worker.running["a"] = 1
    assert [watchdog._is_wanted(pool.worker) for _ in range(BUSY_LOOKS)][-1]
    watchdog._look_closer(101.0)
    watchdog._look_closer(102.0)
    assert pool.asked == [True, False]
