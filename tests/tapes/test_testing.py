"""Destinations against tapes in tests: what is not as on the tape fails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from destinations.kit import Delivered, Destination, Event, Outcome, Retry
from supervisor.tapes.tape import About, Answer, Call, Exchange, Tape, dumps
from supervisor.tapes.testing import NotAsOnTape, play, replaying

ASKED = Call("POST", "https://api.example.com/in", (), b'{"n":1}')


class Posts(Destination):
    name = "posts"
    hosts = ("api.example.com",)

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for event in events:
            body = {"n": event["n"]}
            async with self.http.post("https://api.example.com/in", json=body) as answer:
                outcomes.append(Delivered() if answer.ok else Retry("busy", 3.0))
        return outcomes


def tape(ns: Sequence[int], outcomes: Sequence[str], *exchanges: Exchange) -> Tape:
    about = About(
        destination="posts",
        provenance="doc",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        events=[{"n": n} for n in ns],
        outcomes=list(outcomes),
    )
    return Tape(about, exchanges)


async def played(folder: Path, said: Tape) -> None:
    path = folder / "x.yaml"
    path.write_text(dumps(said))
    await play(path, Posts)


async def test_as_on_tape(tmp_path: Path) -> None:
    """A destination that does as the tape says passes."""
    exchanges = [Exchange(ASKED, Answer(200)), Exchange(ASKED, Answer(429))]
    await played(tmp_path, tape([1, 1], ["delivered", "retry: busy (in 3 s)"], *exchanges))


async def test_another_request(tmp_path: Path) -> None:
    """A request that is not on the tape fails, and says where it differs from the nearest."""
    with pytest.raises(NotAsOnTape, match=r"body\.n: 2, on the tape 1"):
        await played(tmp_path, tape([2], ["delivered"], Exchange(ASKED, Answer(200))))


async def test_a_request_more(tmp_path: Path) -> None:
    """So does one more than the tape has."""
    with pytest.raises(NotAsOnTape, match="all that the tape has was played"):
        await played(tmp_path, tape([1, 1], ["delivered"] * 2, Exchange(ASKED, Answer(200))))


async def test_a_request_less(tmp_path: Path) -> None:
    """So does one that was not made."""
    with pytest.raises(NotAsOnTape, match="was not made"):
        await played(tmp_path, tape([], [], Exchange(ASKED, Answer(200))))


async def test_another_outcome(tmp_path: Path) -> None:
    """So does another outcome."""
    with pytest.raises(NotAsOnTape, match="outcomes"):
        await played(tmp_path, tape([1], ["delivered"], Exchange(ASKED, Answer(500))))


async def test_no_way_out() -> None:
    """Every host is the tape's server: nothing reaches the network."""
    elsewhere = replaying(tape([], []))
    http = await elsewhere.__aenter__()
    async with http.get("https://www.example.com/") as answer:
        assert answer.status == 501
    with pytest.raises(NotAsOnTape, match=r"GET https://www\.example\.com/: all that"):
        await elsewhere.__aexit__(None, None, None)
