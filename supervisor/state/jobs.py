"""Long work over dead letters that an operator has asked for, kept across restarts.

Owns one small file in the state directory. What a job has done is in the queue itself: a letter
that was replayed or dropped is none any more, so that the file is written when a job begins, when
it ends, and not in between. Must not know how a job is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from supervisor.runtime.durable import write_durably

_log = structlog.get_logger(__name__)

#: Its name in the state directory.
FILE = "jobs.json"


class JobRecord(msgspec.Struct):
    """One job. Times are epoch seconds.

    kind: replay or drop. state: running, done, cancelled or failed. where: the filter, as the admin
    API takes it. matched: how many were meant when it began, None until they are counted. not_done:
    met, but their connection is not in the config. per_s: at most so many a second. upto: no letter
    with a later id is meant. resumed: how many restarts it has outlived.
    """

    id: str
    kind: str
    where: Mapping[str, str | list[str]]
    by: str
    started_at: float
    upto: str
    per_s: float | None = None
    state: str = "running"
    matched: int | None = None
    done: int = 0
    not_done: int = 0
    ended_at: float | None = None
    error: str | None = None
    resumed: int = 0

    @property
    def is_running(self) -> bool:
        """Whether it is to go on."""
        return self.state == "running"


class JobStore:
    """The file in `state_dir`."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def read(self) -> list[JobRecord]:
        """What an earlier run has left, the oldest first.

        A file that is none of ours is as good as none: what its jobs had not done is a dead letter
        still.
        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[JobRecord])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning(
                "jobs_not_read",
                path=str(self._path),
                error=str(error),
                consequence="no job goes on; ask for it again",
            )
            return []

    def write(self, jobs: Sequence[JobRecord]) -> None:
        """Replace it. Raises OSError."""
        write_durably(self._path, msgspec.json.encode(jobs))
