"""The login, its cookie, and what that opens."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, make_mocked_request
from aiohttp.web import Application, Request
from hypothesis import given
from hypothesis import strategies as st

from supervisor.admin.access import Access
from supervisor.admin.table import Caller, Deed, Role
from supervisor.console import cookies, session
from supervisor.console.activity import MOST_LINES, ActivityLog
from supervisor.console.cookies import LIFETIME_S, Cookies
from supervisor.console.session import MOST_WAIT_S, WrongTries
from supervisor.insight import done_lines
from supervisor.insight.disk import Disk
from supervisor.insight.done_lines import DoneLines
from supervisor.state.logouts import FILE, LoggedOut, LogoutStore
from tests.admin.stubs import StubControl
from tests.console.conftest import ACCESS, OPERATOR, VIEWER
from tests.harness.waiting import until

Client = TestClient[Request, Application]

NOW = 1_769_864_400.0
PAGE = {"X-Bulkhead": "1"}


async def logged_in(console: Client, token: str, **headers: str) -> str:
    """The cookie that a login gives, as a browser sends it back."""
    answer = await console.post("/console/login", json={"token": token}, headers=headers)
    assert answer.status == 204
    return answer.headers["Set-Cookie"].partition(";")[0]


# --- the cookie ---------------------------------------------------------------


def test_the_key_that_verifies_is_the_role() -> None:
    """Each role's cookie proves that role and no other."""
    made = Cookies(ACCESS, lambda: NOW)
    for role in Role:
        proof = made.proof(made.made(role))
        assert proof is not None
        assert (proof.role, proof.expiry) == (role, int(NOW) + LIFETIME_S)


def test_a_cookie_is_over_after_its_time() -> None:
    """Twelve hours, to the second."""
    now = [NOW]
    made = Cookies(ACCESS, lambda: now[0])
    cookie = made.made(Role.OPERATOR)
    now[0] += LIFETIME_S - 1
    assert made.proof(cookie) is not None
    now[0] += 1
    assert made.proof(cookie) is None


@given(st.integers(0, 200), st.integers(1, 255))
def test_no_changed_cookie_proves_anything(place: int, flip: int) -> None:
    """Whatever character is another, it is forged."""
    made = Cookies(ACCESS, lambda: NOW)
    cookie = made.made(Role.VIEWER)
    place %= len(cookie)
    changed = cookie[:place] + chr(ord(cookie[place]) ^ flip) + cookie[place + 1 :]
    assert made.proof(changed) is None


@given(st.text(max_size=300) | st.from_regex(r"[0-9]{1,20}\.[\w-]{0,30}\.[\w-]{43}"))
def test_no_made_up_cookie_proves_anything(cookie: str) -> None:
    """Any text at all is judged without an error."""
    assert Cookies(ACCESS, lambda: NOW).proof(cookie) is None


def test_a_longer_life_cannot_be_written_into_it() -> None:
    """The expiry is signed, and so is the nonce."""
    made = Cookies(ACCESS, lambda: NOW)
    expiry, nonce, mac = made.made(Role.VIEWER).split(".")
    assert made.proof(f"{int(expiry) + 1}.{nonce}.{mac}") is None
    assert made.proof(f"{expiry}.{nonce}x.{mac}") is None
    assert made.proof(f"0{expiry}.{nonce}.{mac}") is None


def test_a_viewers_token_makes_no_operators_cookie() -> None:
    """Who knows one token can sign for its role alone, as long as the tokens differ."""
    theirs = Cookies(Access(ACCESS.listen, token=VIEWER, view_token=VIEWER), lambda: NOW)
    ours = Cookies(ACCESS, lambda: NOW)
    assert ours.proof(theirs.made(Role.OPERATOR)) is None
    proof = ours.proof(theirs.made(Role.VIEWER))
    assert proof is not None
    assert proof.role is Role.VIEWER


def test_a_changed_token_ends_its_sessions() -> None:
    """At a reload, and those of the other token go on."""
    made = Cookies(ACCESS, lambda: NOW)
    operator, viewer = made.made(Role.OPERATOR), made.made(Role.VIEWER)
    made.follow(Access(ACCESS.listen, token="another-operator-1", view_token=VIEWER))
    assert made.proof(operator) is None
    assert made.proof(viewer) is not None


