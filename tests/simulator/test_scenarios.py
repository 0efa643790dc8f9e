"""What the simulator answers, on scenarios small enough for a test."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.simulator import report, scenarios
from scripts.simulator.destinations import Healthy
from scripts.simulator.engine import Connection, Guard, Simulation
from scripts.simulator.figures import Result, percentile_s
from scripts.simulator.scenarios import Outage
from supervisor.core.scheduling.retry_governor import LEAST_PER_S


def healthy_p99_s(result: Result, sick: str | None = None) -> float:
    """Of all connections but the sick one."""
    latencies: Counter[int] = Counter()
    for name, figures in result.figures.items():
        if name != sick:
            latencies += figures.latencies
    return percentile_s(latencies, 0.99)


@pytest.fixture(scope="module")
def alone() -> Result:
    """Nine healthy connections and no sick one."""
    return scenarios.sick(None, seconds=60.0, per_s=20.0)


@pytest.mark.parametrize("kind", sorted(scenarios.SICK))
def test_a_sick_endpoint_costs_its_neighbours_nothing(kind: str, alone: Result) -> None:
    """The p99 of nine healthy connections is within 1.25 of what it is without the sick one."""
    beside = scenarios.sick(kind, seconds=60.0, per_s=20.0)
    assert healthy_p99_s(beside, kind) <= 1.25 * healthy_p99_s(alone)
    assert all(pending < 40 for name, pending in beside.pending.items() if name != kind)


def test_retries_after_an_outage_never_exceed_what_was_proven() -> None:
    """In no second there are more of them than were taken lately; and the backlog drains."""
    of = Outage(per_s=60.0, before_s=60.0, outage_s=240.0, after_s=600.0, capacity=3.0)
    result = scenarios.outage(of, guard=Guard.ALL)
    figures = result.figures["partner"]
    assert figures.retries_to_proven(of.before_s, of.until) <= 1.0
    during = figures.series("retries", result.until)[120:300]
    assert sum(during) / len(during) <= 3 * LEAST_PER_S
    assert figures.drained_at(of.ends, of.until, 60) is not None
    assert figures.given_up == 0


def test_without_governor_and_adaptive_concurrency_more_is_tried_in_vain() -> None:
    """What both of them save a partner that is in trouble."""
    tried = {}
    for guard in (Guard.ALL, Guard.NONE):
        of = Outage(per_s=60.0, before_s=60.0, outage_s=240.0, after_s=60.0)
        result = scenarios.outage(of, guard=guard)
        tried[guard] = sum(result.figures["partner"].series("retries", result.until)[60:300])
    assert 3 * tried[Guard.ALL] < tried[Guard.NONE]


def test_connection_with_half_of_the_traffic_does_not_slow_the_others() -> None:
    """Three hundred small connections beside a giant one: p99 within 1.25."""
    latencies = {}
    for with_giant in (True, False):
        result = scenarios.giant(connections=300, per_s=1500.0, seconds=10.0, with_giant=with_giant)
        latencies[with_giant] = healthy_p99_s(result, "giant")
        assert not any(result.pending.values())
    assert latencies[True] <= 1.25 * latencies[False]


def test_hourly_bursts_are_gone_before_the_next_and_a_neighbour_does_not_see_them() -> None:
    """Ten thousand at once to a destination with a limit of 50/s take some three minutes."""
    result = scenarios.bursts(days=0.25)
    figures = result.figures
    assert figures["bursts"].worst_pending <= 10_000
    assert 150 < figures["bursts"].percentile_s(0.99) < 240
    assert max(figures["bursts"].series("delivered", result.until)) <= 51
    assert figures["quiet"].percentile_s(0.99) < 0.1


def test_shares_of_a_full_pool_follow_weights() -> None:
    """With more work than the pool can do, events delivered follow weights within 5 %."""
    weights = [1, 1, 2, 2, 4, 4, 8, 8]
    until = 60.0
    connections = [
        Connection(
            f"w{n}",
            Healthy(0.1),
            scenarios.steady(5000.0, until),
            replace(scenarios.TERMS, weight=weight, max_concurrency=64, batch_events=size),
        )
        for n, (weight, size) in enumerate(zip(weights, [100, 50] * 4, strict=True))
    ]
    simulation = Simulation(connections, workers=1)
    simulation.run(until)
    shares = [
        simulation.figures[f"w{n}"].total.delivered / weight for n, weight in enumerate(weights)
    ]
    assert max(shares) <= 1.05 * min(shares), shares


def test_equal_seeds_give_equal_figures() -> None:
    """A simulation is a function of its scenario and seed."""
    one, other = (scenarios.sick("failing", seconds=20.0, seed=7) for _ in range(2))
    assert one.figures == other.figures


def test_plot_is_drawn_in_the_format_of_its_suffix(tmp_path: Path, alone: Result) -> None:
    """SVG for documents, PNG for chats."""
    for suffix, opening in ((".svg", b"<?xml"), (".png", b"\x89PNG")):
        path = tmp_path / f"plot{suffix}"
        report.plot([alone], path)
        assert path.read_bytes().startswith(opening)
