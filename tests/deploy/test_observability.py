"""Alerts and dashboards speak of metrics that exist, and every alert has its paragraph."""

import json
import re

from deploy.map import unstarted
from shared.events import SERVICES
from shared.migrate import ROOT
from shared.telemetry import REGISTRY

FOLDER = ROOT / "deploy" / "observability"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))


def known_metrics() -> set[str]:
    for service in SERVICES:
        unstarted(service)
    return {sample for metric in REGISTRY.collect() for sample in _samples(metric.name, metric.type)}


def _samples(name: str, kind: str) -> list[str]:
    suffixes = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}
    return [f"{name}{suffix}" for suffix in suffixes.get(kind, ("",))]


def test_every_metric_that_is_asked_for_exists() -> None:
    known = known_metrics()
    for path in (FOLDER / "alerts.yml", *DASHBOARDS):
        asked = set(re.findall(r"\bcowork_[a-z_]+", path.read_text()))
        assert asked, path
        assert asked <= known, f"{path.name} asks for {sorted(asked - known)}"


def test_every_alert_has_a_runbook() -> None:
    runbooks = set(re.findall(r"^## (\w+)$", (FOLDER / "RUNBOOKS.md").read_text(), re.M))
    alerts = set(re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text()))
    assert alerts == runbooks
    linked = set(re.findall(r"RUNBOOKS\.md#(\w+)", (FOLDER / "alerts.yml").read_text()))
    assert linked == {alert.lower() for alert in alerts}


def test_every_process_is_asked_for_its_metrics() -> None:
    asked = (FOLDER / "prometheus.yml").read_text()
    for service in SERVICES:
        for role in ("api", "worker"):
            assert f'"{service}-{role}:9000"' in asked


def test_dashboards_have_panels_of_their_own() -> None:
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels) > 0
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
        assert len(places) == len(panels), f"{path.name} has panels on top of each other"
