"""Fields by expressions: what each form of an expression gives, and what is said of a wrong one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destinations.kit import Event, MappedSettings, MappingTable
from destinations.kit.loading import settings_errors
from destinations.kit.mapping.evaluation import Scope, evaluator
from destinations.kit.mapping.functions import FUNCTIONS, MOST_TEXT
from destinations.kit.mapping.grammar import MappingError, Node, parse
from destinations.kit.mapping.table import mapping_errors
from tests.harness import linear
from tests.harness.vendors import event_of

PAGE = Path(__file__).parents[3] / "destinations" / "kit" / "mapping" / "README.md"
EVENT: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "userId": "u1",
    "timestamp": "2026-01-02T03:04:05.678Z",
    "properties": {
        "order_id": "o-1",
        "id": 77,
        "total": "1,200.50",
        "Plan Name": "pro",
        "totalValue": 3,
        "with.dot": 4,
        "flag": True,
        "blank": " ",
        "born": "1990-05-06T23:30:00+02:00",
        "products": [{"sku": "a", "price": 2}, {"SKU": "b"}],
        "order": {"Line Items": {"count": 2}},
        "if": "word",
    },
    "context": {
        "ip": "1.2.3.4",
        "traits": {"email": " Ann@Example.com ", "tags": ["x", 2]},
        "campaign": {"utm_source": "news"},
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
    },
}


def given_by(expression: str, **fields: Any) -> Any:  # Any: JSON
    """What an expression gives for the event."""
    return evaluator(parse(expression))(Scope(event_of(**{**EVENT, **fields})))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # paths, in any case style
        *[("userId", "u1"), ("user_id", "u1"), ("event", "Order Completed")],
        *[("properties.order_id", "o-1"), ("properties.orderId", "o-1")],
        *[("PROPERTIES.plan_name", "pro"), ('properties."Plan Name"', "pro")],
        *[("properties.total_value", 3), ("properties.with.dot", 4), ("properties.none", None)],
        *[("properties.order.line_items.count", 2), ("properties.products.1.sku", "b")],
        *[("properties.products.7.sku", None), ("properties.flag.deeper", None)],
        *[("traits.tags", ["x", 2]), ("context.ip", "1.2.3.4"), ("options.ip", "1.2.3.4")],
        *[("properties.if", "word"), ('properties."if"', "word"), ("nothing", None)],
        # the kit's answers
        *[("@order_id", "o-1"), ("@worth", 1200.5), ("@email", "Ann@Example.com")],
        *[("@campaign.source", "news"), ("@browser.name", "Firefox"), ("@browser.nothing", None)],
        # constants
        *[("'pro'", "pro"), ('"pro"', "pro"), ("5", 5), ("-1.5", -1.5), ("true", True)],
        *[("false", False), ("''", ""), (r"'it\'s \{\\\n'", "it's {\\\n")],
        # templates
        *[("'Order {properties.order_id}!'", "Order o-1!"), ("'{properties.flag}'", "true")],
        *[("'{properties.id}/{context.ip}'", "77/1.2.3.4"), ("'a {properties.none}'", None)],
        *[("'a {properties.none ?? \"b\"}'", "a b"), ("'{lower(@email)}'", "ann@example.com")],
        # the first that is there
        *[("properties.none ?? properties.blank ?? userId", "u1"), ("properties.none ?? 0", 0)],
        *[("(properties.none ?? 'x')", "x"), ("properties.none ?? properties.nothing", None)],
        # conditions
        *[("if type is 'track' then 1 else 2", 1), ("if type is 'page' then 1 else 2", 2)],
        *[("if type is 'page' then 1", None), ("if event is 'order_completed' then 1", 1)],
        *[("if event in ('x', 'orderCompleted') then 1", 1), ("if event is not 'x' then 1", 1)],
        *[("if userId is 'U1' then 1 else 2", 2), ("if properties.id is '77' then 1", 1)],
        *[("if properties.total is 1200.5 then 1", 1), ("if properties.flag is true then 1", 1)],
        *[("if properties.flag is 1 then 1 else 2", 2), ("if properties.id is true then 1", None)],
        *[("if properties.blank exists then 1 else 2", 2), ("if userId exists then 1", 1)],
        *[("if not userId exists then 1 else 2", 2), ("if properties.total > 1000 then 1", 1)],
        *[("if properties.total <= 1000 then 1 else 2", 2), ("if userId > 1 then 1 else 2", 2)],
        *[("if userId is 'x' or type is 'track' and event exists then 1", 1)],
        *[("if (userId is 'x' or type is 'track') and event is 'x' then 1 else 2", 2)],
        *[("if type is 'page' then 1 else if type is 'track' then 2", 2)],
        # functions
        *[("text(properties.total)", "1,200.50"), ("text(2)", "2"), ("text(2.50)", "2.5")],
        *[("text(properties.flag)", "true"), ("json(traits.tags)", '["x",2]')],
        *[("text(traits.tags)", '["x",2]'), ("number(properties.total)", 1200.5)],
        *[("integer('2.9')", 2), ("integer('1,200')", None), ("boolean('Yes')", True)],
        *[("boolean(0)", False), ("boolean('maybe')", None), ("lower('ÄB')", "äb")],
        *[("upper('ab')", "AB"), ("trim(' a ')", "a"), ("trim(' ')", None)],
        *[("cut('abc', 2)", "ab"), ("cut('abc', 'x')", None), ("seconds(timestamp)", 1767323045)],
        *[("milliseconds(@timestamp)", 1767323045678), ("iso(0)", "1970-01-01T00:00:00.000Z")],
        *[("date(properties.born)", "1990-05-06"), ("seconds('soon')", None)],
        *[("join(traits.tags, ', ')", "x, 2"), ("join('x', ', ')", None)],
        *[("each(@products, 'sku')", ["a", "b"]), ("join(each(@products, 'sku'), '|')", "a|b")],
        *[("each(@products, 'none')", None), ("text(properties.none)", None)],
        *[("sha256('hello')", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")],
    ],
)  # fmt: skip
def test_expressions(expression: str, expected: object) -> None:
    """An expression gives a value of the event, a constant or text, or no value."""
    found = given_by(expression)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("", "column 1: a path, a text or a number is wanted, and it ends"),
        ("traits.", "column 7: a path or text is wanted, and there is '.'"),
        ("traits.plan plan", "column 13: the end, ?? or a condition's word is wanted"),
        ("'open", 'column 1: a text that ends with its quote is wanted, and there is "\'"'),
        ("traits.plan | 'x'", "column 13: a path or text is wanted, and there is '|'"),
        ("'{traits.plan'", 'column 2: "{" has no "}" after it; a brace itself is "\\{"'),
        ("'a {traits. }'", "column 11: "),
        ("@mail", "column 1: there is no @mail; there are "),
        ("first(traits.a)", "column 1: there is no function first; there are text, "),
        ("cut(traits.a)", "column 1: cut takes 2 arguments, not 1"),
        ("text(1, 2)", "column 1: text takes 1 argument, not 2"),
        ("if type then 1", 'column 9: "is", "in", "exists" or a comparison is wanted'),
        ("if type is track then 1", "column 12: a text in quotes, a number, true or false is "),
        ("if type is '{event}' then 1", "column 12: a text without values in it is wanted"),
        ("if type is 'a'", 'column 15: "then" is wanted, and it ends'),
        ("if type in 'a' then 1", 'column 12: "(" is wanted'),
        ("(traits.a", 'column 10: ")" is wanted, and it ends'),
        ("else", "column 1: a path, a text or a number is wanted, and there is 'else'"),
        ("(" * 50, "the expression is too large or too deep here"),
        ("a ?? " * 500 + "a", "the expression is too large or too deep here"),
        ("a" * 5000, "has 5000 characters; at most 4000 are taken"),
    ],
)
def test_errors(expression: str, error: str) -> None:
    """A text that is no expression is refused with the column, and what is wanted there."""
    with pytest.raises(MappingError) as refused:
        parse(expression)
    assert error in str(refused.value)


# --- tables ---

DEFAULTS = MappingTable(
    identify={"$email": "@email", "$name": "@name", "plan": "traits.plan"},
    track={"value": "@worth", "currency": "@currency", "order": "@order_id", "at": "@timestamp"},
)


def test_defaults() -> None:
    """A table gives the fields that have a value, in its order, and times as text."""
    mapper = DEFAULTS.mapper()
    assert mapper.fields(event_of(**EVENT)) == {
        "value": 1200.5,
        "order": "o-1",
        "at": "2026-01-02T03:04:05.678Z",
    }
    assert mapper.fields(event_of(type="page")) == {}
    assert mapper.fields(Event(b"no JSON")) == {}


def test_connections_that_change_nothing_share_what_is_compiled() -> None:
    """A worker has many of them; those that change a field or name events have their own."""
    usual = DEFAULTS.mapper()
    assert DEFAULTS.mapper({}, "all") is usual
    assert DEFAULTS.mapper({}, "none") is DEFAULTS.mapper({}, "none") is not usual
    assert DEFAULTS.mapper({"a": "userId"}) is not usual
    assert DEFAULTS.mapper({}, ["a"]) is not DEFAULTS.mapper({}, ["b"])


def test_overrides() -> None:
    """Settings change a default, add a field, remove one; for all types or one of them."""
    mapper = DEFAULTS.mapper(
        {
            "$plan": "'plan of {type}'",
            "currency": "'EUR'",
            "order": "",
            "version": 3,
            "rate": 0.5,
            "track": {"value": False, "ip": "context.ip"},
        }
    )
    assert mapper.fields(event_of(**EVENT)) == {
        "currency": "EUR",
        "at": "2026-01-02T03:04:05.678Z",
        "$plan": "plan of track",
        "version": 3,
        "rate": 0.5,
        "ip": "1.2.3.4",
    }
    assert mapper.fields(event_of(type="alias"))["$plan"] == "plan of alias"
    assert "ip" not in mapper.fields(event_of(**{**EVENT, "type": "page"}))
    assert mapper.has("track", "currency")
    assert not mapper.has("track", "order")


@pytest.mark.parametrize(
    ("custom_events", "own", "is_passing"),
    [
        ("all", {"value", "order", "at", "x"}, True),
        ("none", {"x"}, False),
        (["value"], {"value", "x"}, False),
    ],
)
def test_custom_events(custom_events: Any, own: set[str], is_passing: bool) -> None:  # Any: setting
    """A track of the user's own name has the default fields that the setting names."""
    mapper = DEFAULTS.mapper({"x": "'y'"}, custom_events)
    spec, custom = event_of(**EVENT), event_of(**{**EVENT, "event": "Quote Sent"})
    assert mapper.fields(spec).keys() == {"value", "order", "at", "x"}
    assert mapper.fields(custom).keys() == own
    assert mapper.passes_others(spec)
    assert mapper.passes_others(custom) is is_passing
    assert mapper.passes_others(event_of(type="identify"))