def test_ended_sessions_are_bounded_and_stay_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound the first to expire goes, and it still proves nothing."""
    monkeypatch.setattr(cookies, "MOST_ENDED", 3)
    now = [NOW]
    made = Cookies(ACCESS, lambda: now[0])
    ended = []
    for _ in range(5):
        cookie = made.made(Role.VIEWER)
        proof = made.proof(cookie)
        assert proof is not None
        made.end(proof)
        ended.append(cookie)
        now[0] += 1
    assert all(made.proof(cookie) is None for cookie in ended)
    assert made.proof(made.made(Role.VIEWER)) is not None
    assert made.proof(made.made(Role.OPERATOR)) is not None


def test_ended_sessions_stay_ended_at_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that did not end go on; where the bound is lower, more are over and none fewer."""
    first = Cookies(ACCESS, lambda: NOW)
    cookies_of = {role: [first.made(role) for _ in range(4)] for role in Role}
    for made in cookies_of.values():
        for cookie in made[:3]:
            proof = first.proof(cookie)
            assert proof is not None
            first.end(proof)
    second = Cookies(ACCESS, lambda: NOW + 1, first.ended())
    for made in cookies_of.values():
        assert [second.proof(cookie) is None for cookie in made] == [True, True, True, False]
    assert second.ended() == first.ended()
    monkeypatch.setattr(cookies, "MOST_ENDED", 2)
    third = Cookies(ACCESS, lambda: NOW + 2, second.ended())
    assert all(third.proof(cookie) is None for cookie in cookies_of[Role.VIEWER])
    assert third.proof(third.made(Role.VIEWER)) is not None
    much_later = Cookies(ACCESS, lambda: NOW + LIFETIME_S, first.ended())
    assert all(not one.expiry_of for one in much_later.ended().values()), "it is not kept for ever"


def test_where_it_is_not_known_who_logged_out_all_log_in_again() -> None:
    """In the same second, too; and no file makes a session longer than it is."""
    old = [Cookies(ACCESS, lambda: NOW).made(role) for role in Role]
    for kept in (None, {role.value: LoggedOut(void_until=2**52) for role in Role}):
        new = Cookies(ACCESS, lambda: NOW, kept)
        assert all(new.proof(cookie) is None for cookie in old)
        for role in Role:
            proof = new.proof(new.made(role))
            assert proof is not None
            assert proof.expiry <= NOW + LIFETIME_S + 1


# --- the pace of wrong tries --------------------------------------------------


def test_wrong_tries_are_slower_and_slower() -> None:
    """By address up to a bound; after ten minutes it begins anew."""
    now = [0.0]
    wrong = WrongTries(lambda: now[0])
    waits = [wrong.wait_s("10.0.0.1") for _ in range(20)]
    assert waits == sorted(waits)
    assert waits[0] < 0.2
    assert waits[-1] == MOST_WAIT_S
    now[0] += 601
    assert wrong.wait_s("10.0.0.1") == waits[0]


def test_wrong_tries_of_many_addresses_are_slow_too() -> None:
    """Who has a thousand addresses has a tenth of the pace of one."""
    wrong = WrongTries(lambda: 0.0)
    assert max(wrong.wait_s(f"10.0.{n % 250}.{n}") for n in range(2000)) == MOST_WAIT_S


# --- over HTTP ----------------------------------------------------------------


@pytest.mark.parametrize(("token", "role"), [(OPERATOR, "operator"), (VIEWER, "viewer")])
async def test_a_login_opens_the_console_in_its_role(
    console: Client, token: str, role: str
) -> None:
    """JSON or form; the cookie is for the console's paths alone."""
    cookie = await logged_in(console, token)
    me = await console.get("/console/api/me", headers={"Cookie": cookie})
    told = await me.json()
    assert (told["role"], told["needs_login"], told["payloads"]) == (role, True, "masked")
    assert told["live_streams"] == 16
    form = await console.post("/console/login", data={"token": token})
    assert form.status == 204
    assert (await console.get("/me", headers={"Cookie": cookie})).status == 401
    assert (await console.get("/status", headers={"Cookie": cookie})).status == 401


