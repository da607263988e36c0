"""The report: every figure from known requests, the shipped schema, the summary for people."""

import copy
import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from xds_server.demo.faults import parse
from xds_server.demo.incident import Announcement, Incident
from xds_server.demo.mix import Due, Kind
from xds_server.demo.report import Measured, Usage, WeightsAt, build, summary
from xds_server.demo.tally import Delta, Totals

SCHEMA: dict[str, Any] = json.loads(files("xds_server.demo").joinpath("report.schema.json").read_text())


def _totals() -> Totals:
    """Ten requests a second for 30 s; plain writes fail between seconds 10 and 11."""
    delta = Delta()
    for number in range(300):
        at_s = number / 10
        kind = list(Kind)[number % 3]
        bad = 10.0 <= at_s < 11.0 and kind is Kind.PLAIN_WRITE
        latency_ms = 100.0 if 10.0 <= at_s < 19.9 else 10.0
        delta.record(Due(number, at_s, "us-east-1", kind), 503 if bad else 200, "eu-west-1", latency_ms)
    totals = Totals()
    totals.add(delta)
    return totals


def _measured() -> Measured:
    kill = Incident(parse("kill:us-east-1@10"), 1_000.0, 50.0, had_weight=True, detected_ms=1234.4, shifted_ms=1500.6)
    restore = Incident(parse("restore:us-east-1@20"), 1_010.0, 60.0, had_weight=False)
    errors = Incident(parse("errors:0.4:eu-west-1@25"), 1_015.0, 65.0, had_weight=True)
    cut = Incident(parse("cut:us-east-1:sa-east-1@25"), 1_015.0, 65.0, had_weight=True, shifted_ms=900.0)
    return Measured(
        started_at="2030-01-01T00:00:00+00:00",
        duration_s=30.0,
        rps=10.0,
        capacity_rps=25.0,
        completed=True,
        totals=_totals(),
        incidents=[kill, restore, errors, cut],
        weights=[WeightsAt(0.0, {"us-east-1": {"us-east-1": 10_000}}), WeightsAt(11.5, {"us-east-1": {}})],
        attempts=315,
        duplicated_writes=0,
        usage=Usage(rss_mb=50.0, rss_max_mb=60.0, cpu_s=1.5),
    )


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_report_is_valid_and_survives_json() -> None:
    report = json.loads(json.dumps(build(_measured())))
    jsonschema.validate(report, SCHEMA)


def test_the_schema_asks_for_every_key_of_the_report_and_allows_no_other() -> None:
    report = build(_measured())
    assert set(SCHEMA["required"]) == set(report) == set(SCHEMA["properties"])
    for key in report:
        short = copy.deepcopy(report)
        del short[key]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(short, SCHEMA)


def test_a_run_without_requests_is_valid_too() -> None:
    measured = Measured("2030-01-01T00:00:00+00:00", 0.0, 1.0, 2.5, False, Totals(), [], [], 0, 0, Usage(0.0, 0.0, 0.0))
    report = build(measured)
    jsonschema.validate(report, SCHEMA)
    assert "0 requests" in summary(report)


def test_the_counts_are_those_of_the_requests() -> None:
    report = build(_measured())
    assert (report["requests_total"], report["requests_failed"]) == (300, 3)
    assert report["failed_by_kind"] == {"read": 0, "keyed_write": 0, "plain_write": 3}
    assert report["failed_by_view"] == {"us-east-1": 3, "eu-west-1": 0, "ap-southeast-1": 0, "sa-east-1": 0}
    assert report["failed_by_status"] == {"503": 3}
    assert report["attempts_per_request"] == 1.05
    assert report["control_plane"]["cpu_share"] == 0.05


