"""The marker page says which batch and event runs, and that nothing does between two steps."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.marks import MarkerWriter, current_place
from sandbox.protocol import (
    BEATS,
    FORKED,
    MARK,
    MARKED_CONNECTIONS,
    MARKED_EVENTS,
    RUNNING,
    RawMark,
    mark_word,
    read_mark,
)


@pytest.fixture
async def page() -> MarkerWriter:
    """A page that the running loop's tasks are marked in."""
    page = MarkerWriter()
    asyncio.get_running_loop().set_task_factory(cast(Any, page.make_task))  # as in the worker
    return page


def marked(page: MarkerWriter) -> RawMark | None:
    return read_mark(page.words[MARK])


@given(
    st.integers(1, MARKED_CONNECTIONS),
    st.integers(0, 2**40),
    st.none() | st.integers(0, 2 * MARKED_EVENTS),
    st.booleans(),
)
def test_mark_reads_as_it_was_written(
    number: int, batch: int, event: int | None, is_running: bool
) -> None:
    """Connection, batch and event come back; an event that does not fit is none."""
    word = mark_word(number, batch, event) | (RUNNING if is_running else 0)
    assert 0 <= word < 2**64
    expected = event if event is not None and event < MARKED_EVENTS else None
    assert read_mark(word) == RawMark(number, batch & 0xFFFFFFFF, expected, is_running)


@given(st.integers(0, 2**64 - 1))
def test_any_word_can_be_read(word: int) -> None:
    """A destination may write what it wants into the page: it is a mark, or none."""
    read_mark(word)


async def test_a_fork_is_noted_with_the_step_that_makes_it(page: MarkerWriter) -> None:
    """What the worker forks for us, between steps, is nobody's, and hides nothing."""

    async def forks() -> None:
        page.at(7)
        page.forks()
        page.at(8)

    assert read_mark(page.words[FORKED]) is None
    current_place.set((3, 9))
    await asyncio.create_task(forks())
    asyncio.get_running_loop().call_soon(page.forks)
    await asyncio.sleep(0)
    assert read_mark(page.words[FORKED]) == RawMark(3, 9, 7, True)


async def test_steps_of_a_task_and_of_tasks_that_it_makes_are_marked(page: MarkerWriter) -> None:
    """In a step the page says running, after it the same and not running."""
    seen: list[RawMark | None] = []

    async def inner() -> None:
        page.at(4)
        await asyncio.sleep(0)
        seen.append(marked(page))

    async def outer() -> None:
        seen.append(marked(page))
        await asyncio.create_task(inner())
        seen.append(marked(page))

    assert marked(page) is None
    current_place.set((3, 9))
    await asyncio.create_task(outer())
    assert seen == [
        RawMark(3, 9, None, is_running=True),
        RawMark(3, 9, 4, is_running=True),
        RawMark(3, 9, None, is_running=True),
    ]
    assert marked(page) == RawMark(3, 9, None, is_running=False)
    assert page.step is None


async def test_tasks_of_nobody_are_not_marked(page: MarkerWriter) -> None:
    """What the worker does for itself leaves the page alone."""

    async def own() -> None:
        await asyncio.sleep(0)

    await asyncio.create_task(own())
    assert marked(page) is None


async def test_exceptions_and_cancellation_pass_through(page: MarkerWriter) -> None:
    """A marked coroutine raises, is cancelled and is printed like any other."""
    current_place.set((1, 1))

    async def raises() -> None:
        await asyncio.sleep(0)
        raise ValueError("no good")

    async def waits() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "cancelled"
        return "not"

    with pytest.raises(ValueError, match="no good"):
        await asyncio.create_task(raises())
    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    assert "waits" in repr(task)
    assert task.get_stack()
    task.cancel()
    assert await task == "cancelled"


def test_beats_count() -> None:
    """Each beat changes the page."""
    page = MarkerWriter()
    page.beat()
    page.beat()
    assert page.words[BEATS] == 2
