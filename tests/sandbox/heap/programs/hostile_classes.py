"""Classes and instances that answer whoever asks them, with code of their own."""

from __future__ import annotations

import sys
import types
from typing import Any

_ARMED: list[bool] = []


def _told(plain: Any) -> Any:  # Any: each has the signature of what it stands for
    """`plain` until the trap is set; then whoever calls is told of, and the process ended."""

    def answer(*given: object, **named: object) -> object:
        if _ARMED:
            print(f"asked from {sys._getframe(1).f_code.co_filename}", flush=True)
            raise SystemExit(3)
        return plain(*given, **named)

    return answer


class Meta(type):
    __name__ = property(_told(type.__dict__["__name__"].__get__))
    __module__ = property(_told(lambda kind: "hostile_classes"))
    __bases__ = property(_told(type.__dict__["__bases__"].__get__))
    __getattribute__ = _told(type.__getattribute__)
    __hash__ = _told(type.__hash__)
    __eq__ = _told(type.__eq__)
    __repr__ = _told(type.__repr__)
    __instancecheck__ = _told(type.__instancecheck__)
    __subclasscheck__ = _told(type.__subclasscheck__)
    __dir__ = _told(type.__dir__)


class Hostile(metaclass=Meta):
    def __init__(self, body: object) -> None:
        self.body = body

    __getattribute__ = _told(object.__getattribute__)
    __hash__ = _told(object.__hash__)
    __eq__ = _told(object.__eq__)
    __repr__ = _told(object.__repr__)
    __class__ = property(_told(lambda self: int))


class HostileList(list[object], metaclass=Meta):
    __len__ = _told(list.__len__)
    __iter__ = _told(list.__iter__)


class HostileDict(dict[object, object], metaclass=Meta):
    __len__ = _told(dict.__len__)
    __iter__ = _told(dict.__iter__)
    __getitem__ = _told(dict.__getitem__)


HELD = [Hostile([number]) for number in range(300)]
LISTS = [HostileList([number]) for number in range(10)]
DICTS = [HostileDict(x=number) for number in range(10)]
INDEX = {Hostile([0]): Hostile([1]), Hostile: 1}


async def main() -> None:
    """Set the trap, with one where modules stand."""
    fake = types.SimpleNamespace(held=Hostile([2]))
    sys.modules["hostile_module"] = fake  # type: ignore[assignment]  # as hostile as it gets
    sys.modules["hostile_instance"] = Hostile([3])  # type: ignore[assignment]  # the same
    _ARMED.append(True)
