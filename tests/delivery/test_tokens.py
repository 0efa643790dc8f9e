"""What workers get of tokens that partners have once: kept first, one renews, others wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from sandbox.protocol import (
    AskToken,
    CurrentToken,
    GiveUpToken,
    KeepToken,
    Message,
    ProtocolError,
    TokenDenied,
    TokenGranted,
    TokenStored,
)
from supervisor.delivery import tokens
from supervisor.delivery.tokens import DOUBT, TokenBroker, secrets_in
from supervisor.state.tokens import FOLDER, FileTokenStore, TokenRecord
from tests.delivery.handles import StillWorker

SETTINGS: dict[str, Any] = {"refresh_token": "configured", "app": {"token": "deep"}}


@dataclass(eq=False)
class Worker(StillWorker):
    """One that remembers what it was sent."""

    got: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        self.got.append(message)


@dataclass
class Slow(FileTokenStore):
    """Files whose disk may be full."""

    state_dir: Path
    is_full: bool = False

    def __post_init__(self) -> None:
        super().__init__(self.state_dir)

    async def put(self, record: TokenRecord) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        await super().put(record)


class Bench:
    """A broker on files, and workers that ask it."""

    def __init__(self, state_dir: Path) -> None:
        self.store = Slow(state_dir)
        self.secrets: dict[str, list[str]] = {}
        self.broker = TokenBroker(
            self.store, lambda owner, texts: self.secrets.update({owner: list(texts)})
        )

    async def said(
        self,
        worker: Worker,
        message: AskToken | KeepToken | GiveUpToken,
        settings: Mapping[str, Any] | None = SETTINGS,
    ) -> Message | None:
        """What the worker is answered, None where it waits."""
        worker.got.clear()
        self.broker.said(worker, settings, message)
        await self.settled()
        return worker.got[-1] if worker.got else None

    async def settled(self) -> None:
        while self.broker._tasks:
            await asyncio.gather(*self.broker._tasks)

    async def granted(self, worker: Worker, seen: int = 0) -> TokenGranted:
        answer = await self.said(worker, ask(seen))
        assert isinstance(answer, TokenGranted), answer
        return answer


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    await made.broker.start()
    return made


def ask(seen: int = 0, configured: str = "configured", setting: str = "refresh_token") -> AskToken:
    digest = blake2b(configured.encode(), digest_size=16).digest()
    return AskToken("a", setting, digest, seen)


async def test_one_renews_and_the_others_get_it(bench: Bench, tmp_path: Path) -> None:
    """It is on disk, readable by its owner alone, before anybody has it."""
    one, two = Worker(1), Worker(2)
    granted = await bench.granted(one)
    assert (granted.value, granted.doubt) == (b"", "")
    assert await bench.said(two, ask()) is None
    stored = await bench.said(one, KeepToken("a", granted.grant, b'"a token of the partner"'))
    assert stored == TokenStored("a", 1)
    assert two.got == [CurrentToken("a", 1, b'"a token of the partner"')]
    (file,) = (tmp_path / FOLDER).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o700
    assert bench.secrets["a"] == ["a token of the partner"]


async def test_what_was_kept_outlives_a_restart(bench: Bench, tmp_path: Path) -> None:
    """Nobody renews what is there; who has seen it may."""
    one = Worker(1)
    granted = await bench.granted(one)
    await bench.said(one, KeepToken("a", granted.grant, b"next"))
    again = Bench(tmp_path)
    await again.broker.start()
    assert await again.said(Worker(2), ask()) == CurrentToken("a", 1, b"next")
    renewal = await again.granted(Worker(3), seen=1)
    assert (renewal.value, renewal.doubt) == (b"next", "")


async def test_a_changed_setting_wins(bench: Bench) -> None:
    """What was kept by another text is void, a renewal that is under way as well."""
    one, two = Worker(1), Worker(2)
    granted = await bench.granted(one)
    changed = {"refresh_token": "changed"}
    answer = await bench.said(two, ask(configured="changed"), changed)
    assert isinstance(answer, TokenGranted)
    assert answer.value == b""
    late = await bench.said(one, KeepToken("a", granted.grant, b"old"), changed)
    assert isinstance(late, TokenDenied)
    assert isinstance(await bench.said(one, ask(), changed), TokenDenied), "it has old settings"
    assert await bench.said(two, KeepToken("a", answer.grant, b"new"), changed) == TokenStored(
        "a", 1
    )


async def test_who_waits_under_old_settings_gets_nothing_of_the_new(bench: Bench) -> None:
    """Neither the right, nor no answer at all: it would wait for ever."""
    one, two, three = Worker(1), Worker(2), Worker(3)
    bench.broker.said(one, SETTINGS, ask())  # its right is on its way to the disk
    assert bench.broker._entries["a"].right.holder == 1
    bench.broker.said(two, SETTINGS, ask())
    changed = {"refresh_token": "changed"}
    answer = await bench.said(three, ask(configured="changed"), changed)
    assert isinstance(answer, TokenGranted)
    assert [type(message) for message in one.got + two.got] == [TokenDenied, TokenDenied]
    assert await bench.said(three, KeepToken("a", answer.grant, b"new"), changed) == TokenStored(
        "a", 1
    )
    assert (len(one.got), len(two.got)) == (1, 1)


@pytest.mark.parametrize("settings", [None, {}, {"refresh_token": 7}, {"refresh_token": "other"}])
async def test_what_the_settings_do_not_have_is_not_kept(
    bench: Bench, settings: Mapping[str, Any] | None
) -> None:
    """A connection that is gone, a path to nothing, an old text."""
    assert isinstance(await bench.said(Worker(1), ask(), settings), TokenDenied)


async def test_a_setting_may_lie_deep(bench: Bench) -> None:
    """A dotted path leads to it."""
    answer = await bench.said(Worker(1), ask(configured="deep", setting="app.token"))
    assert isinstance(answer, TokenGranted)


async def test_a_worker_that_dies_with_the_right_leaves_a_doubt(bench: Bench) -> None:
    """The next one may begin at once, and is told what the partner's no may mean."""
    one, two = Worker(1), Worker(2)
    await bench.granted(one)
    assert await bench.said(two, ask()) is None
    bench.broker.gone(1)
    await bench.settled()
    (granted,) = two.got
    assert isinstance(granted, TokenGranted)
    assert granted.doubt == DOUBT
    # The partner said no: that is still what it may mean.
    assert await bench.said(two, GiveUpToken("a", granted.grant, is_lost=False)) is None
    assert (await bench.granted(two)).doubt == DOUBT


