"""How a number is read that a sender may have written as text: one rule for all destinations.

Pure, and never raises. A number that could be meant in two ways is None: no value is better than a
wrong one in a report of revenue.

| written | read as | why |
| --- | --- | --- |
| `12`, `12.5`, `" 12.50 "`, `".5"`, `"1e3"`, `"-3"` | the number | JSON's own forms, and blanks |
| `"$12.50"`, `"-$5"`, `"12 EUR"`, `"EUR 12"`, `"12 €"` | 12.5, -5, 12, 12, 12 | in capitals |
| `"1,200.50"`, `"1.200,50"`, `"1 200,50"`, `"1'200.50"` | 1200.5 | both marks are there |
| `"1,200,000"`, `"1.200.000"`, `"1 200"`, `"1'200"` | 1200000, 1200 | it can group only |
| `"12,5"`, `"12,50"` | 12.5 | no group has one digit or two |
| `"1,200"`, `"0,500"` | None | a group, or three decimals |
| `"100-500"`, `"2.50 each"`, `"12 50"`, `"1_000"`, `""` | None | no number, or more than one |
| `true`, `null`, lists, objects, NaN, `1e999`, whole numbers past any float | None | none either |
"""

from __future__ import annotations

import math
import re

#: Longest text that is read as a number, in characters: no report has one of more digits.
MOST_CHARS = 64

#: Blanks and apostrophes that group digits: plain, no-break, thin and narrow.
_GAPS = " \u00a0\u2009\u202f'\u2019"
_SIGNS = "$€£¥₹₽₩₺₴₦฿"
_CURRENCY = rf"(?:[{_SIGNS}]|[A-Z]{{3}}|[A-Z]{{1,3}}\$)"
#: Sign and currency around what is a number or not. No part can match what its neighbour does, so
#: that nothing is tried twice; and the text is short.
_AROUND = re.compile(
    rf"(?P<sign>[+-]?)\s*(?:{_CURRENCY}\s*)?(?P<inner>[+-]?)(?P<digits>[0-9.](?:[0-9.,{_GAPS}]*[0-9.])?"
    rf"(?:[eE][+-]?[0-9]{{1,4}})?)\s*(?:{_CURRENCY}|%)?",
    re.ASCII,
)
_PLAIN = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_GROUPED = re.compile(
    rf"[0-9]{{1,3}}(?:(?P<mark>[,.{_GAPS}])[0-9]{{3}})(?:(?P=mark)[0-9]{{3}})*"
    r"(?:(?P<point>[.,])(?P<decimals>[0-9]+))?",
    re.ASCII,
)
_DECIMAL_COMMA = re.compile(r"([0-9]+),([0-9]{1,2})", re.ASCII)


def amount(value: object) -> float | None:
    """A finite number, or the one that a text is, by the table of this module; else None."""
    if isinstance(value, str):
        return _of_text(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None  # an integer larger than any float
    return number if math.isfinite(number) else None


def whole(value: object) -> int | None:
    """What `amount` reads, as a whole number; the part behind the point is dropped."""
    number = amount(value)
    return None if number is None else int(number)


def _of_text(text: str) -> float | None:
    if len(text) > MOST_CHARS and len(text := text.strip()) > MOST_CHARS:
        return None
    found = _AROUND.fullmatch(text.strip())
    if found is None or (found["sign"] and found["inner"]):
        return None
    digits = _ungrouped(found["digits"])
    if digits is None:
        return None
    number = float(digits)
    if "-" in (found["sign"], found["inner"]):
        number = -number
    return number if math.isfinite(number) else None


def _ungrouped(digits: str) -> str | None:
    """The digits as `float` takes them; None where the marks between them leave a doubt."""
    if _PLAIN.fullmatch(digits):
        return digits
    if comma := _DECIMAL_COMMA.fullmatch(digits):
        return f"{comma[1]}.{comma[2]}"
    grouped = _GROUPED.fullmatch(digits)
    if grouped is None:
        return None
    mark, point = grouped["mark"], grouped["point"]
    if point == mark or digits.startswith("0"):
        return None
    groups = digits[: grouped.start("point")] if point else digits
    if not point and mark == "," and groups.count(",") == 1:
        return None  # "1,200" is 1200 in one country and 1.2 in the next
    return "".join(filter(str.isdigit, groups)) + (f".{grouped['decimals']}" if point else "")
