"""Which alarms hold: as long as their cause does, and no longer."""

from __future__ import annotations

from dataclasses import replace

from tests.operator.world import HELD, client, decision
from xds_server.model import CutLink, Decision, Event, Health, Shed, Verdict
from xds_server.operator.alarms import Picture, alarm_json, alarms
from xds_server.operator.events import EventLog
from xds_server.operator.views import PolicyStatus
from xds_server.orders.types import Kind, Order, Phase, Standing

WELL = Picture(None, PolicyStatus("p.yaml", "abc"), (), (), EventLog().held, (), None, now=100.0, wall=1_000.0)


def told(seen: Picture) -> list[str]:
    return [f"{alarm.severity} {alarm.kind} {alarm.message}" for alarm in alarms(seen)]


def with_verdict(health: Health, *, services: int = 1) -> Decision:
    """All that is wrong is what is believed of sa-east-1."""
    (checkout, _) = decision().services
    verdicts = tuple(
        v and Verdict(health if r == "sa-east-1" else Health.HEALTHY, 1.0, "because", since=40.0)
        for r, v in zip(checkout.regions, checkout.verdicts, strict=True)
    )
    several = tuple(replace(checkout, service=f"s{n}", verdicts=verdicts) for n in range(services))
    return Decision(checkout.regions, several)


def test_when_all_is_well_nothing_holds() -> None:
    assert told(WELL) == []
    for health in (Health.HEALTHY, Health.RECOVERING, Health.DRAINING):
        assert told(replace(WELL, decision=with_verdict(health))) == []


def test_a_region_is_one_alarm_for_all_its_services_since_the_first_fell() -> None:
    (one,) = alarms(replace(WELL, decision=with_verdict(Health.DOWN)))
    assert alarm_json(one) == {
        "severity": "alarm",
        "kind": "region.down",
        "message": "s0 in sa-east-1: down, because",
        "since": 940.0,
        "region": "sa-east-1",
        "service": "s0",
    }
    (many,) = alarms(replace(WELL, decision=with_verdict(Health.UNKNOWN, services=5)))
    assert (many.message, many.service) == ("s0, s1, s2 and 2 more in sa-east-1: unknown, because", "")


def test_a_verdict_held_over_a_restart_has_no_date() -> None:
    (service,) = with_verdict(Health.UNKNOWN).services
    verdicts = tuple(v and replace(v, since=0.0) for v in service.verdicts)
    (one,) = alarms(replace(WELL, decision=Decision(service.regions, (replace(service, verdicts=verdicts),))))
    assert (one.kind, one.since) == ("region.unknown", None)


def test_probes_that_nobody_believes_are_one_warning() -> None:
    (one, other) = with_verdict(Health.HEALTHY, services=2).services
    verdicts = tuple(v and replace(v, outvoted=v.health is Health.HEALTHY) for v in one.verdicts)
    (found,) = alarms(replace(WELL, decision=Decision(one.regions, (replace(one, verdicts=verdicts), other))))
    assert (found.kind, found.severity) == ("probes.outvoted", "warning")
    assert found.message.startswith("our own probes of s0 in ")
    assert found.message.endswith("fail and are not believed, because live traffic or Envoys' probes pass")


def test_alarms_come_before_warnings() -> None:
    (first, second) = decision().services
    worn = replace(second, verdicts=with_verdict(Health.DEGRADED).services[0].verdicts, overload=1.25)
    seen = replace(WELL, decision=Decision(first.regions, (first, worn)))
    assert told(seen) == [
        "alarm capacity.short search: demand exceeds capacity, regions at up to 125%",
        "alarm region.down checkout in sa-east-1: down, 2 of 2 endpoints down: connection refused",
        "warning region.degraded search in sa-east-1: degraded, because",
    ]


def test_refused_requests_hold_as_long_as_they_are_refused() -> None:
    (checkout, _) = decision().services
    shed = replace(checkout, shed=(None, Shed(12, (), "full"), None, Shed(40, (), "full")))
    seen = replace(WELL, decision=Decision(shed.regions, (shed,)))
    words = "checkout: up to 40 % of the requests from eu-west-1, us-east-1 are refused"
    assert f"alarm load.shed {words}" in told(seen)


def test_an_order_that_stopped_half_way_is_an_alarm_and_one_that_returns_a_warning() -> None:
    order = Order("e-1", Kind.EVACUATE, "ann", "update", at=10.0, ends=7000.0, region="sa-east-1")
    stopped = Standing(order, Phase.STOPPED, 60.0, moved=0.4, detail="stopped at 40%: eu-west-1 fails")
    back = replace(stopped, phase=Phase.RETURNING, detail="")
    fine = [replace(stopped, phase=phase) for phase in (Phase.MOVING, Phase.MOVED, Phase.IN_FORCE)]
    seen = replace(WELL, orders=(back, *fine, stopped))
    assert told(seen) == [
        "alarm order.stopped evacuate sa-east-1 (all services): stopped at 40%: eu-west-1 fails",
        "warning order.returning evacuate sa-east-1 (all services): returning",
    ]
    assert [alarm.since for alarm in alarms(seen)] == [960.0, 960.0]


def test_what_clients_rejected_holds_until_they_take_it() -> None:
    assert told(replace(WELL, clients=(client("web-1"),), quarantined=(HELD,))) == [
        "alarm client.nack web-1 rejected what was sent: see the fleet",
        "alarm resource.quarantined outbound kept back from clients: see the fleet",
    ]


def test_a_refused_policy_holds_since_the_first_refusal_until_the_file_is_mended() -> None:
    log = EventLog()
    for wall in (500.0, 600.0):
        log.add(Event("policy.rejected", 0.0, "no", "alarm"), wall)
    refused = replace(WELL, held=log.held, policy=PolicyStatus("p.yaml", "abc", ("p.yaml:1:1: bad",)))
    (alarm,) = alarms(refused)
    assert (alarm.kind, alarm.since) == ("policy.rejected", 500.0)
    assert alarm.message == "the policy file is refused, the last good policy stays in force: p.yaml:1:1: bad"
    log.add(Event("policy.restored", 0.0, "mended"), 700.0)
    assert log.held.since("policy.rejected") is None
    assert told(replace(refused, policy=WELL.policy)) == []


def test_a_cut_link_is_one_warning_for_all_services_since_the_first_and_says_when_it_is_held() -> None:
    (one, other) = with_verdict(Health.HEALTHY, services=2).services
    cuts = (CutLink("eu-west-1", "sa-east-1", since=60.0), CutLink("us-east-1", "sa-east-1", since=-5.0, heard=False))
    first, second = alarms(replace(WELL, decision=Decision(one.regions, (replace(one, cuts=cuts), other))))
    assert (first.kind, first.severity, first.since, first.service) == ("link.cut", "warning", None, "s0")
    assert first.message == "us-east-1 could not reach s0 in sa-east-1, and has had no word on it since: held"
    assert (second.message, second.since) == ("eu-west-1 cannot reach s0 in sa-east-1", 960.0)
    later = replace(other, cuts=(CutLink("eu-west-1", "sa-east-1", since=80.0),))
    both = alarms(replace(WELL, decision=Decision(one.regions, (replace(one, cuts=cuts[:1]), later))))
    assert [(a.message, a.since, a.service) for a in both] == [
        ("eu-west-1 cannot reach s0, s1 in sa-east-1", 960.0, "")
    ]
