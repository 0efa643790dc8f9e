"""The engine that the config names is the one that is built, and no other is known outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.config import ConfigError, QueueConfig
from supervisor.config.types import ENGINES as CONFIGURABLE
from supervisor.queue import QueueUnavailable
from supervisor.queue.engines import ENGINES, audit, is_present, last_run, make_queue
from tests.queue.conftest import OpenQueue
from tests.queue.given import MAX_RETRY_DELAY_S, T0, SetClock, events


def test_every_engine_that_the_config_takes_is_there() -> None:
    """What `queue.engine` may say is what can be built."""
    assert set(ENGINES) == set(CONFIGURABLE)


def test_unknown_engine_is_a_config_error(tmp_path: Path, clock: SetClock) -> None:
    """The error names the key and what may stand there; nothing is created."""
    with pytest.raises(ConfigError) as failed:
        make_queue(
            tmp_path / "state",
            QueueConfig(engine="tape"),
            clock,
            max_retry_delay_s=MAX_RETRY_DELAY_S,
        )
    assert failed.value.errors == ['queue.engine: "tape" is not built in; use "sqlite"']
    assert not list(tmp_path.iterdir())


async def test_state_directory_is_read_without_being_told_the_engine(
    open_queue: OpenQueue, tmp_path: Path
) -> None:
    """Books and the newest time come from the engine whose files are there."""
    state_dir = tmp_path / "state"
    assert last_run(state_dir).seen == 0.0
    assert not is_present(state_dir)
    with pytest.raises(QueueUnavailable, match="there is no queue here"):
        audit(state_dir)
    queue = await open_queue()
    await queue.append("web", events(range(3)), T0)
    assert audit(state_dir)["a"] == queue.books_by_connection()["a"]
    assert audit(state_dir)["a"].pending == 3
    assert last_run(state_dir).seen == T0
    assert is_present(state_dir)
