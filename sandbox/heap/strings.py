"""What of the heap's text goes into a snapshot: the one place that decides it.

By default (`truncated`) no value of a customer does: of a text or bytes only
type and length are told, of a number only its type. Names stay, since the path
to a leak is made of them: of modules, classes, functions and attributes, and
those keys of dicts that look like a name in code, in dicts that are small
enough not to be an index of data. With `full`, texts, bytes, numbers and keys
are told as they are.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Literal

Policy = Literal["truncated", "full"]

#: Longest name of a class, function or attribute that is told whole.
MAX_NAME = 200
#: A dict with more keys is an index of data: no key of it is a name.
MAX_NAMED_KEYS = 256
#: Whole numbers as keys that are told: positions and status codes, no customer's number.
_MAX_INT_KEY = 10_000
#: What a key looks like that a programmer chose.
_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_.:/$-]{0,39}", re.ASCII)
_LONG_NUMBER = re.compile(r"[0-9]{5}", re.ASCII)
#: Different texts that a file may hold; past them new ones are masked.
_MAX_TEXTS = 4_000_000


class Strings:
    """The table of texts of one snapshot: text to its number, in the order of first use."""

    def __init__(self, policy: Policy) -> None:
        self.is_full = policy == "full"
        self.table: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a text that may be told."""
        number = self.table.get(text)
        if number is None:
            if len(self.table) >= _MAX_TEXTS:
                return self.number("<name left out>")
            number = self.table[text] = len(self.table)
        return number

    def name(self, text: object) -> str:
        """A name from code. Anything that cannot be one is masked."""
        if type(text) is not str:
            return f"<{_class_name(text)}>"
        if self.is_full or (len(text) <= MAX_NAME and text.isprintable()):
            return text
        return _masked(text)

    def attribute(self, text: object) -> str:
        """The name of an attribute, which `setattr` takes from anywhere."""
        if type(text) is str and (self.is_full or (len(text) <= MAX_NAME and text.isidentifier())):
            return text
        return f"<{_class_name(text)}>" if type(text) is not str else _masked(text)

    def key(self, key: object, size: int) -> str:
        """The subscript of an entry, with its brackets, in a dict of `size` entries."""
        kind = type(key)
        if kind is str:
            assert isinstance(key, str)
            if self.is_full or (size <= MAX_NAMED_KEYS and is_name_like(key)):
                return f"[{key!r}]"
            return f"[{_masked(key)}]"
        if kind is int:
            assert isinstance(key, int)
            return f"[{key}]" if self.is_full or abs(key) < _MAX_INT_KEY else "[<int>]"
        if key is None or kind is bool:
            return f"[{key}]"
        if is_instance(key, type):
            assert isinstance(key, type)
            return f"[<class {qualified(key)}>]"
        if self.is_full and (kind is bytes or kind is float):
            return f"[{key!r}]"
        return f"[<{_class_name(key)}>]"

    def value(self, value: str | bytes | float) -> int:
        """The number of what is told of a text, bytes or number."""
        if self.is_full:
            return self.number(value if isinstance(value, str) else repr(value))
        if isinstance(value, (str, bytes)):
            return self.number(f"<{type(value).__name__} of {_rounded(len(value))}>")
        return self.number(type(value).__name__)


def is_name_like(text: str) -> bool:
    """Whether a text looks like a name in code, and not like a value of a customer."""
    return _KEY.fullmatch(text) is not None and _LONG_NUMBER.search(text) is None


def plain(text: object) -> str:
    """A name that the program may have replaced by anything: a text of its own class has code."""
    return text if type(text) is str else "?"


def module_of(frame: types.FrameType) -> str:
    """The module that a frame runs in, by its globals."""
    return plain(dict.get(frame.f_globals, "__name__"))


def function_of(frame: types.FrameType) -> str:
    """`module.function` of a frame."""
    return f"{module_of(frame)}.{frame.f_code.co_qualname}"


def is_instance(value: object, kind: type) -> bool:
    """As `isinstance`, by identity: neither the object's `__class__` nor its classes are asked."""
    return any(each is kind for each in _MRO(type(value)))


def qualified(kind: type) -> str:
    """`module.Class`, `Class` alone for builtins. Runs no code of the class or its metaclass."""
    name: str = _QUALNAME(kind)
    try:
        module = _MODULE(kind)
    except AttributeError:
        module = None
    if type(module) is not str or module == "builtins":
        return name[:MAX_NAME]
    return f"{module}.{name}"[:MAX_NAME]


def _masked(text: str) -> str:
    return f"<str of {_rounded(len(text))}>"


def _rounded(length: int) -> int:
    """Lengths to three digits: enough to see what is large, and few different texts."""
    if length < 1000:
        return length
    unit = int(10 ** (len(str(length)) - 3))
    return length // unit * unit


def _class_name(value: object) -> str:
    return qualified(type(value))


_MRO: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_QUALNAME: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_MODULE: Callable[[type], object] = type.__dict__["__module__"].__get__
