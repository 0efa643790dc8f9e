"""Somebody's own values in a tree of JSON: found by names and paths, then replaced. Pure.

Owns where a value counts as somebody's own, and that it is replaced wherever else it stands. Must
not know who looks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from supervisor.insight.json_text import (
    MAX_DEPTH,
    Members,
    NotJson,
    Number,
    Tree,
    string_of,
    text_of,
    tree_of,
)
from supervisor.insight.names import is_personal, normal
from supervisor.insight.shape import shape, shape_of_key, without_addresses

#: Shortest masked value that is also sought inside of other texts; a shorter one only where it is
#: all of a value, since every second word has it.
_SOUGHT_CHARS = 4
#: Masked values of an event that are sought elsewhere in it: most have a handful. Of one that has
#: more, all texts are masked.
_MOST_SOUGHT = 64
#: JSON within strings of JSON that is looked into, in levels.
_INNER = 2


class Sought:
    """Values that are masked wherever they stand, and what looks like an e-mail address."""

    def __init__(self, own: Sequence[str], *, finds_addresses: bool = True) -> None:
        self._finds_addresses = finds_addresses
        self.whole = {value.strip().casefold() for value in own}
        self._masks_all = len(own) > _MOST_SOUGHT
        forms = {
            form
            for value in own[:_MOST_SOUGHT]
            if len(value) >= _SOUGHT_CHARS
            for form in (value, quote(value, safe=""), quote_plus(value), string_of(value)[1:-1])
        }
        self._forms = sorted(forms, key=len, reverse=True)

    def is_own(self, text: str) -> bool:
        """Whether it is all masked, as it is elsewhere."""
        return self._masks_all or text.strip().casefold() in self.whole

    def without(self, text: str) -> str:
        """The text without them."""
        if not text or self.is_own(text):
            return shape(text)
        if len(text) >= _SOUGHT_CHARS:
            lower = text.lower()
            for form in self._forms:
                if form in text or form.lower() in lower:
                    text = re.sub(re.escape(form), "<masked>", text, flags=re.IGNORECASE)
        if self._finds_addresses and ("@" in text or "%40" in text):
            return without_addresses(text)
        return text


class _Steps(NamedTuple):
    """Where in the tree: `at` counts the steps of each path that were taken, -1: it is another."""

    at: tuple[int, ...]
    is_own: bool


_OWN = _Steps((), is_own=True)


class Masked:
    """The masked values of one tree: found first, then replaced.

    `paths` count from the root; `is_own` says of a name that it holds somebody's own, and
    `anywhere` are further such names.
    """

    def __init__(
        self,
        paths: Sequence[tuple[str, ...]],
        anywhere: frozenset[str] = frozenset(),
        is_own: Callable[[str], bool] = is_personal,
    ) -> None:
        self._paths = paths
        self._is_own = is_own
        self._anywhere = anywhere
        self._root = _Steps((0,) * len(paths), is_own=False)
        self._own: dict[str, None] = {}

    def found(self, tree: Tree) -> tuple[str, ...]:
        """The values, the longest first; one more than `_MOST_SOUGHT` where there are more."""
        self._own = {}
        self._find(tree, self._root, MAX_DEPTH, _INNER)
        return tuple(sorted(self._own, key=len, reverse=True))

    def replaced(self, tree: Tree, sought: Sought) -> Tree:
        """The tree without them, and without what is sought."""
        return self._replaced(tree, self._root, MAX_DEPTH, _INNER, sought)

    def _below(self, steps: _Steps, key: str) -> _Steps:
        if steps.is_own or self._is_own(key):
            return _OWN
        plain = normal(key) or key
        if plain in self._anywhere:
            return _OWN
        at = []
        for path, done in zip(self._paths, steps.at, strict=True):
            is_on = done >= 0 and path[done] in (plain, "*")
            if is_on and done + 1 == len(path):
                return _OWN
            at.append(done + 1 if is_on else -1)
        return _Steps(tuple(at), is_own=False)

    def _find(self, tree: Tree, steps: _Steps, depth: int, inner: int) -> None:
        match tree:
            case Members() if depth:
                for key, item in tree:
                    self._find(item, self._below(steps, key), depth - 1, inner)
            case list() if depth:
                for item in tree:
                    self._find(item, steps, depth - 1, inner)
            case Number() if len(tree) < _SOUGHT_CHARS:
                pass  # every other number is that one
            case str() if steps.is_own:
                if len(self._own) <= _MOST_SOUGHT and tree.strip():
                    self._own[tree.strip()] = None
            case str():
                if (within := _inner_tree(tree, inner)) is not None:
                    self._find(within, steps, depth, inner - 1)
            case _:
                pass

    def _replaced(self, tree: Tree, steps: _Steps, depth: int, inner: int, sought: Sought) -> Tree:
        match tree:
            case Members() if depth:
                return Members(
                    (
                        shape_of_key(key) if steps.is_own else sought.without(key),
                        self._replaced(item, self._below(steps, key), depth - 1, inner, sought),
                    )
                    for key, item in tree
                )
            case list() if depth:
                return [self._replaced(item, steps, depth - 1, inner, sought) for item in tree]
            case Members() | list() | None:
                return None
            case _ if steps.is_own:
                return shape(tree)
            case Number():
                return shape(tree) if sought.is_own(tree) else tree
            case str():
                if (within := _inner_tree(tree, inner)) is not None:
                    return text_of(self._replaced(within, steps, depth, inner - 1, sought))
                return sought.without(tree)
            case _:
                return tree


def _inner_tree(text: str, inner: int) -> Tree:
    """The tree of JSON within a string; None where there is none."""
    if not inner or not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return tree_of(text)
    except NotJson:
        return None
