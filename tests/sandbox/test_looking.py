"""Profiles and tasks of a process, as text."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox import profiler, tasks


@contextmanager
def spinning(name: str) -> Iterator[None]:
    """A thread that never rests."""
    stop = threading.Event()

    def spin_here() -> None:
        while not stop.is_set():
            pass

    thread = threading.Thread(target=spin_here, name=name)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_profile_shows_who_spins() -> None:
    """The function that takes the time stands innermost, under its thread's name."""
    with spinning("spinner"):
        text = profiler.profile("collapsed", 0.2, 0.005)
    lines = [line for line in text.splitlines() if line.startswith("spinner;")]
    assert lines
    assert any("spin_here" in line.rpartition(";")[2] or "is_set" in line for line in lines)
    assert all(line.rpartition(" ")[2].isdigit() for line in lines)


def test_a_speedscope_file_adds_up() -> None:
    """Every sample has a weight, frames are known, and a thread's weights are its time."""
    with spinning("spinner"):
        file = json.loads(profiler.profile("speedscope", 0.2, 0.005))
    frames = file["shared"]["frames"]
    spinner = next(one for one in file["profiles"] if one["name"] == "spinner")
    assert spinner["unit"] == "seconds"
    assert len(spinner["samples"]) == len(spinner["weights"])
    assert all(0 <= frame < len(frames) for stack in spinner["samples"] for frame in stack)
    assert abs(sum(spinner["weights"]) - spinner["endValue"]) < 1e-6
    assert any("spin_here" in frame["name"] for frame in frames)


async def test_a_task_tells_its_chain_of_awaits() -> None:
    """Outermost first, down to what it waits for."""
    never = asyncio.Event()

    async def inner() -> None:
        await never.wait()

    async def outer() -> None:
        await inner()

    task = asyncio.create_task(outer(), name="the one that hangs")
    await asyncio.sleep(0)
    chain = list(tasks.chain(task))
    assert [line.split(" at ")[0].rpartition(".")[2] for line in chain[:3]] == [
        "outer",
        "inner",
        "wait",
    ]
    assert "await inner()" in chain[0]
    assert chain[-1] == "waits for a Future"
    assert "the one that hangs\n" in tasks.text()
    task.cancel()


async def test_a_task_that_waits_for_a_task_says_which() -> None:
    """So that the chain can be followed on."""
    slow = asyncio.create_task(asyncio.sleep(60), name="slow")

    async def waits() -> None:
        await slow

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    assert list(tasks.chain(task))[-1] == "waits for task slow"
    task.cancel()
    slow.cancel()