def test_before_during_and_after_a_fault() -> None:
    kill, restore, errors, cut = build(_measured())["faults"]
    assert (kill["detected_ms"], kill["shifted_ms"]) == (1234, 1501)
    assert kill["before"]["failed"] == kill["after"]["failed"] == 0
    assert (kill["during"]["requests"], kill["during"]["failed"]) == (100, 3)
    assert kill["before"]["p50_ms"] == pytest.approx(10.0, rel=0.02)
    assert kill["during"]["p99_ms"] == pytest.approx(100.0, rel=0.02)
    assert restore["during"] is None
    assert restore["after"]["requests"] == 100
    assert (errors["kind"], errors["arg"]) == ("errors", 0.4)
    assert (cut["kind"], cut["arg"], cut["target"]) == ("cut", "us-east-1", "sa-east-1")
    assert (errors["during"]["requests"], errors["after"]) == (50, None)


def test_the_summary_says_what_failed_and_how_long_it_took() -> None:
    text = summary(build(_measured()))
    assert "300 requests in 30 s, 3 failed (1.000 %): reads 0, keyed writes 0, plain writes 3" in text
    assert "kill:us-east-1  detected after 1.2 s, every Envoy shifted after 1.5 s; 3 failed of 100" in text
    assert "errors:0.4:eu-west-1" in text
    assert "cut:us-east-1:sa-east-1, the Envoys of us-east-1 shifted after 0.9 s" in text


def _down(time: float, region: str = "us-east-1") -> Announcement:
    return Announcement(1, time, "region.down", "alarm", "down", region)


def _incident(text: str, *, had_weight: bool = True) -> Incident:
    return Incident(parse(text), applied_wall=1_000.0, applied_mono=50.0, had_weight=had_weight)


def test_detection_is_the_first_verdict_on_that_region_after_the_fault() -> None:
    incident = _incident("kill:us-east-1@1")
    incident.hear([_down(999.0), _down(1_001.0, "eu-west-1"), _down(1_001.5), _down(1_009.0)])
    assert incident.detected_ms == 1_500.0


def test_shifting_takes_every_envoy() -> None:
    incident = _incident("kill:us-east-1@1")
    incident.see({"a": {"us-east-1": 0}, "b": {"us-east-1": 1}}, 2, 51.0)
    incident.see({"a": {"us-east-1": 0}}, 2, 51.5)
    assert incident.pending
    incident.see({"a": {"us-east-1": 0}, "b": {"eu-west-1": 10_000}}, 2, 52.0)
    assert incident.shifted_ms == 2_000.0
    assert not incident.pending


def test_a_cut_link_is_a_matter_of_one_view() -> None:
    incident = _incident("cut:eu-west-1:us-east-1@1")
    incident.see({"eu-west-1": {"us-east-1": 1}, "us-east-1": {"us-east-1": 9}}, 2, 51.0)
    incident.see({"eu-west-1": {"us-east-1": 0}, "us-east-1": {"us-east-1": 9}}, 2, 52.0)
    incident.hear([_down(1_001.0), _cut(1_001.5, "sa-east-1"), _cut(1_002.5, "eu-west-1")])
    assert (incident.shifted_ms, incident.detected_ms) == (2_000.0, 2_500.0)


def _cut(time: float, view: str) -> Announcement:
    return Announcement(1, time, "link.cut", "warning", "cut", "us-east-1", view)


@pytest.mark.parametrize("text", ["restore:us-east-1@1", "kill:controlplane@1"])
def test_what_cannot_shift_does_not(text: str) -> None:
    incident = _incident(text, had_weight=False)
    incident.see({"a": {}, "b": {}}, 2, 52.0)
    incident.hear([_down(1_001.0)])
    assert (incident.shifted_ms, incident.detected_ms, incident.pending) == (None, None, False)


def test_a_fault_that_is_over_learns_nothing_more() -> None:
    incident = _incident("kill:us-east-1@1")
    incident.over = True
    incident.see({"a": {}}, 1, 52.0)
    incident.hear([_down(1_001.0)])
    assert (incident.shifted_ms, incident.detected_ms) == (None, None)
