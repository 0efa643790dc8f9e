"""Nothing that is raised anywhere ends the worker, and each is told with its connection."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from sandbox.containment import Containment
from sandbox.marks import MarkerWriter, current_place


class Over(Exception):
    """The test has seen what it wanted."""


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    """The hooks are the process's; it gets them back."""
    before = sys.unraisablehook, threading.excepthook
    yield
    sys.unraisablehook, threading.excepthook = before
    asyncio.set_event_loop(None)


def strays_of(begin: Callable[[], Any]) -> list[tuple[int, str, str]]:
    """Run `begin` in a task of connection 3; what was told until one was, and a little more."""
    strays: list[tuple[int, str, str]] = []

    def unhandled(number: int, what: str, error: BaseException | None) -> None:
        strays.append((number, what, repr(error)))

    async def habit() -> None:
        begin()
        await asyncio.sleep(0)

    async def main() -> NoReturn:
        token = current_place.set((3, 9))
        kept = asyncio.create_task(habit())
        current_place.reset(token)
        while not strays:
            await asyncio.sleep(0)
            gc.collect()
        await asyncio.wait([kept])
        raise Over

    with pytest.raises(Over):
        Containment(MarkerWriter(), unhandled).run(main())
    return strays


def fails() -> None:
    raise ValueError("left behind")


async def fails_later() -> None:
    fails()


class Bomb:
    """Raises when it is collected."""

    def __del__(self) -> None:
        fails()


class Stubborn:
    """A coroutine's frame with it does not want to be closed."""

    async def wait(self) -> None:
        try:
            await asyncio.sleep(3600)
        except GeneratorExit:
            await asyncio.sleep(1)


def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def close_stubborn() -> None:
    coro = Stubborn().wait()
    coro.send(None)
    del coro


@pytest.mark.parametrize(
    ("begin", "word"),
    [
        (lambda: loop().call_soon(fails), "ValueError"),
        (lambda: loop().call_later(0.001, fails), "ValueError"),
        (lambda: loop().call_soon(sys.exit, 3), "SystemExit(3)"),
        (lambda: loop().call_soon(_raise, KeyboardInterrupt()), "KeyboardInterrupt"),
        (lambda: loop().call_soon(_raise, GeneratorExit()), "GeneratorExit"),
        (lambda: loop().create_task(fails_later()) and None, "ValueError"),
        (lambda: loop().stop(), "RuntimeError"),
        (lambda: Bomb() and None, "ValueError"),
        (lambda: threading.Thread(target=fails).start(), "ValueError"),
        (close_stubborn, "RuntimeError"),
    ],
    ids=[
        *("callback", "timer", "exit", "interrupt", "generator exit", "task", "stop", "del"),
        *("thread", "unclosable"),
    ],
)
def test_whatever_is_raised_is_told_and_the_loop_goes_on(
    begin: Callable[[], object], word: str
) -> None:
    """From a callback, a task, a thread or `__del__`: it is told under the connection's number."""
    strays = strays_of(begin)
    assert any(word in error for _, _, error in strays), strays
    assert {number for number, _, _ in strays} == {3}


def test_hooks_cannot_be_replaced() -> None:
    """A destination that sets its own exception handler hides nothing."""

    def begin() -> None:
        loop().set_exception_handler(lambda *_: None)
        loop().set_task_factory(None)
        loop().call_soon(fails)

    assert strays_of(begin)


def _raise(error: BaseException) -> None:
    raise error
