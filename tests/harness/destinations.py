"""All built-in destinations, found from their folder, and run without a network.

Owns what suites and benchmarks of all destinations share. What there is to know
of each stands in `tests/destinations/NAME/vendor.py`.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import aiohttp
import msgspec

import destinations
from destinations.kit import Destination, Event, Outcome, Request, Response
from destinations.kit.exchange import Limits
from destinations.kit.loading import load
from tests.harness.vendors import Vendor

#: Names of all destinations that have a folder.
NAMES = tuple(
    sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(destinations.__path__)
        if module.ispkg and module.name != "kit"
    )
)

Answer = Callable[[Request], Response]


def vendor(name: str) -> Vendor:
    """What the destination's own folder of tests says of its vendor, in `vendor.py`."""
    found = importlib.import_module(f"tests.destinations.{name.replace('-', '_')}.vendor").VENDOR
    assert isinstance(found, Vendor)
    return found


def destination(name: str, settings: Mapping[str, Any] | None = None) -> Destination:
    """A destination as the worker makes one, but for the session: it must not be used."""
    found = load(name, None)
    checked = msgspec.convert(settings or vendor(name).settings, found.Settings)
    session = cast(aiohttp.ClientSession, None)  # see `answered_by`
    return found(checked, session, logging.Logger(name))


@contextmanager
def answered_by(answer: Answer) -> Iterator[list[Request]]:
    """Requests of all destinations are answered so, and none is sent; gives those made."""
    asked: list[Request] = []

    async def exchange(
        http: aiohttp.ClientSession, request: Request, limits: Limits
    ) -> Response | Outcome:
        asked.append(request)
        return answer(request)

    with mock.patch("destinations.kit.sending.exchange", exchange):
        yield asked


async def delivered(name: str, events: Sequence[Event], answer: Answer) -> Sequence[Outcome]:
    """The outcomes of events at a new instance of the destination."""
    with answered_by(answer):
        return await destination(name).deliver(events)
