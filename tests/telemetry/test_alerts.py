"""The alerts that we ship: each can fire, on metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from supervisor.telemetry.metrics import Metrics
from tests.admin.stubs import a_status
from tests.telemetry.test_metrics import always, samples, value

ALERTS = Path(__file__).parents[2] / "config" / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]  # Any: YAML
#: Labels that Prometheus adds to what it scrapes.
ITS_OWN = {"instance", "job"}
RELOAD = "bulkhead_config_reload_success"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_whom_it_wakes_and_what_to_do(rule: dict[str, Any]) -> None:
    """With a severity, and two texts that name what it is about by labels that it has."""
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description"}
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    grouped = re.findall(r"by \(([^)]*)\)", rule["expr"])
    has = {label.strip() for group in grouped for label in group.split(",")} or ITS_OWN
    assert named <= has, rule["alert"]


def test_alerts_are_on_metrics_and_labels_that_there_are() -> None:
    """A name that was changed is an alert that never fires."""
    source = (Path(__file__).parents[2] / "supervisor" / "telemetry").glob("*.py")
    code = "\n".join(path.read_text() for path in source)
    for rule in RULES:
        expr = re.sub(r'"[^"]*"', "", rule["expr"])
        for name in set(re.findall(r"\bbulkhead_\w+", expr)):
            plain = name.removeprefix("bulkhead_").removesuffix("_total")
            assert re.search(rf'"(?:bulkhead_)?{plain}(?:_total)?"', code), name
        for label in re.findall(r"[{,]\s*(\w+)\s*[=!]", expr):
            assert label in ITS_OWN or f'"{label}"' in code, label


def test_a_reload_that_was_refused_fires_until_one_is_followed() -> None:
    """And a service that never was asked for one is quiet."""
    (rule,) = [rule for rule in RULES if RELOAD in rule["expr"]]
    assert rule["expr"] == f"{RELOAD} == 0"
    metrics = Metrics("1.2.3")
    metrics.follow(always(a_status()))
    assert (RELOAD, frozenset()) in samples(metrics)
    for is_success in (True, False, True):
        assert value(metrics, RELOAD) == 1
        metrics.config_followed(is_success=is_success, at=1.0)
        assert value(metrics, RELOAD) == float(is_success)
        metrics.config_followed(is_success=True, at=2.0)
