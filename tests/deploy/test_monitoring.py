"""The alert rules and the dashboard speak of metrics, labels and label values that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.access.world import served
from xds_server.model import Health
from xds_server.orders.types import Kind, Phase

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "xds-server.json").read_text())
SCRAPED = {"job", "instance", "le"}
"""Labels that Prometheus adds, and those of histograms."""

VALUES: dict[tuple[str, str], set[str]] = {
    ("xds_server_verdict", "health"): {str(health) for health in Health},
    ("xds_server_orders", "kind"): {str(kind) for kind in Kind},
    ("xds_server_orders", "phase"): {str(phase) for phase in Phase},
    ("xds_server_probes_total", "result"): {"healthy", "failed"},
    ("xds_server_events_total", "severity"): {"info", "warning", "alarm"},
    ("xds_server_signal_streams", "source"): {"lrs", "hds", "als", "agents"},
    ("xds_server_signal_messages_total", "source"): {"lrs", "hds", "als", "agents"},
}
NAME = re.compile(r"\b((?:xds_server|process|python)_\w+)(?:\{([^}]*)\})?")


def panels() -> Iterator[dict[str, Any]]:
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def queries() -> list[tuple[str, str]]:
    """Return every expression with what is written around it, where labels are named too."""
    alerts = [(rule["expr"], json.dumps(rule["annotations"]).replace("$labels.", "")) for rule in RULES]
    drawn = [(target["expr"], target["legendFormat"]) for panel in panels() for target in panel["targets"]]
    chosen = [
        (re.sub(r"label_values\((\w+), (\w+)\)", r"sum by (\2) (\1)", variable["definition"]), "")
        for variable in DASHBOARD["templating"]["list"]
        if variable["type"] == "query"
    ]
    return [*alerts, *drawn, *chosen]


def documented() -> dict[str, set[str]]:
    """Return each metric's labels; test_docs holds the table to what is served."""
    rows = re.findall(r"^\| `(xds_server_\w+)` \|([^|]*)\|", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of all series that a running process shows, those without a sample yet too."""
    with served(tmp_path_factory.mktemp("metrics")) as server:
        text = server.ask("/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    ends = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
    return {name + end for name, kind in kinds.items() for end in ends[kind]}


def test_every_metric_is_served(names: set[str]) -> None:
    used = {name for expression, _ in queries() for name, _ in NAME.findall(expression)}
    assert len(used) > 30
    assert used <= names


def test_the_dashboard_shows_every_metric_but_the_build() -> None:
    used = {re.sub(r"_bucket$", "", name) for expression, _ in queries() for name, _ in NAME.findall(expression)}
    assert documented().keys() - used == {
        "xds_server_build_info", "xds_server_endpoints", "xds_server_endpoints_up", "xds_server_outlier_profile",
        "xds_server_responses_total", "xds_server_tls_handshakes_total",
    }  # fmt: skip


@pytest.mark.parametrize(("expression", "around"), queries())
def test_every_label_is_one_of_its_metric_and_every_value_one_of_its_label(expression: str, around: str) -> None:
    table = documented()
    here = [(re.sub(r"_(bucket|sum|count)$", "", name), matchers) for name, matchers in NAME.findall(expression)]
    known = {label for name, _ in here for label in table.get(name, set())} | SCRAPED
    grouped = {label for words in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in words.split(", ")}
    assert grouped <= known
    assert set(re.findall(r"{{ ?(\w+) ?}}", around)) <= (grouped or known)
    for name, matchers in here:
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', matchers):
            assert label in table.get(name, set()) | SCRAPED
            values = set(value.split("|")) if not value.startswith("$") and label not in SCRAPED else set()
            assert values <= VALUES.get((name, label), {"lrs", "hds", "als"} if operator == "=~" else set())


def test_every_alert_says_what_is_wrong_and_which_runbook_helps() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
        assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    written = {f"docs/runbooks/{path.name}" for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert {rule["annotations"]["runbook"] for rule in RULES} == written


def test_the_page_for_operators_leads_from_every_alert_to_its_runbook() -> None:
    rows = re.findall(
        r"^\| (`XdsServer[^|]*) \| .*\((runbooks/.*\.md)\)", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE
    )
    shown = {alert: f"docs/{runbook}" for alerts, runbook in rows for alert in re.findall(r"`(\w+)`", alerts)}
    assert shown == {rule["alert"]: rule["annotations"]["runbook"] for rule in RULES}


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
