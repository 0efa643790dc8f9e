"""What a service says to the process that tries one event, and what that answers.

Must not import what runs a destination or plays its partner: the service imports this module.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from supervisor.config import Config, Connection
from supervisor.queue import NewEvent
from supervisor.workers.code import KeptCode

#: Bytes of the line that is answered, at most.
MAX_LINE_BYTES = 8 << 20
#: Seconds that the event may take, where its pool allows more.
BATCH_S = 6.0


@dataclass(frozen=True, slots=True)
class OneEventOrder:
    """What is to be done, by which code. `secrets` are the values of the connection's settings
    that were references, by their names.
    """

    config: Config
    code: KeptCode
    connection: Connection
    event: NewEvent
    secrets: Mapping[str, str]
    is_live: bool


class ShownRequest(msgspec.Struct, frozen=True):
    """A request that the event became; `body` is cut."""

    method: str
    url: str
    headers: dict[str, str]
    body: str


class ShownAnswer(msgspec.Struct, frozen=True):
    """What a request was answered, or with `error` why it was not."""

    status: int | None = None
    headers: dict[str, str] = {}
    body: str = ""
    error: str | None = None


class OneEventResult(msgspec.Struct, frozen=True):
    """What became of the event; `answers` are those of `requests`, in their order.

    `more_requests` were made and are not told. With `error`, nothing was run.
    """

    outcome: str = ""
    detail: str = ""
    requests: list[ShownRequest] = []
    answers: list[ShownAnswer] = []
    more_requests: int = 0
    raised: list[str] = []
    error: str | None = None


def order_of(
    config: Config, code: KeptCode, connection: Connection, event: NewEvent, *, is_live: bool
) -> bytes:
    """An order for this process: all that it needs of a config, and no other connection's."""
    secrets = {
        setting: _at(connection.settings, setting)
        for name, setting in config.secret_settings
        if name == connection.name
    }
    pool = config.pools[config.pool_of(connection.destination)]
    brief = msgspec.structs.replace(pool, batch_timeout_s=min(pool.batch_timeout_s, BATCH_S))
    alone = msgspec.structs.replace(
        config,
        # A disabled connection would filter everything, and is run for a reason.
        connections={},
        sources={},
        pools={**config.pools, pool.name: brief},
        admin=msgspec.structs.replace(config.admin, token=None, view_token=None),
        secrets=frozenset(secrets.values()),
    )
    enabled = msgspec.structs.replace(connection, enabled=True)
    return pickle.dumps(OneEventOrder(alone, code, enabled, event, secrets, is_live))


def _at(settings: Mapping[str, Any], path: str) -> str:  # Any: the destination's schema decides
    value: Any = settings
    for step in path.split("."):
        value = value.get(step, "") if isinstance(value, Mapping) else ""
    return str(value)
