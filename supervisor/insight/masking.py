"""What of an event, a request, an answer or a reason somebody sees. Pure.

Owns the sights and what each leaves of a value: shapes alone (a viewer), all but what is
somebody's own (an operator, by default), or all. Everything that shows a value asks here. Bounded:
what is larger than `json_text.MAX_BYTES` is shown as its length.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from urllib.parse import parse_qsl, quote, unquote_plus

from supervisor.insight.json_text import NotJson, Tree, string_of, text_of, tree_of
from supervisor.insight.masked import Masked, Sought
from supervisor.insight.names import is_personal, is_plain_key, is_secret, normal
from supervisor.insight.shape import public_name, shape, shape_of, shape_of_key

__all__ = ["Masking", "Sight", "public_name", "shape", "shape_of", "shape_of_key"]


#: Where senders put their key into a body. All else of an event is shown as it was written.
_WRITE_KEY = re.compile(r'("writeKey"\s*:\s*")(?:[^"\\]|\\.)*')


class Sight(Enum):
    """How much of a value somebody sees."""

    SHAPES = "shapes"
    MASKED = "masked"
    FULL = "full"
    NOTHING = "none"


class Masking:
    """By the settings of the console: `payloads` is "masked", "full" or "none".

    `paths` are dotted paths from an event's root, in any case style, `*` for any one key; arrays
    are no step of a path. `key` tells texts apart that are shown as their hash: without it, nobody
    can try which text it was.
    """

    def __init__(self, payloads: str, paths: Sequence[str], key: bytes) -> None:
        self._operators = Sight(payloads)
        self._paths = tuple(tuple(normal(s) or s for s in path.split(".")) for path in paths)
        # Partners' bodies are built in their own ways, and mostly of the events' own names.
        self._last_steps = frozenset(path[-1] for path in self._paths) - {"*"}
        self._key = key
        rules = "\0".join((payloads, *sorted(paths)))
        self.rules = hashlib.blake2b(rules.encode(), digest_size=16).digest()
        """Tells these settings from others."""

    def sight(self, *, is_operator: bool) -> Sight:
        """What a caller of this role sees."""
        if self._operators is Sight.NOTHING:
            return Sight.NOTHING
        return self._operators if is_operator else Sight.SHAPES

    def event(self, body: str | bytes, sight: Sight) -> str | None:
        """An event's JSON text as it may be seen; None where nothing may."""
        match sight:
            case Sight.NOTHING:
                return None
            case Sight.SHAPES:
                return shape_of(body)
            case Sight.FULL | Sight.MASKED:
                return self._seen(body, sight)

    def message(self, body: str | bytes, sight: Sight, own: Sequence[str] = ()) -> str | None:
        """The same of a request's or an answer's body, which may be a form.

        `own` are values that are masked wherever they stand: what `own_values` has found in the
        event that it is about. What is named like a secret is left out even in full.
        """
        match sight:
            case Sight.NOTHING:
                return None
            case Sight.SHAPES:
                return shape_of(body)
            case Sight.FULL | Sight.MASKED:
                hidden = self._hidden(sight, own)
        try:
            tree = tree_of(body)
        except NotJson as error:
            form = _form_of(body)
            seen = self._hashed(body, str(error)) if form is None else hidden.form(form)
            return string_of(seen)
        return hidden.tree(tree)

    def own_values(self, event: str | bytes) -> tuple[str, ...]:
        """What of an event is masked: texts and numbers, the longest first."""
        try:
            return Masked(self._paths).found(tree_of(event))
        except NotJson:
            return ()

    def text(self, text: str, sight: Sight, own: Sequence[str] = ()) -> str | None:
        """A line of free text, a partner's reason say; None where nothing of it may be seen."""
        match sight:
            case Sight.NOTHING | Sight.SHAPES:
                return None
            case Sight.MASKED:
                return Sought(own).without(text)
            case Sight.FULL:
                return text

    def url(self, url: str, sight: Sight, own: Sequence[str] = ()) -> str | None:
        """A URL: with values of its query by their names; None where nothing of it may be seen."""
        match sight:
            case Sight.NOTHING | Sight.SHAPES:
                return None
            case Sight.FULL | Sight.MASKED:
                hidden = self._hidden(sight, own)
        base, mark, query = url.partition("?")
        return hidden.sought.without(base) + mark + (hidden.form(query) if mark else "")

    def headers(
        self, headers: Mapping[str, str], sight: Sight, own: Sequence[str] = ()
    ) -> dict[str, str]:
        """Headers: with values by their names; empty where nothing of them may be seen."""
        match sight:
            case Sight.NOTHING | Sight.SHAPES:
                return {}
            case Sight.FULL | Sight.MASKED:
                hidden = self._hidden(sight, own)
        return {name: hidden.named(name, value) for name, value in headers.items()}

    def _seen(self, body: str | bytes, sight: Sight) -> str:
        try:
            tree = tree_of(body)
        except NotJson as error:
            return string_of(self._hashed(body, str(error)))
        if sight is Sight.FULL:
            text = body.decode() if isinstance(body, bytes) else body
            return _WRITE_KEY.sub(r"\1(secret)", text)
        masked = Masked(self._paths)
        return text_of(masked.replaced(tree, Sought(masked.found(tree))))

    def _hidden(self, sight: Sight, own: Sequence[str]) -> _Hidden:
        if sight is Sight.FULL:
            return _Hidden((), frozenset(), is_secret)
        return _Hidden(own, self._last_steps, is_personal)

    def _hashed(self, body: str | bytes, what: str) -> str:
        raw = body if isinstance(body, bytes) else body.encode("utf-8", "replace")
        told = hashlib.blake2b(raw, digest_size=8, key=self._key).hexdigest()
        return f"<{what}, {len(raw)} bytes, hash {told}>"


def _form_of(body: str | bytes) -> str | None:
    """A body of `name=value&...`, as forms are sent; None where it is none."""
    try:
        text = body if isinstance(body, str) else body.decode()
        pairs = parse_qsl(text, strict_parsing=True, max_num_fields=200) if text.isascii() else []
    except ValueError:
        return None
    return text if pairs and all(is_plain_key(name) for name, _ in pairs) else None


class _Hidden:
    """What is masked of a request and its answer: by names, and by values."""

    def __init__(
        self, own: Sequence[str], anywhere: frozenset[str], is_own: Callable[[str], bool]
    ) -> None:
        self._own = own
        self._anywhere = anywhere
        self._is_own = is_own
        self._finds_addresses = is_own is is_personal
        self.sought = Sought(own, finds_addresses=self._finds_addresses)

    def named(self, name: str, value: str) -> str:
        """The value of a field."""
        if self._is_own(name) or normal(name) in self._anywhere:
            return shape(value)
        return self.sought.without(value)

    def form(self, form: str) -> str:
        """`name=value&...`, byte for byte where nothing is masked."""
        pairs = []
        for pair in form.split("&"):
            name, equals, value = pair.partition("=")
            given = unquote_plus(value)
            seen = self.named(unquote_plus(name), given)
            shown = value if seen == given else _readable(seen)
            pairs.append(f"{self.sought.without(name)}{equals}{shown}")
        return "&".join(pairs)

    def tree(self, tree: Tree) -> str:
        """JSON text of a tree."""
        masked = Masked((), self._anywhere, self._is_own)
        own = (*self._own, *masked.found(tree))
        return text_of(masked.replaced(tree, Sought(own, finds_addresses=self._finds_addresses)))


def _readable(text: str) -> str:
    """A value of a form, with what shapes are made of left as it is."""
    return quote(text, safe="<>@ ").replace(quote("…"), "…")
