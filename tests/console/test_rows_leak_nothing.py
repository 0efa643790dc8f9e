"""Whatever strangers write, and whatever a secret is: no row shows it to whom it is not for.

A marker is put into every field of events, settings, requests, answers, errors and exits, and
secrets into what partners say again. The rows are those of the service, over stand-ins.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sandbox.protocol import (
    MAX_ANSWER_BODY,
    MAX_HEADER,
    MAX_HEADER_NAME,
    MAX_HEADERS,
    MAX_REQUEST_BODY,
    MAX_URL,
    GotAnswer,
    Sampled,
    SentRequest,
)
from supervisor.admin.table import Right, Role
from supervisor.insight.sample_records import MetBy
from supervisor.queue import Delivery, DeliveryRecord, EventRecord, NewEvent, Route
from supervisor.telemetry.status import BlameStatus, LastExit, LeakingGroup
from tests.admin.stubs import AT, a_letter, a_status, an_exit, queue_status
from tests.console.row_world import LOOKS, OPERATOR, VIEWER, RowWorld

#: No word of ours, of HTTP or of any API; a number, and a word that escapes change.
MARKS = ("Zqxjkvworb", "918273645546", "жщюъыэ")
TYPES = ("identify", "track", "page", "screen", "group", "alias")
EXAMPLES = 30
#: Rows that have something to show in each of them.
ALWAYS = {
    *("/status", "/deadletters", "/deadletters/causes", "/events/m1", "/debug/exits", "/issues"),
    *("/debug/workers", "/overview", "/queues", "/connections/hook", "/pools/default"),
    *("/tap/website", "/tap/website?ring=rejected", "/schema/website", "/sources/website"),
}

# --- what strangers write -----------------------------------------------------

marks = st.sampled_from(MARKS)
#: How a mark may stand in a text.
_SHAPES = (
    "{0}", "x {0} y", "{0}@{0}.example", "https://{0}.example/{0}?{0}={0}#{0}", '{{"a":"{0}"}}',
    "[\"{0}\"]", "{0},{0};{0}:{0}", "'{0}'", "`{0}`", "“{0}”", "<{0}>", "</{0}>", "a_{0}_b",
    "no such user {0}", "status={0}", "/{0}/{0}/x", "{0}.example:8080", "\u202e{0}\x00", "{0} ",
    'the field "{0}" is required', "Error{0}", "{0}Error: 404", "a={0}&b={0}", "%20{0}%22",
    "\\u0022{0}\\n", "b'{0}'", "400 Bad Request: {0}", "{0}\n{0}", "10.0.0.1 {0}", "<id>{0}",
)  # fmt: skip
texts = st.tuples(st.sampled_from(_SHAPES), marks, st.sampled_from((1, 1, 1, 40))).map(
    lambda parts: parts[0].format(parts[1]) * parts[2]
)
numbers = st.sampled_from(
    (918273645546, -918273645546, 918273645546.25, [*"Zqxjkvworb"], True, None, 0)
)
#: Words that programmers choose, which are shown, and what is no such word, which is not.
keys = st.sampled_from(("traits", "email", "note", "a.b", "$price", "own")) | marks.map(
    lambda mark: f"{mark}@{mark}.example"
) | marks.map(lambda mark: f"a{mark}" * 12) | marks.map(lambda mark: f"12345-{mark}")  # fmt: skip
values = st.recursive(
    texts | numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(keys, values, min_size=1, max_size=4)
events = st.fixed_dictionaries(
    {
        "type": st.sampled_from(TYPES),
        "messageId": texts,
        "userId": texts,
        "anonymousId": values,
        "event": texts,
        "name": texts,
        "context": objects,
        "properties": objects,
        "traits": objects,
        "integrations": objects,
    }
)
bodies = values.map(lambda value: json.dumps(value).encode()) | texts.map(
    lambda text: urlencode({"a": text, "b c": text}).encode()
) | texts.map(str.encode)  # fmt: skip

# --- secrets --------------------------------------------------------------------

#: What escapes change, and what they do not.
_ODD = "\"\\/%+&=?#:;@!$'()*,[]{}<>^`|~ é€😀\tAz09-_."
secrets = (
    st.text(_ODD, min_size=4, max_size=24).map(lambda text: f"Vq7{text}zK")
    | st.binary(min_size=9, max_size=30).map(lambda data: base64.b64encode(data).decode())
    | st.text("0123456789", min_size=9, max_size=20).map(lambda text: f"4711{text}")
)


def said_again(secret: str) -> Iterator[str]:
    """A secret as programs write it: in URLs, forms, JSON and base64."""
    yield secret
    for safe in ("", "/", "!*'()", "-_.!~*'();/?:@&=+$,#", "*-._"):  # of Python, JS and Java
        yield quote(secret, safe=safe)
        yield re.sub("%..", lambda found: found[0].lower(), quote(secret, safe=safe))
        yield quote_plus(secret, safe=safe)
    yield urlencode({"k": secret})
    for ascii_only in (True, False):
        plain = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield plain
        yield plain.replace("/", "\\/")
        yield re.sub(r"[<>&']", lambda found: f"\\u{ord(found[0]):04x}", plain)  # as Go does
        yield re.sub(r"[<>&']", lambda found: f"\\u{ord(found[0]):04X}", plain)
    for before in ("", "u", "us", "user:"):
        for after in ("", ":", "::x"):
            data = f"{before}{secret}{after}".encode()
            yield base64.b64encode(data).decode()
            yield base64.urlsafe_b64encode(data).decode()


def is_in(secret: str, text: str) -> bool:
    """Whether a text tells a secret to whoever undoes escapes of URLs, JSON and base64."""
    told = {text}
    for undo in (_unescaped, unquote, _unescaped):
        told |= {undo(one) for one in told if "\\" in one or "%" in one}
    if any(form in one for one in told for form in (secret, secret.replace(" ", "+"))):
        return True
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret.encode()).decode().rstrip("=")
        # Without what its neighbours have a part in.
        inner = encoded[(0, 2, 3)[before] : len(encoded) - 2]
        for form in (inner, inner.replace("+", "-").replace("/", "_")):
            if len(form) > 8 and any(form in one for one in told):
                return True
    return False


def _unescaped(text: str) -> str:
    found = re.sub(r"\\(u[0-9a-fA-F]{4}|.)", _meant, text, flags=re.DOTALL)
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _meant(found: re.Match[str]) -> str:
    if len(found[1]) == 5:
        return chr(int(found[1][1:], 16))
    return {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}.get(found[1], found[1])


# --- the rows -------------------------------------------------------------------


def config_of(state_dir: Path, payloads: str, mark: str, secret: str) -> str:
    """Settings with both, a secret in plain text and within a URL, too."""
    hook = {
        "url": f"https://x.example/{quote(mark)}?k={quote(secret, safe='')}",
        "headers": {"X-Marked": mark, "X-Again": f"Bearer {secret}"},
    }
    settings = ", ".join(f"{name} = {_toml(value)}" for name, value in hook.items())
    return f"""
