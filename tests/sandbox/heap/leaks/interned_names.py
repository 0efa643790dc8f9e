"""Attributes named after users, which are interned names besides."""

from __future__ import annotations

import sys


class Counters:
    pass


COUNTERS = Counters()


async def main() -> None:
    for number in range(40_000):
        setattr(COUNTERS, sys.intern(f"user_{number}"), float(number))
