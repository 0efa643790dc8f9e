"""What is told of a connection that does not run among the others."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.apart import Apart, ApartCause, ApartCode
from supervisor.core.isolation.records import BlameCounts, IsolationStatus
from supervisor.core.isolation.trust import ProofSoFar
from supervisor.core.placement import TrustState
from supervisor.delivery.apart import apart_why, text_of

DIED = ApartCause(ApartCode.WORKER_DIED, ExitReason.SIGNAL, "default-1", "an-exit")
PROOF = ProofSoFar(3, 8, 40, 128, long_at=104.0, quiet_from=float("-inf"))
STATUS = IsolationStatus(TrustState.UNPROVEN, 0, 1.0, BlameCounts(), Apart(DIED, 60.0), PROOF)


def test_each_cause_has_a_sentence_of_its_own() -> None:
    """Whatever is known of the end beside it."""
    reasons = (None, ExitReason.OOM, ExitReason.LIMIT)
    for reason, worker in itertools.product(reasons, ("", "default-1")):
        texts = [text_of(ApartCause(code, reason, worker)) for code in ApartCode]
        assert len(set(texts)) == len(texts)
        assert all(texts)
    assert text_of(DIED).startswith("default-1 died of signal ")


@pytest.mark.parametrize(
    ("reason", "word"), [(ExitReason.OOM, "memory"), (ExitReason.LIMIT, "files")]
)
def test_what_was_used_up_is_told(reason: ExitReason, word: str) -> None:
    """Memory, or another limit."""
    assert word in text_of(ApartCause(ApartCode.USED_UP, reason))
    assert word in text_of(ApartCause(ApartCode.MAY_HAVE_USED_UP, reason))


def test_a_trusted_one_has_no_reason() -> None:
    """Nor has one of which nothing is known."""
    assert apart_why(None, 100.0) is None
    assert apart_why(replace(STATUS, apart=None), 100.0) is None


def test_what_is_left_to_prove_is_told() -> None:
    """In batches, in events, and in the seconds after which few events are enough."""
    why = apart_why(STATUS, 100.0)
    assert why is not None
    assert (why.code, why.since, why.exit) == ("worker_died", "1970-01-01T00:01:00.000Z", "an-exit")
    assert (why.batches_left, why.events_left, why.seconds_left) == (5, 88, 4.0)
    later = apart_why(STATUS, 200.0)
    assert later is not None
    assert later.seconds_left == 0.0
    quiet = apart_why(replace(STATUS, proof=replace(PROOF, quiet_from=107.0)), 100.0)
    assert quiet is not None
    assert quiet.seconds_left == 7.0


def test_on_trial_nothing_is_to_be_proven_yet() -> None:
    """How many deliveries are tried says all."""
    status = replace(STATUS, trust=TrustState.PROBATION, undecided=3, proof=None)
    why = apart_why(status, 100.0)
    assert why is not None
    assert (why.on_trial, why.batches_left, why.events_left, why.seconds_left) == (3, 0, 0, 0.0)
