"""Every worker's exit is kept with its evidence, within bounds, and can be asked for."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from supervisor.admin import viewers
from supervisor.admin.exits import exit_json
from supervisor.diagnostics.exits import (
    MAX_EVENTS,
    SHORT_BYTES,
    ExitFilter,
    ExitStore,
    HeldBatch,
)
from supervisor.telemetry.log import Redactor
from tests.admin.conftest import Client
from tests.admin.stubs import StubControl, an_exit
from tests.harness.disks import small_disk

ALL = ExitFilter()


def ids(store: ExitStore, where: ExitFilter = ALL) -> list[str]:
    return [record.id for record in store.list(where, limit=100)]


def test_exits_outlive_the_service(tmp_path: Path) -> None:
    """What was kept is there after a restart, stacks included, and only its owner may read it."""
    store = ExitStore(tmp_path, str)
    kept = [store.add(an_exit(n), "File x in f" if n == 2 else "") for n in range(3)]
    store.attach_snapshot("exit-1", "s.heapsnapshot")
    store.close()
    again = ExitStore(tmp_path, str)
    assert ids(again) == ["exit-2", "exit-1", "exit-0"]
    assert again.get("exit-2") == kept[2]
    assert again.stacks(kept[2]) == "File x in f"
    assert again.stacks(kept[0]) == ""
    found = again.get("exit-1")
    assert found is not None
    assert found.snapshot == "s.heapsnapshot"
    again.close()
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "exits").iterdir()} == {0o600}


def test_no_secret_is_in_a_record(tmp_path: Path) -> None:
    """Nor in its stacks: how a worker ended may be in its destinations' words."""
    store = ExitStore(tmp_path, Redactor(["a-secret-of-a-partner"]))
    record = an_exit(1, detail="no memory for a-secret-of-a-partner")
    kept = store.add(record, "File a-secret-of-a-partner in f")
    store.close()
    assert kept.detail.startswith("no memory for ")
    written = [file.read_text() for file in (tmp_path / "exits").iterdir()]
    assert len(written) == 2
    assert not any("a-secret-of-a-partner" in text for text in (kept.detail, *written))


@pytest.mark.parametrize("bound", [{"most": 3}, {"most_bytes": 3 * 700}])
def test_oldest_go_first_but_never_the_last_of_a_reason(
    tmp_path: Path, bound: dict[str, int]
) -> None:
    """Past the bounds old exits go, on disk too; a rare reason keeps its evidence."""
    store = ExitStore(tmp_path, str, **bound)
    store.add(an_exit(0, reason="oom"), "")
    for n in range(1, 9):
        store.add(an_exit(n), "")
    found = ids(store)
    store.close()
    assert found[0] == "exit-8"
    assert found[-1] == "exit-0"
    assert len(found) <= 4
    on_disk = {file.stem for file in (tmp_path / "exits").glob("*.json")}
    assert on_disk == set(found)


def test_a_short_disk_keeps_few_records_and_no_stacks(tmp_path: Path) -> None:
    """What is left of it is the queue's. Each exit is known all the same while the service runs."""
    with small_disk(tmp_path / "disk", 16 * 1024**2) as disk:
        store = ExitStore(disk, str)
        events = tuple("m" * 200 for _ in range(MAX_EVENTS))
        for n in range(400):
            store.add(an_exit(n, events=events), "x" * 200_000)
            store.stacks(an_exit(n, stacks="none"))  # until it is written
        assert store.get("exit-399") is not None
        store.close()
        used = sum(file.stat().st_size for file in (disk / "exits").iterdir())
        assert used < 2 * SHORT_BYTES
        assert not list((disk / "exits").glob("*.stacks"))
        again = ExitStore(disk, str)
        assert ids(again)[0] == "exit-399"
        again.close()


def test_a_full_disk_keeps_no_halves(tmp_path: Path) -> None:
    """What cannot be written whole is not there, and what was is."""
    with small_disk(tmp_path / "disk", 1024**2) as disk:
        store = ExitStore(disk, str)
        store.add(an_exit(1), "")
        store.stacks(an_exit(1, stacks="none"))
        free = os.statvfs(disk)
        (disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_bsize - 8192))
        store.add(an_exit(2, events=tuple("m" * 200 for _ in range(MAX_EVENTS))), "")
        store.close()
        assert [file.name for file in (disk / "exits").iterdir()] == ["exit-1.json"]


