"""What one destination is: the record of its declaration, as every part of the service reads it.

Owns the shape of that record. Asks nobody: `probe.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a destination said of itself before it was given any data.

    `types` are the event types that it handles; `aliases` are further names in
    `integrations`; `hosts` are `host`, `host:port` or `{setting}`; `batch_bytes`
    is bytes; `settings_schema` is JSON Schema; `dry_answers` are JSON by method
    and path.
    """

    destination: str
    types: frozenset[str]
    aliases: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    batch_events: int = 100
    batch_bytes: int = 1024**2
    settings_schema: Mapping[str, Any] = msgspec.field(default_factory=dict)  # Any: JSON
    dry_answers: Mapping[str, str] = msgspec.field(default_factory=dict)
