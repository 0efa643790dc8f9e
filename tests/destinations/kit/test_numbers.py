"""How numbers written as text are read."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.kit.numbers import amount, whole


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[(3, 3.0), (0, 0.0), ("12", 12.0), (" 12.50 ", 12.5), ("-.5", -0.5), ("5.", 5.0)],
        *[("1e3", 1000.0), ("+7", 7.0), ("1,000,000.5", 1_000_000.5)],
        # one currency, before or behind
        *[("$12.50", 12.5), ("-$5", -5.0), ("$-5", -5.0), ("12 EUR", 12.0), ("EUR 12", 12.0)],
        *[("12 €", 12.0), ("12€", 12.0), ("US$3", 3.0), ("$1,200.50", 1200.5), ("40%", 40.0)],
        # groups, where they can be nothing else
        *[("1,200.50", 1200.5), ("1.200,50", 1200.5), ("1 200,50", 1200.5), ("1'200.50", 1200.5)],
        *[("1,200,000", 1_200_000.0), ("1.200.000", 1_200_000.0), ("1 200", 1200.0)],
        *[("1\u00a0200", 1200.0), ("1\u202f200", 1200.0), ("1'200", 1200.0), ("1.200", 1.2)],
        *[("12,5", 12.5), ("12,50", 12.5), ("-1,200.5", -1200.5)],
        # a doubt
        *[("1,200", None), ("0,500", None), ("12,3456", None), ("1,20,300", None)],
        *[("1,200.300.400", None), ("1 200 30", None), ("12 50", None), ("1,200,50", None)],
        # no number, or more than one
        *[
            ("100-500", None),
            ("1-", None),
            ("--1", None),
            ("-$-1", None),
            ("2.50 each", None),
            ("day 5", None),
        ],
        *[("free", None), ("", None), (" ", None), (".", None), ("$", None), ("1.2.3", None)],
        *[("1_000", None), ("0x10", None), ("١٢", None), ("12 EUR USD", None), ("e5", None)],
        *[("1e999", None), ("nan", None), ("inf", None), ("Infinity", None), ("9" * 65, None)],
        *[(10**400, None), (math.nan, None), (math.inf, None), (True, None), (False, None)],
        *[(None, None), ([1], None), ({"value": 1}, None)],
    ],
)
def test_amounts(value: object, expected: float | None) -> None:
    """A number is read where it can be meant in one way only; else there is none."""
    assert amount(value) == expected


def test_whole() -> None:
    """A whole number drops what is behind the point."""
    assert [whole(value) for value in ("12.9", -1.5, "1,200", None)] == [12, -1, None, None]


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_own_text(number: float) -> None:
    """A number as Python or JSON writes it is read as itself."""
    assert amount(str(number)) == number
    assert amount(number) == number


@given(st.integers(min_value=1000, max_value=10**12), st.integers(min_value=1, max_value=99))
def test_groups(number: int, cents: int) -> None:
    """Grouped digits with decimals are read alike in every country's writing."""
    expected = float(f"{number}.{cents:02}")
    english = f"{number:,}.{cents:02}"
    swapped = english.translate(str.maketrans(",.", ".,"))
    blanks = english.replace(",", "\u00a0")
    assert amount(english) == amount(swapped) == amount(blanks) == expected


@given(st.text(max_size=80) | st.text(alphabet="0123456789.,-+eE $€'%", max_size=80))
def test_any_text(text: str) -> None:
    """Any text is a finite number or none."""
    number = amount(text)
    assert number is None or math.isfinite(number)
