"""The settings that destinations with fields have in common."""

from __future__ import annotations

from typing import Literal

import msgspec

from destinations.kit.mapping.table import FieldMapping, mapping_errors

#: Which default fields a track of the user's own name gets.
CustomEvents = Literal["all", "none"] | list[str]


class MappedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a destination's `Settings` inherit, where it has fields.

    `mapping` changes, adds and removes fields, see `kit/mapping/README.md`.

    `custom_events` says what a track gets that is no event of Segment's specs:
    "all" fields, "none" but those in `mapping`, or a list of fields.

    A subclass that has a `__post_init__` of its own adds `mapping_errors()` to its errors.
    """

    mapping: FieldMapping = {}
    custom_events: CustomEvents = "all"

    def mapping_errors(self) -> list[str]:
        """What is wrong with the mapping, each opening with its key path."""
        return mapping_errors(self.mapping)

    def __post_init__(self) -> None:
        if errors := self.mapping_errors():
            raise ValueError("\n".join(errors))
