"""A destination's real code against a tape: for tests, of plugins too.

    from supervisor.tapes.testing import play, tapes_beside

    @pytest.mark.parametrize("tape", tapes_beside(__file__), ids=str)
    async def test_tape(tape: Path) -> None:
        await play(tape, Pager)

Owns the session that reaches the tape instead of the network: real HTTP and TLS
to a server on this machine. Whoever speaks to something that is not on the
tape fails, and so does a tape that was not played to its end. It imports the kit,
which nothing of the service may do: tests run destinations without a jail.
"""

from __future__ import annotations

import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import time_machine
from aiohttp.abc import AbstractResolver, ResolveResult

from destinations.kit import Delivered, Destination, Event, Failed, Outcome, Retry, Unsupported
from destinations.kit.loading import settings_errors
from supervisor.tapes.authority import Authority
from supervisor.tapes.player import StrictPlayer
from supervisor.tapes.server import Server
from supervisor.tapes.tape import Tape, outcome_line, read


class NotAsOnTape(AssertionError):
    """The destination did something else than the tape says; the text says what."""


def tapes_beside(test_file: str) -> list[Path]:
    """The tapes in the folder `tapes` beside a test."""
    return sorted((Path(test_file).parent / "tapes").glob("*.yaml"))


async def play(path: Path, destination: type[Destination]) -> None:
    """Deliver a tape's events by a destination's class. Raises NotAsOnTape."""
    tape = read(path)
    async with replaying(tape) as http:
        outcomes = await deliver(tape, destination, http)
    if outcomes != tape.about.outcomes:
        raise NotAsOnTape(f"outcomes: {outcomes}, on the tape {tape.about.outcomes}")


async def deliver(
    tape: Tape, destination: type[Destination], http: aiohttp.ClientSession
) -> list[str]:
    """What becomes of the tape's events, at the time of the tape and in its words."""
    if errors := settings_errors(destination, tape.about.settings):
        raise NotAsOnTape("\n".join(f"settings.{error}" for error in errors))
    settings = msgspec.convert(tape.about.settings, destination.Settings, strict=True)
    one = destination(settings, http, logging.Logger(tape.about.destination))
    events = [Event(msgspec.json.encode(event)) for event in tape.about.events]
    # Only what the day is: clocks that count seconds go on.
    with time_machine.travel(tape.about.at, tick=True):
        await one.start()
        try:
            outcomes = await one.deliver(events)
        finally:
            await one.close()
    return list(map(_line, outcomes))


@asynccontextmanager
async def replaying(tape: Tape) -> AsyncIterator[aiohttp.ClientSession]:
    """A session for which the tape is the whole network. Raises NotAsOnTape at its end."""
    player = StrictPlayer(tape)
    async with Server(player, _authority()) as server:
        connector = aiohttp.TCPConnector(resolver=Loopback(server.port), ssl=_trust())
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield session
    problems = player.mismatches + [
        f"{request}: is on the tape, and was not made" for request in player.unplayed
    ]
    if problems:
        raise NotAsOnTape("\n".join(problems))


def _line(outcome: Outcome) -> str:
    match outcome:
        case Delivered():
            return outcome_line("delivered", "")
        case Retry():
            return outcome_line("retry", outcome.reason, outcome.after_s)
        case Failed():
            return outcome_line("failed", outcome.reason)
        case Unsupported():
            return outcome_line("unsupported", "")


class Loopback(AbstractResolver):
    """Every name is this machine, at one port."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self._port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """There is nothing to close."""


@functools.cache
def _authority() -> Authority:
    return Authority()  # one for all tests of a process: making keys takes milliseconds


@functools.cache
def _trust() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _authority().trust(context)
    return context
