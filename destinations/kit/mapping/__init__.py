"""Fields of a vendor's from an event, by expressions that users change without code.

Owns the language (`README.md` has its grammar), its evaluation, and tables of target field to
expression, in which a destination's defaults and a user's `settings.mapping` are one mechanism.
Must not know a destination, and never raises for an event.
"""

from destinations.kit.mapping.functions import text_of
from destinations.kit.mapping.rows import Rows
from destinations.kit.mapping.settings import CustomEvents, MappedSettings
from destinations.kit.mapping.table import (
    Expression,
    FieldMapper,
    FieldMapping,
    MappingTable,
    mapping_errors,
)

__all__ = [
    "CustomEvents",
    "Expression",
    "FieldMapper",
    "FieldMapping",
    "MappedSettings",
    "MappingTable",
    "Rows",
    "mapping_errors",
    "text_of",
]