def test_nested() -> None:
    """Targets with dots are objects in objects, where a destination wants them so."""
    mapper = MappingTable().mapper({"user.email": "@email", "user.id": "userId", "kind": "'a'"})
    assert mapper.nested(event_of(**EVENT)) == {
        "user": {"email": "Ann@Example.com", "id": "u1"},
        "kind": "a",
    }


def test_what_a_table_reads() -> None:
    """The traits that paths read are known, so that they are not sent twice."""
    mapper = DEFAULTS.mapper({"a": "if traits.x exists then 'b {traits.Full_Name}' else traits.z"})
    assert mapper.reads("identify", "traits") == {"plan", "fullname", "z"}


def test_what_is_read_in_part() -> None:
    """A trait that a path reads a part of is not taken: the rest of it still goes along."""
    mapper = MappingTable().mapper({"city": "traits.address.city", "zip": "traits.zip"})
    assert mapper.reads("identify", "traits") == {"zip"}


def test_own_fields() -> None:
    """A destination knows which fields settings name, those that they remove included."""
    mapper = DEFAULTS.mapper({"$email": "", "x": "'y'", "track": {"value": 1}})
    assert mapper.own("identify") == {"$email", "x"}
    assert mapper.own("track") == {"$email", "x", "value"}
    assert DEFAULTS.mapper().own("track") == frozenset()


