"""Samples of what went wrong, and attempts that have none, as JSON, for the role that asks.

Owns what a viewer gets of one: shapes, and nothing of its request and answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from supervisor.core.public_causes import public_cause
from supervisor.insight.attempts import AttemptRecord
from supervisor.insight.issues import issue_id
from supervisor.insight.masking import Masking, Sight, public_name, shape, shape_of
from supervisor.insight.sample_records import KeptSample
from supervisor.runtime.rfc3339 import rfc3339

Json = dict[str, Any]  # Any: JSON

#: What each kind of issue is as the outcome of a sample.
_OUTCOMES: Mapping[str, str] = {"credentials": "retry"}
_TYPES = frozenset({"identify", "track", "page", "screen", "group", "alias"})


def kept_json(n: int, source: str | None, kept: KeptSample, masking: Masking, sight: Sight) -> Json:
    """One sample. It was kept as an operator may see it, so that there is only less to show."""
    is_open = sight in (Sight.MASKED, Sight.FULL)
    body = kept.body
    if body is not None and sight is Sight.SHAPES:
        body = shape_of(body)
    answer = kept.answer
    return {
        "n": n,
        "at": rfc3339(kept.at),
        "source": source,
        "connection": kept.connection,
        "message_id": _seen_id(kept.message_id, is_open=is_open),
        "type": kept.type if is_open or kept.type in _TYPES else None,
        "name": kept.name if is_open else public_name(kept.name),
        "outcome": _OUTCOMES.get(kept.outcome, kept.outcome),
        "code": None if answer is None else str(answer.status),
        "cause": kept.cause if is_open else public_cause(kept.cause),
        "reason": masking.text(kept.reason, sight) if kept.reason is not None else None,
        "to": [],
        "unsupported": [],
        "filtered": [],
        "attempt": kept.attempt,
        "worker": kept.worker,
        "body": None if sight is Sight.NOTHING else body,
        "size_bytes": kept.size_bytes,
        "request": msgspec.to_builtins(kept.request) if is_open else None,
        "answer": msgspec.to_builtins(answer) if is_open else None,
    }


def attempt_json(
    n: int,
    source: str,
    connection: str,
    message_id: str,
    attempt: AttemptRecord,
    reason: str | None,
    kept: KeptSample | None,
    masking: Masking,
    sight: Sight,
) -> Json:
    """One attempt of a delivery as a sample, with its issue; in full where `kept` is its sample.

    `reason` is what is seen of its reason where there is none.
    """
    is_open = sight in (Sight.MASKED, Sight.FULL)
    told: Json = {
        "n": n,
        "at": rfc3339(attempt.at),
        "source": source,
        "connection": connection,
        "message_id": _seen_id(message_id, is_open=is_open),
        "type": None,
        "name": None,
        "outcome": _OUTCOMES.get(attempt.outcome, attempt.outcome),
        "code": None,
        "cause": attempt.cause if is_open else public_cause(attempt.cause),
        "reason": reason,
        "to": [],
        "unsupported": [],
        "filtered": [],
        "attempt": attempt.attempt,
        "worker": attempt.worker,
        "body": None,
        "size_bytes": None,
        "request": None,
        "answer": None,
    }
    if kept is not None:
        told = kept_json(n, source, kept, masking, sight)
    issue = None if attempt.issue is None else issue_id(attempt.issue)
    return {**told, "issue": issue, "exit": attempt.exit_id}


def _seen_id(message_id: str | None, *, is_open: bool) -> str | None:
    return message_id if is_open or message_id is None else shape(message_id)
