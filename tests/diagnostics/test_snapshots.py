"""What is kept of snapshots, and for how long."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from supervisor.diagnostics.snapshots import Full, Snapshot, SnapshotStore

KIB = 1024


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_769_864_400.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def store(folder: Path, *, max_bytes: int = 10 * KIB, max_count: int = 64) -> SnapshotStore:
    return SnapshotStore(folder, max_bytes=max_bytes, max_count=max_count, clock=Clock())


def take(
    kept: SnapshotStore, reason: str, *, size: int = KIB, worker: str = "default-1"
) -> Snapshot:
    """Keep a snapshot of `size` bytes."""
    name, file = kept.begin(worker, 7, "heapsnapshot", size)
    with file:
        file.write(bytes(size))
    return kept.keep(
        name,
        worker=worker,
        pool="default",
        pid=7,
        kind="heapsnapshot",
        reason=reason,
        pause_s=0.01,
        connection="website-hook",
    )


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    """Another store on the same folder lists the same files, newest first."""
    before = store(tmp_path)
    taken = [take(before, "request"), take(before, "soft_limit")]
    after = store(tmp_path)
    assert list(after.all()) == taken[::-1]
    assert after.path(taken[0]).stat().st_size == KIB
    assert taken[0].name == "default-1-7-20260131T130001Z.heapsnapshot"


def test_files_are_nobody_elses(tmp_path: Path) -> None:
    """Customers' data is readable by the service alone."""
    take(store(tmp_path / "snapshots"), "request")
    paths = [tmp_path / "snapshots", *(tmp_path / "snapshots").iterdir()]
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in paths)


def test_one_that_is_not_whole_is_never_listed(tmp_path: Path) -> None:
    """Neither while it is written nor after a crash, and nothing of it stays."""
    before = store(tmp_path)
    name, file = before.begin("default-1", 7, "heapsnapshot", KIB)
    file.write(b"half")
    file.close()
    assert before.get(name) is None
    assert not list(store(tmp_path).all())
    assert not list(tmp_path.iterdir())


def test_two_of_one_second_have_two_names(tmp_path: Path) -> None:
    """Names carry the second; a further one gets a number."""
    kept = SnapshotStore(tmp_path, max_bytes=KIB, clock=lambda: 0.0)
    first, file = kept.begin("default-1", 7, "heapsnapshot", 1)
    file.close()
    second, file = kept.begin("default-1", 7, "heapsnapshot", 1)
    file.close()
    assert (first, second) == (
        "default-1-7-19700101T000000Z.heapsnapshot",
        "default-1-7-19700101T000000Z-2.heapsnapshot",
    )


def test_the_oldest_make_room_and_never_the_last_of_a_reason(tmp_path: Path) -> None:
    """The only one of a reason outlives younger ones of others."""
    kept = store(tmp_path, max_bytes=4 * KIB)
    take(kept, "baseline")
    for _ in range(6):
        take(kept, "request")
    assert [one.reason for one in kept.all()] == ["request", "request", "request", "baseline"]


def test_their_number_is_bounded_too(tmp_path: Path) -> None:
    """Many small ones make room by count."""
    kept = store(tmp_path, max_count=3)
    names = [take(kept, "request").name for _ in range(5)]
    assert [one.name for one in kept.all()] == names[:1:-1]
    assert len(list(tmp_path.iterdir())) == 6


def test_a_disk_that_is_nearly_full_takes_none(tmp_path: Path) -> None:
    """The queue lives on that disk: what it may need stays free."""
    with pytest.raises(Full, match="make room, or delete old ones"):
        store(tmp_path).begin("default-1", 7, "heapsnapshot", 1 << 60)


def test_a_deleted_one_is_gone(tmp_path: Path) -> None:
    """File and record, and it cannot be deleted twice."""
    kept = store(tmp_path)
    name = take(kept, "request").name
    assert kept.delete(name)
    assert not kept.delete(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"not json", b'{"name": "../../etc/passwd"}', b"\xff" * 100]
)
def test_a_damaged_record_is_passed_over(tmp_path: Path, text: bytes) -> None:
    """Whatever stands in the folder, the service starts and lists the others."""
    taken = take(store(tmp_path), "request")
    (tmp_path / "odd.heapsnapshot.about").write_bytes(text)
    assert list(store(tmp_path).all()) == [taken]


def test_a_record_without_its_file_is_forgotten(tmp_path: Path) -> None:
    """An operator's `rm` is understood."""
    taken = take(store(tmp_path), "request")
    (tmp_path / taken.name).unlink()
    assert not list(store(tmp_path).all())
    assert not list(tmp_path.iterdir())