[service]
state_dir = {json.dumps(str(state_dir))}
[console]
payloads = "{payloads}"
[sources.website]
write_key = "write-key-of-website"
[connections.hook]
source = "website"
destination = "webhooks"
settings = {{ {settings}, shared_secret = {{ env = "SECRET" }} }}
"""


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(of)}" for key, of in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


class Strangers(msgspec.Struct, frozen=True):
    """All that others have said."""

    events: list[dict[str, Any]]  # Any: JSON
    reasons: list[str]
    sent: bytes
    got: bytes
    header: str
    secret: str
    form: str
    payloads: str


@st.composite
def strangers(draw: st.DrawFn) -> Strangers:
    secret = draw(secrets)
    forms = [*said_again(secret)]
    form = draw(st.sampled_from(forms))
    reason = draw(texts)
    wrap = draw(st.sampled_from(("{}", "a {} b", "https://x.example/{}?q={}", '{{"k": "{}"}}')))
    echoed = wrap.replace("{}", "\0").replace("{{", "{").replace("}}", "}").replace("\0", form)
    return Strangers(
        draw(st.lists(events, min_size=1, max_size=2)),
        [reason, f"400: {echoed}", f"{reason} {echoed}"],
        draw(bodies) if draw(st.booleans()) else echoed.encode(),
        draw(bodies) if draw(st.booleans()) else json.dumps({"e": [reason, echoed]}).encode(),
        draw(texts),
        secret,
        echoed,
        draw(st.sampled_from(("masked", "masked", "full", "none"))),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RowWorld]:
    """All rows, over nothing yet."""
    world = RowWorld(tmp_path_factory.mktemp("rows"))
    config = config_of(world.state_dir, "masked", "x", "a-secret-of-nobody")
    world.start(config, {"SECRET": "a-secret-of-nobody"})
    yield world
    world.close()


async def fill(world: RowWorld, told: Strangers) -> None:
    """What strangers have said comes in where it does in a service."""
    config = config_of(world.state_dir, told.payloads, MARKS[0], told.secret)
    await world.anew(config, {"SECRET": told.secret}, told.payloads, {told.secret})
    plain = [world.redact(reason) for reason in told.reasons]  # as settlements do
    reason = plain[-1]
    control, insight = world.control, world.insight
    hook = msgspec.structs.replace(
        queue_status("hook", state_reason=reason),
        waiting_for=reason,
        last_egress_refusal=reason,
        blame=BlameStatus(hogs=told.reasons[0]),
    )
    status = a_status(hook)
    last = LastExit("signal", told.reasons[0], "2026-01-31T12:59:00Z", "hook")
    workers = [msgspec.structs.replace(one, last_exit=last) for one in status.pools[0].workers]
    pool = msgspec.structs.replace(
        status.pools[0],
        workers=workers,
        state_reason=told.reasons[0],
        leaks_together=[LeakingGroup(["hook"], 1.0, told.reasons[0])],
    )
    control.now = msgspec.structs.replace(status, pools=[pool])
    queue = control.stub_queue
    ids = [event["messageId"] for event in told.events]
    queue.letters = [
        msgspec.structs.replace(a_letter(n), connection="hook", reason=why, message_id=ids[0])
        for n, why in enumerate(plain, 1)
    ]
    delivery = DeliveryRecord("d", "hook", "pending", None, 1, reason, AT, False, None)
    stored = json.dumps({**told.events[0], "messageId": "m1"}).encode()
    queue.records = [EventRecord("m1", "website", AT, [delivery], body=stored)]
    record = an_exit(
        world.rounds,
        detail=told.reasons[0],
        connection="hook",
        connections=("hook",),
        event=ids[0],
        events=tuple(ids),
    )
    control.exits.add(record, told.reasons[0])
    to_hook = Route(("hook",))
    taken = [
        NewEvent(event["messageId"], event["type"], "u", json.dumps(event).encode(), to_hook)
        for event in told.events
    ]
    insight.took("website", taken, [True] * len(taken), 0)
    for body in (taken[0].body, told.reasons[0].encode(), b"\xff" + taken[-1].body):
        insight.refused("website", "invalid_json", told.reasons[0], 1, body)
    headers = {"X-Said": told.header, "X-Again": told.form, told.header: told.form}
    kept = {name[:MAX_HEADER_NAME]: of[:MAX_HEADER] for name, of in headers.items()}
    url = f"https://x.example/{quote(told.header)}?a={quote(told.header)}&b={told.form}"
    sent = SentRequest("POST", url[:MAX_URL], kept, told.sent[:MAX_REQUEST_BODY], 1, "")
    got = GotAnswer(400, kept, told.got[:MAX_ANSWER_BODY], 1, "")
    assert len(kept) <= MAX_HEADERS
    for n, why in enumerate(plain):
        one = MetBy(stored, 1, "default-1", Sampled(1, n, sent, got))
        insight.troubled("hook", "failed", why, 1, one, [Delivery(stored, n + 1, AT, b"u")])
        world.now += 1.0
    for event in taken:
        insight.shapes.look("website", event.type, event.body, world.now)


async def walk(world: RowWorld, role: Role) -> dict[str, str]:
    """All that is read, by path; what is not for that role is 403."""
    token = VIEWER if role is Role.VIEWER else OPERATOR
    told = {}
    paths = world.gets()
    issues = [issue.id for issue in world.insight.issues.listed()]
    paths += [(f"/issues/{one}", Right.VIEW) for one in issues]
    paths += [("/tap/website?ring=rejected", Right.VIEW), ("/trends?connection=hook", Right.VIEW)]
    paths.append((f"/live?look={','.join(LOOKS)}", Right.VIEW))
    for path, needs in paths:
        status, text = await world.ask(path, token)
        assert (status == 403) is not role.may(needs), (path, status, text[:200])
        assert status < 500, (path, status, text[:200])
        assert status == 200 or path not in ALWAYS, (path, status, text[:200])
        told[path] = text
    assert len(issues) > 1
    assert len(json.loads(told["/events/m1"])["deliveries"][0]["history"]) > 1
    assert json.loads(told["/tap/website"])["rows"]
    return told


def decoded(text: str) -> str:
    """The same with nothing escaped, and with what was split put together."""
    try:
        tree = json.loads(text)
    except ValueError:
        return text
    return json.dumps(tree, ensure_ascii=False) + "".join(_joined(tree))


def _joined(tree: object) -> Iterator[str]:
    match tree:
        case dict():
            for inner in tree.values():
                yield from _joined(inner)
        case list():
            yield "".join(one for one in tree if isinstance(one, str)) + "\n"
            for inner in tree:
                yield from _joined(inner)
        case _:
            return


@given(strangers())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # Each try walks all rows: what failed first says enough.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_row_shows_a_viewer_a_value_or_anybody_a_secret(
    world: RowWorld, told: Strangers
) -> None:
    """In no byte of any answer, escaped or not; nor is a secret in a file below the state."""
    world.run(fill(world, told))
    for path, text in world.run(walk(world, Role.VIEWER)).items():
        for seen in (text, decoded(text), unquote(decoded(text))):
            for mark in MARKS:
                assert mark.lower() not in seen.lower(), (path, seen[:3000])
        assert not is_in(told.secret, text), (path, text)
    for path, text in world.run(walk(world, Role.OPERATOR)).items():
        assert not is_in(told.secret, text), (path, text)
    for file in world.state_dir.rglob("*"):
        if file.is_file():
            assert not is_in(told.secret, file.read_bytes().decode("latin-1")), file
            assert not is_in(told.secret, file.read_bytes().decode(errors="replace")), file
