"""One object of every shape that a snapshot must be able to name."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
import weakref
from collections import defaultdict, deque
from dataclasses import dataclass


class Box:
    def __init__(self, body: object) -> None:
        self.body = body


class Garbage:
    def __init__(self) -> None:
        self.me = self


class Slotted:
    __slots__ = ("unset", "value")

    def __init__(self, value: object) -> None:
        self.value = value


@dataclass(frozen=True, slots=True)
class Frozen:
    value: object


class Named(dict[str, object]):
    pass


class Evil:
    """Everything that a careless walk would call; the test would see the file."""

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(3)

    def __len__(self) -> int:
        raise SystemExit(3)

    def __iter__(self) -> None:
        raise SystemExit(3)

    def __repr__(self) -> str:
        raise SystemExit(3)

    def __sizeof__(self) -> int:
        raise SystemExit(3)

    def __eq__(self, other: object) -> bool:
        raise SystemExit(3)

    def __hash__(self) -> int:
        return 1


class Meta(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]  # as hostile as it gets
        raise SystemExit(3)


class Odd(metaclass=Meta):
    pass


TEXT = "ann@example.com, a customer's own words"
CACHE = {"x": [None, None, None, Box([TEXT])]}
PEOPLE = {"ann@example.com": Box(1_000_001), "plan": Box(None), 7: Box(None), 123456789: Box(None)}
INDEX = {f"user{number}": Box(number) for number in range(300)}
SLOTTED = Slotted(Box("slot"))
FROZEN = Frozen(Box("frozen"))
NAMED = Named(inner=Box("named"))
FACTORY = defaultdict(list, {"rows": [Box("row")]})
RING = deque([Box("ring")])
SEEN = {Box("item")}
EVIL = Evil()
ODD = Odd()
WATCHED = Box("watched")
WATCH = weakref.ref(WATCHED)
VARIABLE: contextvars.ContextVar[object] = contextvars.ContextVar("request")
LOCAL = threading.local()


def closure() -> object:
    kept = Box("kept")

    def inner() -> object:
        return kept

    return inner


CLOSURE = closure()


@functools.lru_cache(maxsize=10)
def lookup(key: str) -> Box:
    return Box(key)


async def waits() -> None:
    held = Box("held by a coroutine")
    await forever(held)


async def forever(held: object) -> None:
    await asyncio.Event().wait()


def raises() -> None:
    trapped = Box("in a traceback")
    raise ValueError(trapped)


TASKS: set[asyncio.Task[None]] = set()
ERROR: BaseException | None = None


def other_thread(ready: threading.Event) -> None:
    LOCAL.value = Box("local to a thread")
    on_stack = Box("on the stack of a thread")
    ready.set()
    threading.Event().wait()
    del on_stack


async def main() -> None:
    global ERROR
    VARIABLE.set(Box("in a context"))
    lookup("key")
    try:
        raises()
    except ValueError as error:
        ERROR = error
    gc.disable()
    Garbage()
    TASKS.add(asyncio.get_running_loop().create_task(waits()))
    ready = threading.Event()
    threading.Thread(target=other_thread, args=(ready,), daemon=True).start()
    ready.wait()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
