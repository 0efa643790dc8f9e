"""Amounts of money in decoded properties, read as Segment's facade reads them.

Owns what counts as an amount, and the rules for revenue and subtotal. Pure, and
never raises: what is no amount is None.
https://github.com/segmentio/facade/blob/master/lib/track.js
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from destinations.kit.paths import find

_LEADING_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_ORDER_COMPLETED = re.compile(
    r"[ _]?completed[ _]?order[ _]?|[ _]?order[ _]?completed[ _]?\Z", re.IGNORECASE
)


def amount(value: object) -> float | None:
    """A finite number, or the one that text begins with once its dollar signs are gone."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            number = float(value)
        elif isinstance(value, str) and (found := _LEADING_NUMBER.match(value.replace("$", ""))):
            number = float(found.group())
        else:
            return None
    except OverflowError:
        return None  # an integer larger than any float
    return number if math.isfinite(number) else None


def revenue(properties: Mapping[str, Any], event: str | None) -> float | None:  # Any: JSON
    """The revenue; of a completed order its total, where no revenue is given or it is 0."""
    given = amount(find(properties, "revenue"))
    if not given and event is not None and _ORDER_COMPLETED.match(event):
        return amount(find(properties, "total"))
    return given


def subtotal(properties: Mapping[str, Any], event: str | None) -> float:  # Any: JSON
    """What was paid for the goods alone: as given, else worked out of the total; 0 if unknown."""
    given = amount(find(properties, "subtotal"))
    if given:
        return given
    total = amount(find(properties, "total"))
    if not total:
        return revenue(properties, event) or 0.0
    tax, shipping, discount = (
        amount(find(properties, key)) or 0.0 for key in ("tax", "shipping", "discount")
    )
    return total - tax - shipping + discount
