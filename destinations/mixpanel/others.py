"""Which of a sender's properties and traits go along under their own names. Pure.

Owns the question alone; what fields are made of them stands in `fields.py` and the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from destinations.kit import FieldMapping, MappingTable
from destinations.kit.paths import normal
from destinations.mixpanel.fields import DEFAULTS


class Others:
    """What of the sender's properties or traits goes along under its own name.

    All but what settings map under another name, and what they remove (`"ssn" = ""`); of traits
    also what defaults take. Properties stay beside the default fields that are made of them.
    """

    def __init__(self, mapping: FieldMapping, event_type: str, *, is_event: bool = False) -> None:
        table = MappingTable() if is_event else DEFAULTS
        mapper = table.mapper(mapping)
        self.own = mapper.own(event_type)
        #: Of them, those that are no default's.
        self.added = self.own - DEFAULTS.mapper().targets(event_type)
        self._taken = mapper.reads(event_type, "properties" if is_event else "traits")
        removed = self.own - mapper.targets(event_type)
        self._removed = removed | {normal(name) for name in removed if not name.startswith("$")}

    def passed(self, given: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
        """The values that go along."""
        taken, removed = self._taken, self._removed
        if not taken and not removed:
            return dict(given)
        return {
            key: value
            for key, value in given.items()
            if (plain := normal(key)) not in taken and key not in removed and plain not in removed
        }
