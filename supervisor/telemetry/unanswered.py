"""Processes of ours that did not answer in time, the last of them.

Owns what `/status` says of them. Nobody here waits for another process without limit: who lets one
pass is replaced, and told of here. Must not end anybody.
"""

from __future__ import annotations

import time
from collections import deque

import structlog

from supervisor.runtime.rfc3339 import rfc3339
from supervisor.telemetry.status import UnansweredStatus

_log = structlog.get_logger(__name__)

#: How many are kept.
MOST = 10


class Unanswered:
    """For the event loop's thread."""

    def __init__(self) -> None:
        self._last: deque[UnansweredStatus] = deque(maxlen=MOST)

    def tell(self, who: str, why: str) -> None:
        """`who` ("zygote", a worker's id) let its time pass: `why` is one clause."""
        self._last.append(UnansweredStatus(who, why, rfc3339(time.time())))
        _log.warning("no_answer", who=who, reason=why, consequence="it is replaced")

    def last(self) -> list[UnansweredStatus]:
        """The last of them, oldest first."""
        return list(self._last)
