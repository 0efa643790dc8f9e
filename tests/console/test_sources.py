"""Sources: however many there are, the overview has the busiest, and the row has all, in pages."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.console.attention import MOST_ITEMS
from supervisor.console.status_watch import MOST_BUSIEST, StatusWatch
from tests.admin.stubs import StubControl
from tests.console.conftest import VIEWER, Client

AS_VIEWER = {"Authorization": f"Bearer {VIEWER}"}
MANY = 2500


def many(source: str) -> tuple[float, float]:
    """Each its own: of every tenth a third is rejected, and the last sends most."""
    number = int(source.removeprefix("s"))
    return float(number), number / 2 if number % 10 == 0 else 0.0


async def answered(console: Client, path: str) -> Any:
    """The answer, once it is one. Any: JSON."""
    answer = await console.get(path, headers=AS_VIEWER)
    told = await answer.json()
    assert answer.status == 200, told
    return told


@pytest.fixture
def watch(control: StubControl) -> StatusWatch:
    return StatusWatch(control.status, lambda: [f"s{n}" for n in range(MANY)], many)


async def test_all_are_had_in_pages_each_once(console: Client) -> None:
    """What rejects most first, then what sends most; by name where that is asked for."""
    for sort, first in (("busiest", "s2490"), ("name", "s0")):
        names: list[str] = []
        after = ""
        while True:
            page = await answered(console, f"/sources?sort={sort}&limit=500{after}")
            assert (page["total"], page["matched"]) == (MANY, MANY)
            names += [one["name"] for one in page["sources"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert names[0] == first
        assert len(names) == len(set(names)) == MANY
    assert names == sorted(names)


async def test_a_name_is_found_among_all(console: Client) -> None:
    """By a part of it, in any case."""
    page = await answered(console, "/sources?where=S2499")
    assert [one["name"] for one in page["sources"]] == ["s2499"]
    assert (page["matched"], page["total"], page["next"]) == (1, MANY, None)
    assert page["sources"][0] == {
        "name": "s2499", "received_per_s": 2499.0, "rejected_per_s": 0.0, "rejected_share": 0.0,
        "connections": 0,
    }  # fmt: skip


async def test_the_overview_lists_the_busiest(console: Client) -> None:
    """And says how many more there are, of sources and of what is wrong with them."""
    told = await answered(console, "/overview")
    assert (len(told["sources"]), told["more_sources"]) == (MOST_BUSIEST, MANY - MOST_BUSIEST)
    assert told["sources"][0]["name"] == "s2490"
    rejecting = [one for one in told["attention"] if one["kind"] == "rejected"]
    assert rejecting[0]["subject"]["name"] == "s2490"
    assert len(told["attention"]) == MOST_ITEMS
    # Of the 250 that reject a third, `s0` sends nothing; a layer of the sandbox is off.
    assert len(told["attention"]) + told["more_attention"] == 249 + 1


@pytest.mark.parametrize(
    ("query", "said"),
    [("sort=age", "sort"), ("limit=0", "limit"), ("after=x", "after"), ("who=me", "who")],
)
async def test_what_is_no_question_is_told(console: Client, query: str, said: str) -> None:
    """With the parameter's name."""
    answer = await console.get(f"/sources?{query}", headers=AS_VIEWER)
    told = await answer.json()
    assert (answer.status, told["error"]) == (400, "bad_request")
    assert said in told["message"]
