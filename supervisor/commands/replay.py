"""`bulkhead replay`: tapes as the partners' servers, with no network."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import click

from sandbox.protocol import printable
from supervisor.commands.endpoint import CommandError
from supervisor.commands.terminal import say
from supervisor.config import values
from supervisor.config.types import Address
from supervisor.config.values import Invalid
from supervisor.tapes.faults import FaultError, Faults, Rule, parse
from supervisor.tapes.tape import Answer, Call, Tape, TapeError, read

#: Where tapes are served that were not told otherwise.
DEFAULT_LISTEN = "127.0.0.1:9000"
_seconds = values.duration("0s", "1h")


class _ListenType(click.ParamType[Address]):
    """`HOST:PORT`; port 0 is any free one."""

    name = "HOST:PORT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        try:
            address = values.address(Path())(value)
        except Invalid as error:
            self.fail(f"{value}: {error}", param, ctx)
        if not isinstance(address, Address) or address.path is not None:
            self.fail(f"{value}: partners are reached by TCP; write HOST:PORT", param, ctx)
        return address


class _RuleType(click.ParamType[Rule]):
    """A fault, in the notation of `faults`."""

    name = "KIND=SHARE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Rule:
        if isinstance(value, Rule):
            return value
        try:
            return parse(str(value))
        except FaultError as error:
            self.fail(str(error), param, ctx)


class _LatencyType(click.ParamType[tuple[float, float]]):
    """`50ms`, or `20ms..80ms` for anything between."""

    name = "DURATION"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        least, dots, most = str(value).partition("..")
        try:
            low, high = _seconds(least), _seconds(most if dots else least)
        except Invalid as error:
            self.fail(f"{value}: {error}", param, ctx)
        assert isinstance(low, float)
        assert isinstance(high, float)
        if low > high:
            self.fail(f"{value}: the first duration is the least, and is longer", param, ctx)
        return low, high


@click.command()
@click.argument(
    "tapes", metavar="TAPE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--listen",
    type=_ListenType(),
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where to listen; port 0 is any free one.",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    help="Write the certificate of this run's authority here.  [default: a temporary file]",
)
@click.option(
    "--latency", type=_LatencyType(), default="0s", help="What an answer takes: 50ms, 20ms..80ms."
)
@click.option(
    "--fault",
    "rules",
    type=_RuleType(),
    multiple=True,
    help="429, 500, hang or cut, by chance (429=5%) or every Nth time (cut=1/100); with a host "
    "in front (api.example.com@500=1/3) of that one only. May be given several times.",
)
@click.option(
    "--retry-after",
    type=click.IntRange(0, 86_400),
    default=1,
    show_default=True,
    help="Seconds that a 429 asks for.",
)
@click.option("--seed", type=int, help="Have chance fall out the same way again.")
@click.option("--verbose", "-v", is_flag=True, help="Print each request.")
def replay(
    tapes: tuple[Path, ...],
    listen: Address,
    ca_file: Path | None,
    latency: tuple[float, float],
    rules: tuple[Rule, ...],
    retry_after: int,
    seed: int | None,
    verbose: bool,
) -> None:
    """Play tapes as the servers that they were recorded from, until interrupted.

    One port speaks HTTP, HTTPS and forward proxy. With these lines in its
    config, a service sends everything there, whatever the destination:

    \b
      [sandbox]
      proxy = "http://127.0.0.1:9000"
      ca_file = "FILE"                   # the one that is printed

    A request is answered as the most similar one of its method and path was. A
    folder stands for the tapes in it.

    \b
    Examples:
      bulkhead replay tests/destinations/*/tapes
      bulkhead replay tapes --latency 20ms..80ms --fault 429=5% --fault cut=1/100
    """
    loaded = _load(tapes)
    chance = random.Random(seed)  # noqa: S311 - what fails on purpose is no secret
    try:
        asyncio.run(
            _serve(loaded, listen, ca_file, Faults(rules, latency, chance), retry_after, verbose)
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandError(
            f"cannot serve tapes on {listen}: {where}{error.strerror or error}"
        ) from error


def _load(paths: Sequence[Path]) -> list[Tape]:
    files: list[Path] = []
    for path in paths:
        found = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        if not found:
            raise CommandError(f"{path}: holds no tape (*.yaml)")
        files += found
    try:
        return [read(file) for file in files]
    except TapeError as error:
        raise CommandError(str(error)) from error


async def _serve(
    tapes: Sequence[Tape],
    listen: Address,
    ca_file: Path | None,
    faults: Faults,
    retry_after_s: int,
    verbose: bool,
) -> None:
    # Imported here: `--help` needs no web server.
    from supervisor.tapes.authority import Authority
    from supervisor.tapes.player import Player
    from supervisor.tapes.server import Server

    class Talking(Player):
        async def answer(self, call: Call) -> Answer:
            said = await super().answer(call)
            parts = urlsplit(call.url)
            say(
                printable(f"{said.status} {call.method} {parts.hostname}{parts.path}"),
                is_error=True,
            )
            return said

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    authority = Authority()
    player = (Talking if verbose else Player)(tapes, faults, retry_after_s)
    with ExitStack() as stack:
        if ca_file is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkhead-replay-"))
            ca_file = Path(folder, "ca.pem")
        authority.write_certificate(ca_file)
        async with Server(player, authority, listen.host, listen.port) as server:
            hosts = Counter(
                urlsplit(exchange.call.url).hostname
                for tape in tapes
                for exchange in tape.exchanges
            )
            known = ", ".join(f"{host} ({n})" for host, n in sorted(hosts.items(), key=str))
            where = Address(host=listen.host, port=server.port)
            say(f"serving      {known}")
            say(f"on           http://{where} and https://{where}")
            say(f'as a proxy   [sandbox] proxy = "http://{where}"')
            say(f'trusted by   [sandbox] ca_file = "{ca_file.absolute()}"')
            await stop.wait()
    say(f"{player.played} answered from tapes, {player.unknown} that no tape has")
