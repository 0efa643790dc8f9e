"""What one destination declares: one record, from the kit's edge to every part that reads it.

Owns the fields, by name, and how much a worker may say in each: the decoder refuses what is more,
and so does the worker that would declare it, with the reason. A new field is written here and in
`destinations/kit/contract.py`, from whose class it is taken by name.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

#: Longest name, host and path in a declaration, in characters, and most of each.
MAX_NAME, MAX_HOST, MAX_PATH, MAX_NAMES = 256, 512, 1024, 256
#: Longest answer of a dry run, in characters.
MAX_DRY_ANSWER = 64 * 1024
#: Most events in a batch that a destination may ask for.
MAX_BATCH_EVENTS = 100_000

_Name = Annotated[str, Meta(max_length=MAX_NAME)]
_Host = Annotated[str, Meta(max_length=MAX_HOST)]
_Path = Annotated[str, Meta(max_length=MAX_PATH)]
_Answer = Annotated[str, Meta(max_length=MAX_DRY_ANSWER)]
_most = Meta(max_length=MAX_NAMES)


class Declaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a destination declares before it is given any data.

    `types` are the event types that it handles; `aliases` are further names in
    `integrations`; `hosts` are `host`, `host:port` or `{setting}`; `batch_bytes`
    is bytes; `settings_schema` is JSON Schema; `dry_answers` are JSON by method
    and path. Defaults are those of the kit's `Destination`.
    """

    types: Annotated[frozenset[_Name], _most]
    aliases: Annotated[tuple[_Name, ...], _most] = ()
    hosts: Annotated[tuple[_Host, ...], _most] = ()
    batch_events: Annotated[int, Meta(ge=1, le=MAX_BATCH_EVENTS)] = 1
    batch_bytes: Annotated[int, Meta(ge=1, le=2**63 - 1)] = 1024 * 1024
    # Any: JSON Schema, shown and never interpreted; its size is bounded by that of a frame.
    settings_schema: dict[str, Any] = {}
    dry_answers: Annotated[dict[_Path, _Answer], _most] = {}
