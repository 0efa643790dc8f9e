"""The language of mappings: from text to a tree, or an error with its column. Pure.

`README.md` has the grammar. Small on purpose, and total: no loops, no time, no state; a text is at
most `MOST_CHARS` long and its tree `MOST_NODES` large, `MOST_DEPTH` deep.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from destinations.kit.mapping.functions import ACCESSORS, FUNCTIONS
from destinations.kit.numbers import amount

MOST_CHARS = 4000
MOST_NODES = 400
MOST_DEPTH = 24

Constant = str | float | int | bool


class MappingError(ValueError):
    """An expression is none; the text says where, and what is wanted there."""


@dataclass(frozen=True, slots=True)
class Path:
    """A value of the event. An `accessor` of the kit, or a path from the event's own root."""

    segments: tuple[str, ...]
    accessor: str | None = None


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: Constant


@dataclass(frozen=True, slots=True)
class Template:
    """Text with values in it."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class FirstOf:
    """The first of several that has a value."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function of values."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One or the other, by a condition; nothing where the condition fails and there is no other."""

    condition: Condition
    then: Node
    otherwise: Node | None


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether there is a value."""

    node: Node


@dataclass(frozen=True, slots=True)
class Among:
    """Whether a value is one of some constants."""

    node: Node
    constants: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Whether a number is above (`>`, `>=`) or below another."""

    node: Node
    sign: str
    other: Node


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Both:
    """All of them, or with `is_any` one of them."""

    conditions: tuple[Condition, ...]
    is_any: bool


Node = Path | Literal | Template | FirstOf | FunctionCall | Choice
Condition = Exists | Among | Compared | Not | Both

_KEYWORDS = frozenset("if then else and or not is in exists true false".split())  # noqa: SIM905 - words
_SEGMENT = r"(?:[\w$][\w$:#/-]*|\"[^\"]+\"|'[^']+')"
_TOKEN = re.compile(
    r"(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<number>-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?![\w.]))"
    rf"|(?P<path>@?[^\W\d][\w$:#/-]*(?:\.{_SEGMENT})*|\$[\w$:#/-]*(?:\.{_SEGMENT})*)"
    r"|(?P<mark>\?\?|>=|<=|[(),<>])",
    re.DOTALL,
)
_BLANK = re.compile(r"\s*")
_ONE_SEGMENT = re.compile(_SEGMENT)
_ESCAPES = {"n": "\n", "t": "\t"}


@lru_cache(maxsize=4096)  # a destination's defaults are those of each of its connections
def parse(text: str) -> Node:
    """The tree of an expression. Raises MappingError."""
    if len(text) > MOST_CHARS:
        raise MappingError(f"has {len(text)} characters; at most {MOST_CHARS} are taken")
    return _Parser(text, 0, _Budget()).whole()


@dataclass(slots=True)
class _Budget:
    """What is left of the nodes that one expression may have."""

    nodes: int = MOST_NODES


class _Parser:
    def __init__(self, text: str, offset: int, budget: _Budget, depth: int = 0) -> None:
        self._text = text
        self._offset = offset
        self._budget = budget
        self._depth = depth
        self._at = 0
        self._kind = ""
        self._token = ""
        self._next = 0
        self._step()

    def whole(self) -> Node:
        node = self._expression()
        if self._kind != "end":
            raise self._error("the end, ?? or a condition's word")
        return node

    # --- tokens ---

    def _step(self) -> None:
        at = self._at = _BLANK.match(self._text, self._next).end()  # type: ignore[union-attr] # matches always
        if at == len(self._text):
            self._kind, self._token, self._next = "end", "", at
            return
        found = _TOKEN.match(self._text, at)
        if found is None:
            what = (
                "a text that ends with its quote" if self._text[at] in "'\"" else "a path or text"
            )
            self._kind, self._token = "unknown", self._text[at]
            raise self._error(what)
        self._kind, self._token, self._next = str(found.lastgroup), found.group(), found.end()
        if self._kind == "path" and self._token in _KEYWORDS:
            self._kind = "word"

    def _error(self, wanted: str) -> MappingError:
        got = "it ends" if self._kind == "end" else f"there is {self._token[:40]!r}"
        return self._error_at(self._at, f"{wanted} is wanted, and {got}")

    def _error_at(self, at: int, what: str) -> MappingError:
        return MappingError(f"column {self._offset + at + 1}: {what}")

    def _is(self, *tokens: str) -> bool:
        return self._kind in ("word", "mark") and self._token in tokens

    def _take(self, *tokens: str) -> bool:
        if self._is(*tokens):
            self._step()
            return True
        return False

    def _want(self, token: str) -> None:
        if not self._take(token):
            raise self._error(f'"{token}"')

    def _deeper(self) -> None:
        self._depth += 1
        self._budget.nodes -= 1
        if self._depth > MOST_DEPTH or self._budget.nodes < 0:
            raise self._error_at(self._at, "the expression is too large or too deep here")

    # --- expressions ---

    def _expression(self) -> Node:
        self._deeper()
        node: Node
        if self._take("if"):
            condition = self._condition()
            self._want("then")
            then = self._expression()
            node = Choice(condition, then, self._expression() if self._take("else") else None)
        else:
            nodes = [self._value()]
            while self._take("??"):
                nodes.append(self._value())
            node = nodes[0] if len(nodes) == 1 else FirstOf(tuple(nodes))
        self._depth -= 1
        return node

    def _value(self) -> Node:
        if self._take("("):
            node = self._expression()
            self._want(")")
            return node
        return self._operand()

    def _operand(self) -> Node:
        self._deeper()
        node: Node
        if self._kind == "text":
            node = self._template(self._token[1:-1], self._at + 1)
            self._step()
        elif self._kind == "number" or self._is("true", "false"):
            node = Literal(self._constant())
        elif self._kind == "path":
            name = self._token
            after = _BLANK.match(self._text, self._next).end()  # type: ignore[union-attr] # matches always
            node = self._call(name) if self._text[after : after + 1] == "(" else self._path(name)
        else:
            raise self._error("a path, a text or a number")
        self._depth -= 1
        return node

    def _path(self, text: str) -> Path:
        is_accessor = text.startswith("@")
        segments = tuple(
            part[1:-1] if part[0] in "'\"" else part
            for part in _ONE_SEGMENT.findall(text[1:] if is_accessor else text)
        )
        if is_accessor and segments[0] not in ACCESSORS:
            known = ", ".join(sorted(ACCESSORS))
            raise self._error_at(self._at, f"there is no @{segments[0][:40]}; there are {known}")
        self._step()
        return Path(segments[1:], segments[0]) if is_accessor else Path(segments)

    def _call(self, name: str) -> FunctionCall:
        function = FUNCTIONS.get(name)
        if function is None:
            known = ", ".join(FUNCTIONS)
            raise self._error_at(self._at, f"there is no function {name[:40]}; there are {known}")
        at = self._at
        self._step()
        self._want("(")
        arguments = [self._expression()]
        while self._take(","):
            arguments.append(self._expression())
        self._want(")")
        if len(arguments) != function.arguments:
            plural = "s" if function.arguments > 1 else ""
            raise self._error_at(
                at, f"{name} takes {function.arguments} argument{plural}, not {len(arguments)}"
            )
        return FunctionCall(name, tuple(arguments))

    def _constant(self) -> Constant:
        value: Constant
        if self._kind == "number":
            value = float(self._token) if "." in self._token else int(self._token)
        elif self._kind == "text":
            node = self._template(self._token[1:-1], self._at + 1)
            if not (isinstance(node, Literal)):
                raise self._error("a text without values in it")
            value = node.value
        elif self._is("true", "false"):
            value = self._is("true")
        else:
            raise self._error("a text in quotes, a number, true or false")
        self._step()
        return value

    def _template(self, body: str, at: int) -> Node:
        parts: list[Node] = []
        plain: list[str] = []
        index = 0
        while index < len(body):
            character = body[index]
            if character == "\\":
                index += 1
                plain.append(_ESCAPES.get(body[index], body[index]))
            elif character == "{":
                end = body.find("}", index)
                if end < 0:
                    raise self._error_at(
                        at + index, '"{" has no "}" after it; a brace itself is "\\{"'
                    )
                if plain:
                    parts.append(Literal("".join(plain)))
                    plain = []
                inner = _Parser(
                    body[index + 1 : end], self._offset + at + index + 1, self._budget, self._depth
                )
                parts.append(inner.whole())
                index = end
            else:
                plain.append(character)
            index += 1
        if not parts:
            return Literal("".join(plain))
        if plain:
            parts.append(Literal("".join(plain)))
        return Template(tuple(parts))

    # --- conditions ---

    def _condition(self) -> Condition:
        self._deeper()
        every = [self._all()]
        while self._take("or"):
            every.append(self._all())
        self._depth -= 1
        return every[0] if len(every) == 1 else Both(tuple(every), is_any=True)

    def _all(self) -> Condition:
        every = [self._test()]
        while self._take("and"):
            every.append(self._test())
        return every[0] if len(every) == 1 else Both(tuple(every), is_any=False)

    def _test(self) -> Condition:
        self._deeper()
        condition: Condition
        if self._take("not"):
            condition = Not(self._test())
        elif self._take("("):
            condition = self._condition()
            self._want(")")
        else:
            condition = self._comparison(self._operand())
        self._depth -= 1
        return condition

    def _comparison(self, node: Node) -> Condition:
        if self._take("exists"):
            return Exists(node)
        if self._take("is"):
            is_not = self._take("not")
            among = Among(node, (self._constant(),))
            return Not(among) if is_not else among
        if self._take("in"):
            self._want("(")
            constants = [self._constant()]
            while self._take(","):
                constants.append(self._constant())
            self._want(")")
            return Among(node, tuple(constants))
        if self._is(">", ">=", "<", "<="):
            sign = self._token
            self._step()
            other = self._operand()
            if isinstance(other, Literal) and amount(other.value) is None:
                raise self._error("a number before this")
            return Compared(node, sign, other)
        raise self._error('"is", "in", "exists" or a comparison')