async def test_the_cookie_is_closed_to_scripts_and_other_sites(console: Client) -> None:
    """And has no path, so that it goes with any prefix; over TLS it is secure by its name."""
    for origin, begin in (("http", "bulkhead="), ("https", "__Secure-bulkhead=")):
        answer = await console.post(
            "/console/login",
            json={"token": VIEWER},
            headers={"Origin": f"{origin}://{console.host}:{console.port}"},
        )
        cookie = answer.headers["Set-Cookie"]
        parts = {part.strip() for part in cookie.split(";")[1:]}
        assert cookie.startswith(begin)
        assert parts == {
            *("Max-Age=43200", "HttpOnly", "SameSite=Strict"),
            *(("Secure",) if origin == "https" else ()),
        }


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b""),
        ("application/json", b"{"),
        ("application/json", b'{"token": 5}'),
        ("application/json", b'{"tokens": "x"}'),
        ("application/json", b"\xff"),
        ("application/json", b'{"token": "' + b"x" * 5000 + b'"}'),
        ("application/x-www-form-urlencoded", b""),
        ("application/x-www-form-urlencoded", b"token=a&token=b"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=b"] * 50)),
        ("application/x-www-form-urlencoded", b"token=%FF\xff"),
        ("multipart/form-data; boundary=x", b"--x"),
    ],
)
async def test_a_login_that_is_none_is_told_what_to_send(
    console: Client, content_type: str, body: bytes
) -> None:
    """And costs nobody a wait."""
    answer = await console.post("/console/login", data=body, headers={"Content-Type": content_type})
    assert answer.status == 400
    assert "token" in (await answer.json())["message"]