async def test_all_processes_that_die_leave_it_too(bench: Bench, tmp_path: Path) -> None:
    """The mark is on disk before anybody begins."""
    await bench.granted(Worker(1))
    again = Bench(tmp_path)
    await again.broker.start()
    assert (await again.granted(Worker(2))).doubt == DOUBT


async def test_a_plain_no_leaves_no_doubt(bench: Bench) -> None:
    """The partner has answered: it was not renewed."""
    one = Worker(1)
    granted = await bench.granted(one)
    await bench.said(one, GiveUpToken("a", granted.grant, is_lost=False))
    granted = await bench.granted(one)
    assert granted.doubt == ""
    await bench.said(one, GiveUpToken("a", granted.grant, is_lost=True))
    assert (await bench.granted(one)).doubt == DOUBT


async def test_a_worker_that_hangs_loses_the_right(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the limit the next one has it."""
    monkeypatch.setattr("supervisor.core.renewal.GRANT_S", 0.05)
    one, two = Worker(1), Worker(2)
    await bench.granted(one)
    await bench.said(two, ask())
    async with asyncio.timeout(10):
        while not two.got:
            await asyncio.sleep(0.01)
            await bench.settled()
    assert isinstance(two.got[0], TokenGranted)


async def test_a_full_disk_loses_no_token(bench: Bench) -> None:
    """Nobody uses it before it is kept, and it is kept as soon as that can be."""
    one, two = Worker(1), Worker(2)
    granted = await bench.granted(one)
    bench.store.is_full = True
    denied = await bench.said(one, KeepToken("a", granted.grant, b"next"))
    assert isinstance(denied, TokenDenied)
    assert "No space" in denied.reason
    assert isinstance(await bench.said(two, ask()), TokenDenied)
    bench.store.is_full = False
    assert await bench.said(two, ask()) == CurrentToken("a", 1, b"next")


async def test_no_right_where_the_mark_cannot_be_kept(bench: Bench) -> None:
    """A renewal that nobody would know of is not begun."""
    bench.store.is_full = True
    assert isinstance(await bench.said(Worker(1), ask()), TokenDenied)
    bench.store.is_full = False
    await bench.granted(Worker(2))


async def test_forged_rights_keep_nothing(bench: Bench) -> None:
    """Neither another's, nor one that was used, nor one that was never given."""
    one, two = Worker(1), Worker(2)
    granted = await bench.granted(one)
    assert isinstance(await bench.said(two, KeepToken("a", granted.grant, b"forged")), TokenDenied)
    assert isinstance(await bench.said(one, KeepToken("a", 99, b"forged")), TokenDenied)
    await bench.said(one, KeepToken("a", granted.grant, b"next"))
    assert isinstance(await bench.said(one, KeepToken("a", granted.grant, b"more")), TokenDenied)
    assert await bench.said(two, ask()) == CurrentToken("a", 1, b"next")


async def test_floods_are_out_of_turn_or_rationed(bench: Bench) -> None:
    """Asking while one waits and keeping twice cost the worker its life; rights have a ration."""
    one, two = Worker(1), Worker(2)
    granted = await bench.granted(one)
    await bench.said(two, ask())
    with pytest.raises(ProtocolError):
        bench.broker.said(two, SETTINGS, ask())
    bench.broker.said(one, SETTINGS, KeepToken("a", granted.grant, b"next"))
    with pytest.raises(ProtocolError):
        bench.broker.said(one, SETTINGS, KeepToken("a", granted.grant, b"next"))
    await bench.settled()
    answers = [await bench.said(one, ask(seen=1)) for _ in range(30)]
    assert sum(isinstance(answer, TokenGranted) for answer in answers) < 15
    assert isinstance(answers[-1], TokenDenied)


async def test_a_file_that_cannot_be_read_is_as_good_as_none(tmp_path: Path) -> None:
    """The connection begins with what its settings say."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "x.json").write_bytes(b"{")
    made = Bench(tmp_path)
    await made.broker.start()
    assert (await made.granted(Worker(1))).value == b""


def test_which_texts_are_secrets() -> None:
    """Long texts that are no addresses; not so many that a plugin could blind the log."""
    value = (
        b'{"token": "abcdefghijklmnopq", "url": "https://a.example/long/path", "n": [1, "short"]}'
    )
    assert secrets_in(value) == ["abcdefghijklmnopq"]
    assert secrets_in(b"no JSON") == secrets_in(b"") == []
    many = b"[" + b",".join(b'"%020d"' % n for n in range(100)) + b"]"
    assert len(secrets_in(many)) == tokens.MOST_SECRETS
