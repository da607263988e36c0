"""http-api.md names every path with its role, operating.md every command and metric there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from click import Context
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from tests.operator.world import Process, client, strained, swung
from tests.signals.world import in_loop
from xds_server.cli import main
from xds_server.model import Address, Event, Observation, SourceStatus, Target, ViewKey
from xds_server.operator.access import needed
from xds_server.operator.admin import AdminApp
from xds_server.operator.gauges import Latest, counted
from xds_server.operator.metrics import Metrics
from xds_server.operator.openapi.operations import operations
from xds_server.operator.views import PolicyStatus
from xds_server.protocol.events import Acked, Sent
from xds_server.transport.clients import ClientEvent, Closed

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "operating.md").read_text()


def first_column(pattern: str, page: str = PAGE) -> dict[str, str]:
    """Return what the tables' first column names, and the rest of each row."""
    return dict(re.findall(rf"^\| `({pattern})` \|(.*)$", page, re.MULTILINE))


def test_every_path_is_documented_with_its_role() -> None:
    page = (DOCS / "http-api.md").read_text()
    documented = {path: row.split("|")[0].split() for path, row in first_column(r"/[^`]*", page).items()}
    needs: dict[str, list[str]] = {}
    for route in AdminApp(Process()).app().routes:
        assert isinstance(route, Route)
        methods = sorted((route.methods or set()) - {"HEAD"})
        roles = [role or "none" for role in (needed(method, route.path) for method in methods)]
        words = [f"`{role}`" if role != "none" else role for role in roles]
        needs[route.path] = words if len(words) == 1 else [f"{words[0]};", "`POST`:", words[1]]
    assert documented == needs


def test_every_error_status_of_the_api_is_documented() -> None:
    page = (DOCS / "http-api.md").read_text()
    documented = set(re.findall(r"\b(\d{3})\b", " ".join(re.findall(r"^\| (\d{3}[^|]*)\|", page, re.MULTILINE))))
    statuses = {str(status) for operation in operations().values() for status in operation.errors}
    assert documented == statuses | {"401", "403", "405", "421", "500"}


def test_every_command_is_documented() -> None:
    commands = {f"xds-server {name}" for name in main.list_commands(Context(main))}
    assert set(first_column(r"xds-server [\w-]+")) == commands


@in_loop
async def test_every_metric_is_documented_with_its_labels() -> None:
    shown: dict[str, set[str]] = {}
    for family in text_string_to_metric_families((await _busy().render()).decode()):
        if family.name.startswith("xds_server_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels}
            shown[name] = labels - {"le"}
    documented = {
        name: set(re.findall(r"`(\w+)`", row.split("|")[0])) for name, row in first_column(r"xds_server_\w+").items()
    }
    assert documented == shown


def _busy() -> Metrics:
    """Metrics of a process to which everything happened."""
    sources, clients = (SourceStatus("lrs", 1, 2, 3),), counted([client("a")])
    policy = PolicyStatus("p", "abc")
    latest = Latest(strained(), policy, clients=clients, sources=sources, certificates={"xds": 1.0})
    metrics = Metrics(lambda: latest)
    where = Target("checkout", "us-east-1", Address("10.0.0.1", 80))
    metrics.probe(Observation("controlplane", where, healthy=True, at=0.0, latency_ms=1.0))
    for home in (10_000, 0, 10_000):
        metrics.decided(0.001, swung(home), 0.0)
    metrics.policy_read(accepted=True)
    metrics.admin_denied("invalid")
    metrics.denied("xds")
    metrics.event(Event("region.up", 0.0, ""))
    for what in (Sent("t", "v", "n", 1, 1), Acked("t", "v", "n"), Closed("", "")):
        metrics.client_event(ClientEvent(1, "peer", None, ViewKey("default", "us-east-1"), what))
    return metrics
