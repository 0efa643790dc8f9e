"""The code that workers are started from, taken at a start and at each reload.

Owns when it is taken and what is said of it; how it is kept is `workers/code.py`'s.
"""

from __future__ import annotations

import asyncio

import structlog

from supervisor.config import Config
from supervisor.workers.code import CodeStore, KeptCode

_log = structlog.get_logger(__name__)


async def taken(store: CodeStore, config: Config) -> KeptCode:
    """The plugin folders of a config as they stand, kept. Raises ConfigError.

    What holds secrets or the state is shielded, also where it lies in a plugin folder.
    """
    kept = await asyncio.to_thread(store.keep_of, config)
    for path in kept.left_out:
        _log.warning("plugin_path_shielded", path=path, consequence="no worker sees it")
    return kept