def test_page_of_several_types() -> None:
    """What several types have from the same expression is one row."""
    table = MappingTable(track={"ip": "context.ip", "a": "'t'"}, page={"ip": "context.ip"})
    assert table.markdown()[2:] == [
        "| track, page | `ip` | `context.ip` |",
        "| track | `a` | `'t'` |",
    ]


def test_page() -> None:
    """Defaults are printed as a table."""
    assert DEFAULTS.markdown("identify") == [
        "| type | field | from |",
        "| --- | --- | --- |",
        "| identify | `$email` | `@email` |",
        "| identify | `$name` | `@name` |",
        "| identify | `plan` | `traits.plan` |",
    ]
    alike = MappingTable(page={"a": "userId"}, track={"a": "userId", "b": "@name"})
    assert alike.markdown()[2:] == ["| page, track | `a` | `userId` |", "| track | `b` | `@name` |"]


def test_functions_are_described() -> None:
    """The page of the language has every function, as its code describes it."""
    rows = "\n".join(
        f"| `{name}({', '.join('ab'[: one.arguments])})` | {one.says} |"
        for name, one in FUNCTIONS.items()
    )
    assert rows in PAGE.read_text()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_long_texts(name: str) -> None:
    """A function takes at most fifteen times the time for ten times the text."""
    arguments = ["properties.x", "', '"][: FUNCTIONS[name].arguments]
    evaluate = evaluator(parse(f"{name}({', '.join(arguments)})"))
    for index, part in enumerate(linear.texts(8)):

        def work(length: int, index: int = index) -> Callable[[], object]:
            text = linear.texts(length)[index]
            event = event_of(properties={"x": text})
            many = event_of(properties={"x": [text, {text: text}] * 5})
            return lambda: [evaluate(Scope(one)) for one in (event, many) for _ in range(5)]

        assert linear.growth(work) <= linear.MOST, part