async def test_a_wrong_token_is_refused_and_a_right_one_never(
    console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While wrong tries wait, whoever has the token is let in at once."""
    monkeypatch.setattr(session, "FIRST_WAIT_S", 60.0)
    monkeypatch.setattr(session, "MOST_WAIT_S", 60.0)
    monkeypatch.setattr(session, "MOST_WAITING", 2)
    wrong = [
        asyncio.ensure_future(console.post("/console/login", json={"token": "x" * 18}))
        for _ in range(3)
    ]
    done, _ = await asyncio.wait(wrong, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result().status for task in done] == [429]
    await logged_in(console, OPERATOR)
    for task in wrong:
        task.cancel()


async def test_a_wrong_token_is_401_and_sets_nothing(console: Client) -> None:
    """In words that do not tell how near it was."""
    answer = await console.post("/console/login", json={"token": OPERATOR[:-1]})
    assert (answer.status, (await answer.json())["error"]) == (401, "wrong_token")
    assert "Set-Cookie" not in answer.headers


async def test_a_logout_ends_that_session_alone(console: Client) -> None:
    """Its cookie opens nothing any more, wherever it was copied to."""
    mine, other = [await logged_in(console, VIEWER) for _ in range(2)]
    answer = await console.post("/console/logout", headers={"Cookie": mine, **PAGE})
    assert answer.status == 204
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert (await console.get("/console/api/me", headers={"Cookie": mine})).status == 401
    assert (await console.get("/console/api/me", headers={"Cookie": other})).status == 200


async def test_logouts_that_find_no_disk_are_written_with_the_next(
    console: Client, tmp_path: Path
) -> None:
    """The session is over all the same; many at once are one or two writes, and all are kept."""
    (tmp_path / f"{FILE}.new").mkdir()
    early = await logged_in(console, VIEWER)
    answer = await console.post("/console/logout", headers={"Cookie": early, **PAGE})
    assert answer.status == 204
    assert (await console.get("/console/api/me", headers={"Cookie": early})).status == 401
    assert LogoutStore(tmp_path).read() == {}
    (tmp_path / f"{FILE}.new").rmdir()
    others = [await logged_in(console, VIEWER) for _ in range(9)]
    await asyncio.gather(
        *(console.post("/console/logout", headers={"Cookie": cookie, **PAGE}) for cookie in others)
    )
    kept = LogoutStore(tmp_path).read()
    assert kept is not None
    assert {cookie.split(".")[1] for cookie in (early, *others)} == kept["viewer"].expiry_of.keys()


async def test_what_acts_by_cookie_needs_the_pages_own_header(
    console: Client, control: StubControl
) -> None:
    """No form, image or link of another page can send it; work behind GET needs it, too."""
    cookie = await logged_in(console, OPERATOR)
    for method, path in (
        ("POST", "/console/api/connections/website-hook/pause"),
        ("DELETE", "/console/api/debug/snapshots/x"),
        ("GET", "/console/api/books"),
        ("GET", "/console/api/debug/workers/default-1/stacks"),
    ):
        bare = await console.request(method, path, headers={"Cookie": cookie})
        assert (bare.status, (await bare.json())["error"]) == (403, "wrong_call"), path
        assert not control.done
    for method, path in (
        ("POST", "/console/api/connections/website-hook/pause"),
        ("GET", "/console/api/books"),
    ):
        answer = await console.request(method, path, headers={"Cookie": cookie, **PAGE})
        assert answer.status == 200, path


@pytest.mark.parametrize("where", ["cross-site", "same-site"])
async def test_no_page_of_another_site_uses_the_session(console: Client, where: str) -> None:
    """Not even to read; but a link to the page opens it."""
    cookie = await logged_in(console, OPERATOR)
    headers = {"Cookie": cookie, "Sec-Fetch-Site": where, **PAGE}
    for path in ("/console/api/me", "/console/api/status", "/console/api/books"):
        assert (await console.get(path, headers=headers)).status == 403, path
    for path in ("/console/login", "/console/logout"):
        assert (await console.post(path, json={}, headers=headers)).status == 403
    assert (await console.get("/console/", headers=headers)).status == 200


async def test_a_forged_cookie_opens_nothing(console: Client) -> None:
    """Of whatever form it is, and however many there are."""
    right = await logged_in(console, VIEWER)
    name, _, value = right.partition("=")
    forged = base64.urlsafe_b64encode(b"x" * 32).rstrip(b"=").decode()
    for cookie in (
        f"{name}=",
        f"{name}={value}x",
        f"{name}={value[:-2]}",
        f"{name}=99999999999.{'a' * 22}.{forged}",
        f"{name}={'9' * 3000}",
        f'{name}="{value[:-1]}"',
        "; ".join(f"c{n}=1" for n in range(200)),
    ):
        answer = await console.get("/console/api/me", headers={"Cookie": cookie})
        assert answer.status in (400, 401), cookie


async def test_a_viewers_cookie_may_what_a_viewer_may(
    console: Client, control: StubControl
) -> None:
    """The role of the cookie is that of its token."""
    cookie = await logged_in(console, VIEWER)
    headers = {"Cookie": cookie, **PAGE}
    pause = await console.post("/console/api/connections/website-hook/pause", headers=headers)
    assert (pause.status, (await pause.json())["error"]) == (403, "forbidden")
    assert not control.done
    assert (await console.get("/console/api/status", headers=headers)).status == 200


async def test_what_was_done_by_hand_is_listed_with_who_did_it(console: Client) -> None:
    """Old rows and new ones, newest first, in pages; a dry run is nothing done."""
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    await console.post("/connections/website-hook/pause", headers=headers)
    await console.post("/deadletters/drop", json={"connection": "c"}, headers=headers)
    await console.post("/deadletters/drop", json={"dry_run": True}, headers=headers)
    await console.post("/connections/none/pause", headers=headers)
    page = await (await console.get("/activity?limit=1", headers=headers)).json()
    (newest,) = page["activity"]
    assert newest.pop("at") == "2026-01-31T13:00:00.000Z"
    assert newest == {
        "by": "operator at 127.0.0.1",
        "role": "operator",
        "action": "drop dead letters",
        "on": "connection=c",
        "how_many": 3,
        "note": None,
    }
    rest = await console.get(f"/activity?limit=9&after={page['next']}", headers=headers)
    told = await rest.json()
    assert [(line["action"], line["on"]) for line in told["activity"]] == [
        ("pause", "website-hook")
    ]
    assert told["next"] is None
    for query in ("after=x", "limit=0", "limit=501", "limit=1&limit=2", "what=1"):
        assert (await console.get(f"/activity?{query}", headers=headers)).status == 400, query


async def test_what_was_done_outlives_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last 500 lines, in the order in which they were done; those of this run come behind."""
    caller = Caller(Role.OPERATOR, "ann")
    # What was asked for before a file is made anew is not done, and done again.
    monkeypatch.setattr(done_lines, "RETRY_S", 0.01)

    async def run(deeds: Sequence[str]) -> list[str]:
        disk = Disk(tmp_path, lambda: None)
        disk.start()
        store = DoneLines(disk, MOST_LINES)
        log = ActivityLog(lambda: NOW, store)
        for deed in deeds:
            log.heard(caller, Deed(deed, "x"))
        request = make_mocked_request("GET", "/activity?limit=500")
        await until(lambda: not store._unwritten, 60, "all of it is on disk")
        answer = cast(web.Response, await log.page(request))
        await disk.close(10.0)
        return [line["action"] for line in json.loads(cast(bytes, answer.body))["activity"]]

    assert await run(["a", "b"]) == ["b", "a"]
    assert await run(["c"]) == ["c", "b", "a"]
    many = [f"d{n}" for n in range(40)]
    assert await run(many) == [*reversed(many), "c", "b", "a"]
