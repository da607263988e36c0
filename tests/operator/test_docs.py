"""docs/operating.md names every page and every metric there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from click import Context
from prometheus_client.parser import text_string_to_metric_families

from tests.operator.world import Process, client, strained
from tests.signals.world import in_loop
from xds_server.cli import main
from xds_server.model import Address, Event, Observation, SourceStatus, Target, ViewKey
from xds_server.operator.admin import AdminApp
from xds_server.operator.metrics import Metrics
from xds_server.operator.views import PolicyStatus
from xds_server.protocol.events import Acked, Sent
from xds_server.transport.clients import ClientEvent, Closed

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()


def first_column(pattern: str) -> dict[str, str]:
    """Return what the tables' first column names, and the rest of each row."""
    return dict(re.findall(rf"^\| `({pattern})` \|(.*)$", PAGE, re.MULTILINE))


def test_every_page_is_documented() -> None:
    paths = {route.path for route in AdminApp(Process()).app().routes}  # type: ignore[attr-defined]
    assert set(first_column(r"/[^`]*")) == paths


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
    source = SourceStatus("lrs", 1, 2, 3)
    metrics = Metrics(
        strained,
        lambda: PolicyStatus("p", "abc"),
        lambda: [client("a")],
        sources=lambda: [source],
        certificates=lambda: {"xds": 1.0},
    )
    where = Target("checkout", "us-east-1", Address("10.0.0.1", 80))
    metrics.probe(Observation("controlplane", where, healthy=True, at=0.0, latency_ms=1.0))
    metrics.policy_read(accepted=True)
    metrics.admin_denied("invalid")
    metrics.denied("xds")
    metrics.event(Event("region.up", 0.0, ""))
    for what in (Sent("t", "v", "n", 1, 1), Acked("t", "v", "n"), Closed("", "")):
        metrics.client_event(ClientEvent(1, "peer", None, ViewKey("default", "us-east-1"), what))
    return metrics
