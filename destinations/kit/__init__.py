"""All that destinations import from this project: see `destinations/README.md`."""

from destinations.kit.contract import Destination, NoSettings
from destinations.kit.event import Event
from destinations.kit.outcomes import Cause, Delivered, Failed, Outcome, Retry, Unsupported
from destinations.kit.requests import JSON_HEADERS, Request, Response, gzipped
from destinations.kit.sending import Batched, Endpoint, Item, Part, PerEvent, Split
from destinations.kit.stepwise import Steps, Stepwise
from destinations.kit.times import to_datetime

__all__ = [
    "JSON_HEADERS",
    "Batched",
    "Cause",
    "Delivered",
    "Destination",
    "Endpoint",
    "Event",
    "Failed",
    "Item",
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
    "Unsupported",
    "gzipped",
    "to_datetime",
]