def test_unreadable_record_costs_only_itself(tmp_path: Path) -> None:
    """A file that was cut off when the machine went down is left alone."""
    store = ExitStore(tmp_path, str)
    store.add(an_exit(1), "")
    store.close()
    (tmp_path / "exits" / "exit-0.json").write_text('{"id": "exi')
    again = ExitStore(tmp_path, str)
    assert ids(again) == ["exit-1"]
    again.close()


def test_full_disk_costs_no_more_than_the_file(tmp_path: Path) -> None:
    """Where nothing can be written, exits are listed all the same."""
    store = ExitStore(tmp_path, str)
    (tmp_path / "exits").rmdir()
    store.add(an_exit(1), "stacks")
    assert ids(store) == ["exit-1"]
    store.close()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (ExitFilter(connection="website-mixpanel"), ["exit-1", "exit-0"]),
        (ExitFilter(connection="other"), ["exit-2"]),
        (ExitFilter(reason="oom"), ["exit-2"]),
        (ExitFilter(worker="default-1", pool="default"), ["exit-1", "exit-0"]),
        (ExitFilter(since=an_exit(1).at), ["exit-2", "exit-1"]),
        (ExitFilter(until=an_exit(1).at), ["exit-1", "exit-0"]),
    ],
)
def test_filters(tmp_path: Path, where: ExitFilter, expected: list[str]) -> None:
    """By pool, worker, reason, time, and by any connection that had a batch in it."""
    store = ExitStore(tmp_path, str)
    for record in (
        an_exit(0),
        an_exit(1),
        an_exit(2, reason="oom", worker="p-2", pool="p", connection="other", connections=()),
    ):
        store.add(record, "")
    assert ids(store, where) == expected
    store.close()


async def test_listing_comes_in_pages(client: Client, control: StubControl) -> None:
    """Newest first, `next` is where the next page begins."""
    for n in range(3):
        control.exits.add(an_exit(n), "")
    page = await (await client.get("/debug/exits?limit=2")).json()
    assert [end["id"] for end in page["exits"]] == ["exit-2", "exit-1"]
    assert page["exits"][0]["at"] == "2026-01-31T13:00:02.000Z"
    rest = await (await client.get(f"/debug/exits?after={page['next']}")).json()
    assert ([end["id"] for end in rest["exits"]], rest["next"]) == (["exit-0"], None)


async def test_one_exit_has_its_stacks(client: Client, control: StubControl) -> None:
    """The text that faulthandler wrote comes with the record; an unknown id is a 404."""
    control.exits.add(an_exit(1), "File x in f")
    told = await (await client.get("/debug/exits/exit-1")).json()
    assert told["stacks_text"] == "File x in f"
    assert told["usage"]["user_s"] == 1.5
    assert (await client.get("/debug/exits/..%2Fqueue")).status == 404


@pytest.mark.parametrize(
    "query", ["reason=bored", "limit=0", "since=noon", "colour=red", "pool=a&pool=b"]
)
async def test_wrong_parameters_are_told(client: Client, query: str) -> None:
    """A parameter that means nothing is an error and not ignored."""
    answer = await client.get(f"/debug/exits?{query}")
    assert answer.status == 400
    assert query.split("=")[0] in (await answer.json())["message"]


def test_what_became_of_batches_is_kept_and_a_viewer_sees_it(tmp_path: Path) -> None:
    """It is counts and names; what is decided after an exit is kept is in its file too."""
    store = ExitStore(tmp_path, str)
    held = HeldBatch(batch=7, connection="hook", events=3, delivered=1)
    store.add(msgspec.structs.replace(an_exit(1), batches=(held,)), "")
    store.decided("exit-1", lambda batches: (msgspec.structs.replace(batches[0], sent_again=2),))
    store.decided("gone", lambda batches: batches)
    store.close()
    again = ExitStore(tmp_path, str)
    record = again.get("exit-1")
    again.close()
    assert record is not None
    shown = viewers.exit(exit_json(record))
    (told,) = shown["batches"]
    assert told["connection"] == "hook"
    assert (told["events"], told["delivered"], told["sent_again"]) == (3, 1, 2)
