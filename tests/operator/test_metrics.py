"""Metrics as Prometheus reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.operator.world import CLUSTER, ROUTES, client, decision
from xds_server.model import Address, Event, Observation, Target, ViewKey
from xds_server.operator.gauges import Latest, counted
from xds_server.operator.metrics import Metrics
from xds_server.operator.views import PolicyStatus
from xds_server.orders.types import Kind, Order, Orders, Phase, Standing
from xds_server.protocol.events import Acked, Nacked, Sent, StaleNonce
from xds_server.transport.clients import ClientEvent, Closed, Connected

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(metrics: Metrics) -> Series:
    return {(name, labels): value for name, labels, value in _samples(metrics)}


def _samples(metrics: Metrics) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    for family in text_string_to_metric_families(asyncio.run(metrics.render()).decode()):
        for sample in family.samples:
            yield sample.name, tuple(sorted(sample.labels.items())), sample.value


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return read(metrics)[f"xds_server_{name}", tuple(sorted(labels.items()))]


def names(metrics: Metrics) -> set[str]:
    return {name for name, _ in read(metrics)}


def of(**latest: Any) -> Metrics:
    return Metrics(lambda: Latest(**latest))


def probe(healthy: bool, service: str = "checkout") -> Observation:
    where = Target(service, "us-east-1", Address("10.0.0.1", 80))
    return Observation("controlplane", where, healthy, at=1.0, latency_ms=4.0 if healthy else None)


def test_what_is_comes_from_the_latest_values_and_goes_with_them() -> None:
    clients = counted([client("a"), client("b")])
    latest = [Latest(decision(), PolicyStatus("p", "abc", ("bad",)), clients=clients)]
    metrics = Metrics(lambda: latest[0])
    assert value(metrics, "weight", service="checkout", view="eu-west-1", region="us-east-1") == 0.7
    assert value(metrics, "weight", service="checkout", view="eu-west-1", region="sa-east-1") == 0.0
    assert value(metrics, "verdict_score", service="checkout", region="sa-east-1") == 0.0
    assert value(metrics, "verdict", service="checkout", region="sa-east-1", health="down") == 1.0
    assert value(metrics, "endpoints", service="checkout", region="sa-east-1") == 2.0
    assert value(metrics, "policy_info", digest="abc") == 1.0
    assert value(metrics, "policy_rejected") == 1.0
    assert value(metrics, "connected_clients", fleet="default", region="us-east-1") == 2.0
    latest[0] = Latest()
    assert not any(name.startswith(("xds_server_weight", "xds_server_verdict")) for name in names(metrics))


def test_places_that_only_our_own_probes_do_not_see_are_told() -> None:
    checkout, *others = decision().services
    us, eu, *rest = checkout.verdicts
    assert us is not None
    verdicts = (replace(us, outvoted=True), eu, *rest)
    metrics = of(decision=replace(decision(), services=(replace(checkout, verdicts=verdicts), *others)))
    first, second = checkout.regions[:2]
    assert value(metrics, "probes_outvoted", service="checkout", region=first) == 1.0
    assert value(metrics, "probes_outvoted", service="checkout", region=second) == 0.0


def test_a_service_that_is_deployed_in_one_region_has_series_for_it_alone() -> None:
    places = {
        labels
        for name, labels in read(of(decision=decision()))
        if name == "xds_server_verdict_score" and ("service", "search") in labels
    }
    assert places == {(("region", "us-east-1"), ("service", "search"))}


def test_probes_are_counted_and_timed_and_forgotten_with_their_service() -> None:
    metrics = of(void_probes=3)
    for seen in (probe(True), probe(True), probe(False), probe(True, "search")):
        metrics.probe(seen)
    where = {"service": "checkout", "region": "us-east-1"}
    assert value(metrics, "probes_total", **where, result="healthy") == 2
    assert value(metrics, "probes_total", **where, result="failed") == 1
    assert value(metrics, "probe_seconds_count", region="us-east-1") == 3
    assert value(metrics, "probe_seconds_bucket", region="us-east-1", le="0.005") == 3
    assert value(metrics, "void_probes_total") == 3
    metrics.forget_except([("search", "us-east-1")])
    left = {dict(labels)["service"] for name, labels in read(metrics) if name == "xds_server_probes_total"}
    assert left == {"search"}
    metrics.probe(probe(True))
    assert value(metrics, "probes_total", **where, result="healthy") == 1


def test_what_happens_is_counted() -> None:
    metrics = Metrics()
    metrics.decided(0.003, decision(), 0.0)
    metrics.policy_read(accepted=True)
    metrics.policy_read(accepted=False)
    metrics.event(Event("region.down", 0.0, "", "alarm"))
    assert value(metrics, "decision_seconds_count") == 1
    assert value(metrics, "decision_seconds_bucket", le="0.005") == 1
    assert value(metrics, "policy_reloads_total", result="rejected") == 1
    assert value(metrics, "events_total", kind="region.down", severity="alarm") == 1


def test_conversations_with_clients_are_counted_by_type() -> None:
    metrics = Metrics()
    evil = "type.googleapis.com/evil"
    for what in (
        Connected(),
        Sent(CLUSTER, "v", "n", resources=4, size=1000),
        Acked(CLUSTER, "v", "n"),
        Nacked(ROUTES, "v", "n", "bad", ()),
        StaleNonce(evil, "n"),
        Closed("INVALID_ARGUMENT", "garbage"),
        Closed("", ""),
    ):
        metrics.client_event(ClientEvent(1, "peer", None, ViewKey("default", "us-east-1"), what))
    assert value(metrics, "streams_opened_total") == 1
    assert value(metrics, "responses_total", type="CDS") == 1
    assert value(metrics, "response_bytes_total", type="CDS") == 1000
    assert value(metrics, "answers_total", type="CDS", answer="ack") == 1
    assert value(metrics, "answers_total", type="RDS", answer="nack") == 1
    assert value(metrics, "answers_total", type="other", answer="stale") == 1
    assert value(metrics, "streams_closed_total", code="INVALID_ARGUMENT") == 1
    assert value(metrics, "streams_closed_total", code="by_client") == 1


def test_the_process_and_the_build_are_there_and_two_apps_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.decided(0.001, decision(), 0.0)
    assert value(other, "decision_seconds_count") == 0
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "xds_server_build_info"} <= names(one)


def test_orders_are_counted_and_what_they_moved_is_shown_where_they_hold() -> None:
    order = Order("e-1", Kind.EVACUATE, "anna", "why", 0.0, 9.0, region="us-east-1", service="checkout")
    hold = replace(order, id="h-1", kind=Kind.HOLD, region="")
    standing = (Standing(order, Phase.MOVING, 0.0, moved=0.4), Standing(hold, Phase.IN_FORCE, 0.0))
    metrics = of(decision=decision(), orders=Orders(1, standing))
    assert value(metrics, "orders", kind="evacuate", phase="moving") == 1
    assert value(metrics, "orders", kind="evacuate", phase="stopped") == 0
    assert value(metrics, "orders", kind="hold", phase="in force") == 1
    assert value(metrics, "evacuated", service="checkout", region="us-east-1") == 0.4
    assert value(metrics, "evacuated", service="checkout", region="eu-west-1") == 0.0
    assert value(metrics, "evacuated", service="search", region="us-east-1") == 0.0


def test_demand_and_what_the_loss_of_a_region_would_do() -> None:
    metrics = of(decision=decision())
    demand = decision().service("checkout").demand_rps[0]
    assert value(metrics, "demand_rps", service="checkout", view=decision().regions[0]) == demand
    assert value(metrics, "loss_overload", service="checkout", region="us-east-1") == 1.25


def test_clients_that_are_behind_and_whether_it_is_ready() -> None:
    there = client("a")
    metrics = of(clients=counted([there, replace(there, types=there.types[:1])]), ready=False)
    assert value(metrics, "behind_clients", fleet="default", region="us-east-1") == 1
    assert value(metrics, "rejecting_clients", fleet="default", region="us-east-1") == 1
    assert value(metrics, "ready") == 0
    assert value(Metrics(), "ready") == 1
