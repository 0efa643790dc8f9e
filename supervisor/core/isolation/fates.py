"""What became of each batch that a dead worker had, as it was decided at that death.

Owns the count alone: it is read off what the machine has answered, so that it cannot say anything
else. Must not decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from supervisor.core.isolation.bisection import Bisection
from supervisor.core.isolation.effects import (
    BatchFate,
    IsolationEffect,
    PostponeAlone,
    QuarantineDelivery,
    Requeue,
)
from supervisor.core.isolation.facts import LostBatch


@dataclass(frozen=True, slots=True)
class HeldPart:
    """Of the suspected batch `held`, which a lost one is or was a probe of, what was lost.

    `lost` are deliveries without an outcome, by their index in that one.
    """

    held: int
    lost: frozenset[int]
    bisection: Bisection


def fate_of(
    batch: LostBatch, part: HeldPart | None, effects: Iterable[IsolationEffect]
) -> BatchFate:
    """What `effects` do with a batch that was lost, and what is left of it to be tried."""
    held = batch.batch if part is None else part.held
    lost = frozenset(batch.unreported) if part is None else part.lost
    sent_again = postponed = quarantined = 0
    for effect in effects:
        # Nothing that any other effect does ends a delivery.
        if isinstance(effect, Requeue) and effect.batch == held:
            sent_again += len(lost.intersection(effect.indices))
        elif isinstance(effect, PostponeAlone) and effect.batch == held:
            postponed += len(lost.intersection(effect.indices))
        elif isinstance(effect, QuarantineDelivery) and effect.batch == held:
            quarantined += effect.index in lost
    groups = [] if part is None else part.bisection.groups
    tried = [(len(group), len(lost.intersection(group))) for group in groups]
    return BatchFate(
        batch=batch.batch,
        is_probe=held != batch.batch,
        sent_again=sent_again,
        tried_alone=sum(n for size, n in tried if size == 1),
        tried_together=sum(n for size, n in tried if size > 1),
        postponed=postponed,
        quarantined=quarantined,
    )
