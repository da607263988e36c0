"""What a person sees: the screen in 80 and 100 columns, the plain lines, and the words of Envoy they rest on."""

import io
from typing import Any

import pytest
from rich.console import Console

from xds_server.demo import plain
from xds_server.demo.mix import Kind
from xds_server.demo.picture import STEPS, Addresses, Line, Picture, RegionPicture
from xds_server.demo.screen import draw
from xds_server.demo.tally import Window
from xds_server.demo.topology import REGIONS, Topology, policy_text, ports_needed
from xds_server.demo.watch import announcement, route_weights

POLICY = "/tmp/xds-server-demo-abcdefgh/policy.yaml"


def picture(events: int = 40, refused: tuple[str, ...] = ()) -> Picture:
    reason = "2 of 2 endpoints failed: 127.0.0.1:12345 connection refused, 127.0.0.1:12346 connection refused"
    regions = [RegionPicture(region, "healthy", "2 of 2 endpoints answer", 50.0, "") for region in REGIONS]
    regions[0] = RegionPicture("us-east-1", "down", reason, 0.0, "blackhole")
    regions[1] = RegionPicture("eu-west-1", "healthy", "2 of 2 endpoints answer", 50.0, "cut:ap-southeast-1")
    return Picture(
        elapsed_s=754.0,
        duration_s=None,
        rps=400.0,
        done_rps=399.6,
        recent=Window(2000, 1, 83.2, 322.9),
        requests=1_234_567,
        in_flight=3,
        failed=12,
        failed_by_kind={Kind.PLAIN_WRITE: 12},
        duplicated_writes=0,
        attempts_per_request=1.0021,
        control_plane="no answer: the last decision is shown",
        regions=tuple(regions),
        weights={view: {"us-east-1": 0, "eu-west-1": 6_700, "ap-southeast-1": 3_300} for view in REGIONS},
        events=tuple(Line("12:00:00", "alarm", f"event {n} of a length that does not fit " * 3) for n in range(events)),
        refused=refused,
        chosen="errors:0.4",
        addresses=Addresses(
            control_plane="http://127.0.0.1:12345",
            policy=POLICY,
            envoy_admin={view: f"http://127.0.0.1:2000{n}" for n, view in enumerate(REGIONS)},
            sidecars={view: f"http://127.0.0.1:3000{n}" for n, view in enumerate(REGIONS)},
            directory="/tmp/xds-server-demo-abcdefgh",
        ),
    )


def drawn(shown: Picture, width: int, height: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system=None)
    console.print(draw(shown, height))
    return out.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 30), (100, 30), (120, 50)])
def test_the_screen_fits_and_shows_what_matters(width: int, height: int) -> None:
    lines = drawn(picture(), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for words in [
        "1,234,567 requests, 12 failed (reads 0, keyed writes 0, plain writes 12)",
        "p50 83 ms  p99 323 ms",
        "ran twice: 0",
        "us-east-1 down: 2 of 2 endpoints failed",
        "67 %",
        "blackhole",
        "cut:ap",
        "event 39",
        POLICY,
        "http://127.0.0.1:12345",
        "us 20000  eu 20001  ap 20002  sa 20003",
        "xds-server demo-fault kill:us-east-1",
        "no answer",
    ]:
        assert words in text
    assert not [line for line in lines[:14] if line.startswith("5 ")]


def test_a_refused_edit_is_shown_with_its_place() -> None:
    text = "\n".join(drawn(picture(3, ("policy.yaml:7:3: regions: unknown key `latencies`; write latency",)), 100, 30))
    assert "policy edit refused: policy.yaml:7:3: regions: unknown key `latencies`; write latency" in text


def test_plain_lines_say_the_same() -> None:
    said: list[str] = []
    ui = plain.PlainUi(said.append)
    ui.progress("starting 4 Envoys")
    ui.show(picture(), [Line("12:00:01", "alarm", "us-east-1 is down")])
    ui.show(picture(), [])
    assert said[0] == "starting 4 Envoys ..."
    assert POLICY in said[1]
    assert said[2] == "12:00:01 alarm   us-east-1 is down"
    assert "12 failed (plain_write=12)" in said[3]
    assert "(control plane: no answer: the last decision is shown) us-east-1=down" in said[3]
    assert len(said) == 4


def test_of_many_steps_plain_lines_say_the_first_and_the_last() -> None:
    said: list[str] = []
    ui = plain.PlainUi(said.append)
    ui.show(picture(), [])
    steps = [Line(f"12:00:0{n}", "info", f"step {n}", STEPS) for n in range(6)]
    ui.show(picture(), [Line("11:59:59", "info", "recovering"), *steps[:3]])
    ui.show(picture(), [steps[3]])
    ui.show(picture(), [Line("12:00:09", "info", "healthy"), *steps[4:]])
    ui.close()
    assert [line.partition("info    ")[2] for line in said[2:]] == [
        "recovering",
        "step 0",
        "step 3   (2 steps before it)",
        "healthy",
        "step 4",
        "step 5",
    ]


def _route(**action: Any) -> dict[str, Any]:
    host = {"domains": ["checkout.demo", "checkout.demo:*"], "routes": [{"match": {}, "route": action}]}
    return {"configs": [{"version_info": "1", "route_config": {"virtual_hosts": [host]}}]}


def test_weights_are_read_from_an_envoy_s_own_dump() -> None:
    clusters = [{"name": "checkout@us-east-1", "weight": 7_000}, {"name": "checkout@eu-west-1", "weight": 3_000}]
    clusters.append({"name": "checkout@sa-east-1"})
    weights = route_weights(_route(weighted_clusters={"clusters": clusters}))
    assert weights == {"us-east-1": 7_000, "eu-west-1": 3_000, "sa-east-1": 0}
    assert route_weights(_route(cluster="checkout@eu-west-1")) == {"eu-west-1": 10_000}
    assert route_weights({"configs": []}) is None
    assert route_weights(_route(cluster="other@eu-west-1")) is None


def test_an_event_of_the_control_plane_needs_no_more_than_its_time_kind_and_words() -> None:
    event = announcement({"seq": 4, "time": 1.5, "kind": "policy.accepted", "message": "policy accepted"})
    assert (event.region, event.severity) == ("", "info")


def test_the_demo_s_world_has_room_for_the_loss_of_any_region_and_none_holds_half() -> None:
    topology = Topology.of(400.0, None, tuple(range(ports_needed())))
    capacity = {region: topology.capacity_of(region) for region in REGIONS}
    assert sum(capacity.values()) == pytest.approx(1_000.0)
    for region in REGIONS:
        assert capacity[region] <= sum(capacity.values()) / 2
        assert (sum(capacity.values()) - capacity[region]) * 0.8 >= topology.rps
    assert sum(topology.demand_of(view) for view in REGIONS) == pytest.approx(400.0)
    assert topology.demand_of("sa-east-1") > capacity["sa-east-1"]


def test_every_port_is_used_once_and_stands_in_the_policy() -> None:
    ports = tuple(range(20_000, 20_000 + ports_needed()))
    topology = Topology.of(400.0, None, ports)
    text = policy_text(topology)
    used = [port for some in topology.backend_ports.values() for port in some] + list(topology.sidecar_ports.values())
    assert all(f"127.0.0.1:{port}" in text for port in used)
    rest = [*topology.envoy_admin_ports.values(), topology.xds_port, topology.admin_port]
    assert sorted(used + rest) == list(ports)
