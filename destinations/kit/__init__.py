"""All that destinations import from this project: see `destinations/README.md`."""

from destinations.kit.companies import Company
from destinations.kit.contract import Destination, NoSettings
from destinations.kit.event import Event
from destinations.kit.hashing import hashed, is_hashed
from destinations.kit.mapping import (
    FieldMapper,
    FieldMapping,
    MappedSettings,
    MappingTable,
    mapping_errors,
)
from destinations.kit.numbers import amount, whole
from destinations.kit.outcomes import (
    Cause,
    Delivered,
    Failed,
    Outcome,
    Retry,
    Unauthorized,
    Unsupported,
)
from destinations.kit.products import LineItem
from destinations.kit.requests import JSON_HEADERS, Request, Response, gzipped
from destinations.kit.sending import Batched, Endpoint, Item, Part, PerEvent, Split
from destinations.kit.stepwise import Steps, Stepwise
from destinations.kit.times import to_datetime

__all__ = [
    "JSON_HEADERS",
    "Batched",
    "Cause",
    "Company",
    "Delivered",
    "Destination",
    "Endpoint",
    "Event",
    "Failed",
    "FieldMapper",
    "FieldMapping",
    "Item",
    "LineItem",
    "MappedSettings",
    "MappingTable",
    "NoSettings",
    "Outcome",
    "Part",
    "PerEvent",
    "Request",
    "Response",
    "Retry",
    "Split",
    "Steps",
    "Stepwise",
    "Unauthorized",
    "Unsupported",
    "amount",
    "gzipped",
    "hashed",
    "is_hashed",
    "mapping_errors",
    "to_datetime",
    "whole",
]
