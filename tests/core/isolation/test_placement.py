"""Where a connection runs is read off trust and worker, and the other way round."""

from __future__ import annotations

import pytest

from supervisor.core.placement import (
    SHARED,
    Dedicated,
    Placement,
    TrustState,
    Waiting,
    WaitReason,
    placement_of,
    trust_of,
    worker_of,
)

# (trust, worker) → placement
TABLE: dict[tuple[TrustState, int | None], Placement] = {
    (TrustState.TRUSTED, None): SHARED,
    (TrustState.PROBATION, None): Waiting(WaitReason.PROBATION),
    (TrustState.PROBATION, 7): Dedicated(7, is_probed=True),
    (TrustState.UNPROVEN, None): Waiting(WaitReason.DEDICATED_WORKER),
    (TrustState.UNPROVEN, 7): Dedicated(7),
}


@pytest.mark.parametrize(("trust", "worker"), TABLE)
def test_one_placement_for_each_trust_and_worker(trust: TrustState, worker: int | None) -> None:
    """And what it was made of can be read off it."""
    placement = placement_of(trust, worker)
    assert placement == TABLE[trust, worker]
    assert (trust_of(placement), worker_of(placement)) == (trust, worker)


def test_trusted_connections_have_no_worker_of_their_own() -> None:
    """Whatever worker it had, it is to be given back."""
    assert placement_of(TrustState.TRUSTED, 7) == SHARED
