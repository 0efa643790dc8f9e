"""Issues: a bounded table of causes that outlives restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from supervisor.insight.disk import Disk
from supervisor.insight.issues import (
    MOST_CAUSES,
    MOST_ISSUES,
    MOST_NEW_REASONS,
    OPEN_S,
    TOO_MANY,
    Issues,
    StoredIssue,
    load,
)
from tests.harness.waiting import until

Write = Callable[[int], Awaitable[None]]

NOW = 1_800_000_000.0


@asynccontextmanager
async def running(
    state_dir: Path,
) -> AsyncIterator[tuple[Issues, Callable[[int], Awaitable[None]]]]:
    """Issues of a service, and how they are written in a minute."""
    loaded: list[bool] = []
    anew: list[bool] = []
    disk = Disk(state_dir, lambda: anew.append(True))
    issues = Issues(disk)
    disk.start()

    def begin(rows: list[StoredIssue]) -> None:
        issues.begin(rows)
        loaded.append(True)

    disk.soon(load, begin, lambda _: loaded.append(False))
    await until(lambda: bool(loaded), 30, "they are loaded")
    if anew:
        issues.begin_anew()
    yield issues, issues.write
    await disk.ask(lambda db: None)
    await issues.write(int(NOW))
    await disk.close(30)


async def test_one_cause_is_one_issue_however_the_reasons_differ(tmp_path: Path) -> None:
    """Count, first and last seen; a connection's and a source's are others."""
    async with running(tmp_path) as (issues, _):
        for n in range(50):
            issues.seen("a", "failed", f"404 Not Found: no contact 5f3e9a{n:06}", 2, NOW + n)
        issues.seen("b", "failed", "404 Not Found: no contact 5f3e9a000001", 1, NOW)
        issues.rejected("a", "unknown_type", "type is required", 1, NOW)
        a_source, of_b, of_a = issues.listed()
        assert (of_a.count, of_a.first_seen, of_a.last_seen) == (100, NOW, NOW + 49)
        assert of_a.cause == "404 Not Found: no contact <id>"
        assert (of_b.connection, of_b.source) == ("b", None)
        assert (a_source.connection, a_source.source, a_source.kind) == (None, "a", "rejected")
        assert issues.get(of_a.id) is of_a
        assert issues.get("none") is None


async def test_an_issue_is_closed_after_an_hour_without_one(tmp_path: Path) -> None:
    """And open again with the next."""
    async with running(tmp_path) as (issues, _):
        issue = issues.seen("a", "retry", "503 Service Unavailable", 1, NOW)
        assert issue.is_open(NOW + OPEN_S - 1)
        assert not issue.is_open(NOW + OPEN_S)
        assert issues.seen("a", "retry", "503 Service Unavailable", 1, NOW + 2 * OPEN_S) is issue
        assert issue.is_open(NOW + 2 * OPEN_S)


async def test_those_that_were_not_seen_for_longest_go(tmp_path: Path) -> None:
    """Of a connection with many causes, which is told; what is seen again stays."""
    words = [a + b for a in "abcdefgh" for b in "klmnopqr"]
    async with running(tmp_path) as (issues, _):
        issues.seen("a", "failed", "stays", 1, NOW)
        for word in words:
            issues.seen("a", "failed", f"the field {word} is not there", 1, NOW)
            issues.seen("a", "failed", "stays", 1, NOW)
        kept = [issue.cause for issue in issues.listed()]
        assert len(kept) == MOST_CAUSES
        assert "stays" in kept
        assert f"the field {words[-1]} is not there" in kept
        assert issues.forgotten == len(words) + 1 - MOST_CAUSES


async def test_who_invents_reasons_pays_for_few_of_them(tmp_path: Path) -> None:
    """The rest of a minute is counted as one; the next minute begins anew."""
    async with running(tmp_path) as (issues, _):
        letters = "abcdefghijklmnopqrstuvwxyz"
        for n in range(5 * MOST_NEW_REASONS):
            text = "".join(letters[n // 26**k % 26] for k in range(3))
            issues.seen("a", "failed", f"made up {text}", 1, NOW)
        by_cause = {issue.cause: issue.count for issue in issues.listed()}
        assert by_cause[TOO_MANY] == 4 * MOST_NEW_REASONS
        issues.seen("a", "failed", "made up again", 1, NOW + 61)
        assert "made up again" in [issue.cause for issue in issues.listed()]


async def test_all_of_them_are_bounded(tmp_path: Path) -> None:
    """However many connections fail in however many ways."""
    async with running(tmp_path) as (issues, write):
        for n in range(MOST_ISSUES + 500):
            issues.seen(f"c{n}", "failed", "400 Bad Request", 1, NOW)
        assert len(list(issues.listed())) == MOST_ISSUES
        await write(int(NOW))
    async with running(tmp_path) as (issues, _):
        assert len(list(issues.listed())) == MOST_ISSUES


async def test_they_outlive_a_restart_with_their_minutes(tmp_path: Path) -> None:
    """The same id; counts go on; minutes are those that something was seen in."""
    async with running(tmp_path) as (issues, write):
        issue = issues.seen("a", "failed", "400 Bad Request", 3, NOW)
        await write(int(NOW) // 60 * 60)
        await issues.minutes(issue, NOW)
        issues.seen("a", "failed", "400 Bad Request", 2, NOW + 120)
        await write(int(NOW) // 60 * 60 + 120)
        issue_id = issue.id
    async with running(tmp_path) as (issues, _):
        found = issues.get(issue_id)
        assert found is not None
        assert found.count == 5
        issues.seen("a", "failed", "400 Bad Request", 1, NOW + 240)
        minute = int(NOW) // 60 * 60
        assert await issues.minutes(found, NOW + 240) == [
            (minute, 3),
            (minute + 120, 2),
            (minute + 240, 1),
        ]


async def test_what_is_seen_before_the_disk_answers_is_added(tmp_path: Path) -> None:
    """Nothing waits for the disk at a start."""
    async with running(tmp_path) as (issues, _):
        issues.seen("a", "failed", "400 Bad Request", 3, NOW)
    async with running(tmp_path) as (before, _):
        rows = await before._disk.ask(load)
    async with running(tmp_path) as (issues, _):
        issues.follow(set(), set())
        issues.seen("a", "failed", "400 Bad Request", 2, NOW + 9)
        issues.seen("a", "retry", "503 Service Unavailable", 1, NOW + 9)
        issues.begin(rows)
        assert {i.kind: (i.count, i.first_seen) for i in issues.listed()} == {
            "failed": (5, NOW),
            "retry": (1, NOW + 9),
        }


async def test_a_reload_forgets_connections_that_are_gone(tmp_path: Path) -> None:
    """On disk as well."""
    async with running(tmp_path) as (issues, _):
        issues.seen("a", "failed", "400 Bad Request", 3, NOW)
        issues.seen("b", "failed", "400 Bad Request", 3, NOW)
        issues.rejected("s", "too_large", "9 bytes", 1, NOW)
        await issues.write(int(NOW))
        issues.follow({"a"}, set())
    async with running(tmp_path) as (issues, _):
        assert [issue.connection for issue in issues.listed()] == ["a"]