@pytest.mark.parametrize("text", ["(", "'{", "a ?? ", "if a is 'b' then ", "not ", "'a", "$", "a."])
def test_long_expressions(text: str) -> None:
    """A long text is read or refused in linear time."""

    def work(length: int) -> Callable[[], object]:
        long = (text * length)[: length // 3]
        return lambda: [parsed(long) for _ in range(10)]

    assert linear.growth(work) <= linear.MOST


class OneSettings(MappedSettings, frozen=True, forbid_unknown_fields=True):
    token: str


def test_settings() -> None:
    """Errors of a mapping have their key path, as those of all settings."""

    class One:
        Settings = OneSettings

    def errors(**mapping: object) -> list[str]:
        return settings_errors(One, {"token": "t", "mapping": mapping})  # type: ignore[arg-type] # a part of a class is enough

    assert errors() == []
    assert errors(**{"$plan": "traits.plan", "x": False, "identify": {"y": 1}}) == []
    assert errors(**{"$plan": "traits.plan =", "b": True}) == [
        "mapping.$plan: column 13: a path or text is wanted, and there is '='",
        'mapping.b: write "true" for the constant',
    ]
    assert errors(track={"a": "("}) == [
        "mapping.track.a: column 2: a path, a text or a number is wanted, and it ends"
    ]
    assert errors(nothing={"a": "b"}) == [
        "mapping.nothing: a table is for an event type, of "
        "alias, group, identify, page, screen, track"
    ]
    assert errors(a=[1]) != []
    assert mapping_errors({f"f{n}": "a" for n in range(501)}) == [
        "mapping: has 501 fields; at most 500 are taken"
    ]


def test_bounded_text() -> None:
    """Text that is made is bounded, however long the event's is."""
    long = "x" * 200_000
    event = event_of(type="track", userId=long, properties={"l": [long] * 3})
    for expression in ("'{userId}{userId}'", "join(properties.l, '-')", "upper(userId)"):
        assert len(evaluator(parse(expression))(Scope(event))) == MOST_TEXT
    assert evaluator(parse("json(properties.l)"))(Scope(event)) is None


# --- any expression, any event ---


def taking(arguments: int) -> st.SearchStrategy[str]:
    """Functions of so many arguments."""
    return st.sampled_from([n for n, one in FUNCTIONS.items() if one.arguments == arguments])


def parsed(text: str) -> Node | str:
    """The tree, or what is wrong with the text."""
    try:
        return parse(text)
    except MappingError as error:
        return str(error)


PATHS = st.sampled_from(
    ["traits.a", "properties.products", "event", "@email", "@products", "@timestamp", "context",
     "traits", 'properties."x y"', "@campaign.source", "@age", "nothing", "properties.a.b.0"]
)  # fmt: skip
CONSTANTS = st.sampled_from(["1", "-2.5", "'a'", "''", '"b c"', "true", "'2026-01-01'"])
TREES = st.recursive(
    PATHS | CONSTANTS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} ?? {two[1]})"),
        st.tuples(
            st.sampled_from([n for n, f in FUNCTIONS.items() if f.arguments == 1]), inner
        ).map(lambda two: f"{two[0]}({two[1]})"),
        st.tuples(
            st.sampled_from([n for n, f in FUNCTIONS.items() if f.arguments == 2]), inner, inner
        ).map(lambda three: f"{three[0]}({three[1]}, {three[2]})"),
        st.tuples(PATHS, CONSTANTS, inner, inner).map(
            lambda four: f"(if {four[0]} is {four[1]} then {four[2]} else {four[3]})"
        ),
        st.tuples(PATHS, PATHS, inner).map(
            lambda three: f"(if {three[0]} >= {three[1]} or {three[0]} exists then {three[2]})"
        ),
        PATHS.filter(lambda path: '"' not in path).map(lambda path: f'"a {{{path}}} b"'),
    ),
    max_leaves=8,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6) | st.sampled_from(["a", "1,200", "0001-01-01T00:00:00+14:00", "x@y.de"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "A", "a.b", "x y", "sku", "b"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
OBJECTS = st.dictionaries(
    st.sampled_from(["a", "products", "email", "age", "x y", "campaign", "traits", "X_Y"]), VALUES
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(TREES, OBJECTS, st.sampled_from(["track", "identify", "page", "group"]))
def test_any_event(expression: str, fields: dict[str, Any], event_type: str) -> None:
    """Whatever the event, an expression gives JSON or nothing, and never raises."""
    if isinstance(tree := parsed(expression), str):
        assert "too large" in tree or "at most" in tree  # it is made right but for its size
        return
    places = {"traits": fields, "properties": fields, "context": fields}
    event = event_of(**{**fields, **places, "type": event_type})
    mapper = MappingTable().mapper({"x": expression})
    found = mapper.fields(event)
    assert found == mapper.fields(event)
    assert found.keys() <= {"x"}
    text = msgspec.json.encode(found)
    assert len(text) <= 6 * MOST_TEXT + 2 * len(event.raw)
    for value in found.values():
        assert not (isinstance(value, float) and not math.isfinite(value))


@settings(max_examples=600, deadline=None)
@given(
    st.text(max_size=40)
    | st.text(alphabet="abt.'\"{}()?@$ ,<>=1-\\", max_size=40)
    | st.lists(
        st.sampled_from(
            ["if", "then", "else", "is", "in", "(", ")", "??", "traits.a", "'b'", "1", "not", ","]
        ),
        max_size=12,
    ).map(" ".join)
)
def test_any_text(text: str) -> None:
    """Any text is an expression, or refused with a clear error; as a setting, with its key path."""
    errors = mapping_errors({"x": text})
    if isinstance(tree := parsed(text), str):
        assert tree.startswith(("column ", "has "))
        assert errors == ([f"mapping.x: {tree}"] if text.strip() else [])
    else:
        assert errors == []
        evaluator(tree)(Scope(event_of(**EVENT)))


@given(OBJECTS, st.randoms(use_true_random=False))
def test_order_of_keys(fields: dict[str, Any], random: Any) -> None:  # Any: hypothesis' Random
    """What a path gives does not depend on the order of the event's keys."""
    keys = list(fields)
    random.shuffle(keys)
    one = event_of(type="identify", traits=fields)
    other = event_of(type="identify", traits={key: fields[key] for key in keys})
    for expression in ("traits.xY", "traits.'x y'", "traits.a", "traits.A.b"):
        evaluate = evaluator(parse(expression))
        assert json.dumps(evaluate(Scope(one))) == json.dumps(evaluate(Scope(other)))


@pytest.mark.parametrize(
    ("context", "expression", "expected"),
    [
        ({"page": {"url": "a"}}, "context.page.url", "a"),
        ({"Page": {"URL": "a"}, "page": None}, "context.page.url", "a"),
        ({"page.url": "a"}, "context.page.url", "a"),
        ({"page": {}, "page.url": "a"}, "context.page.url", "a"),
        ({"x": {"page.url": "a"}}, "context.x.page.url", "a"),
        ({"x": [{"url": "a"}, {"url": "b"}]}, "context.x.1.url", "b"),
        ({"x": [["a", "b"]]}, "context.x.0.1", "b"),
        ({"x": [{"y": {"z": 1}}]}, "context.x.0.y.z", 1),
        ({"x": "text"}, "context.x.y.z", None),
        ({"x": {"y": []}}, "context.x.y.z", None),
        ({}, "context.x.y.z", None),
    ],
)
def test_ways_of_paths(context: dict[str, Any], expression: str, expected: object) -> None:
    """Two fields on one way see the same, through objects, lists and keys that hold dots."""
    mapper = MappingTable().mapper({"one": expression, "other": expression})
    found = mapper.fields(event_of(type="track", context=context))
    assert found == ({} if expected is None else {"one": expected, "other": expected})


def test_parts_of_one_answer() -> None:
    """Fields that take parts of one accessor's answer have them of the same event each time."""
    mapper = MappingTable().mapper({"a": "@campaign.source", "b": "@campaign.medium"})
    for source in ("news", "ads"):
        campaign = {"utm_source": source, "medium": "email"}
        event = event_of(type="page", context={"campaign": campaign})
        assert mapper.fields(event) == {"a": source, "b": "email"}
