"""Load reports added up: conservation, levels, silence, and what is stepped over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import load_report_pb2
from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import decisions as made
from xds_server.model import LoadReport
from xds_server.signals.load_stats_pb2 import LoadStats
from xds_server.signals.load_tally import FORGET_AFTER, LoadTally, parsed, without_node
from xds_server.signals.lrs import MOST_REPORTS_PER_S, interval_for
from xds_server.signals.places import Places

US, EU = "us-east-1", "eu-west-1"
Row = tuple[str, str, int, int, int, int]
"""The cluster's region, the one that served, and issued, succeeded, failed, under way."""


def places() -> Places:
    found = Places()
    found.follow(made.policy([made.service()]))
    return found


def message(rows: Iterable[Row], *, seconds: float = 1.0, dropped: int = 0) -> LoadStats:
    """What is read of the request that an Envoy would send."""
    return parsed(request(rows, seconds=seconds, dropped=dropped).SerializeToString())


def request(rows: Iterable[Row], *, seconds: float = 1.0, dropped: int = 0) -> lrs_pb2.LoadStatsRequest:
    interval = Duration()
    interval.FromNanoseconds(int(seconds * 1e9))
    stats = []
    for aimed, region, issued, succeeded, failed, active in rows:
        locality = load_report_pb2.UpstreamLocalityStats(
            locality=base_pb2.Locality(region=region),
            total_issued_requests=issued,
            total_successful_requests=succeeded,
            total_error_requests=failed,
            total_requests_in_progress=active,
        )
        stats.append(
            load_report_pb2.ClusterStats(
                cluster_name=f"checkout@{aimed}",
                upstream_locality_stats=[locality],
                total_dropped_requests=dropped,
                load_report_interval=interval,
            )
        )
    return lrs_pb2.LoadStatsRequest(cluster_stats=stats)


def by_region(reports: list[LoadReport]) -> dict[str, LoadReport]:
    assert len({report.region for report in reports}) == len(reports)
    return {report.region: report for report in reports}


def test_the_region_that_served_is_the_one_that_counts() -> None:
    tally = LoadTally(places())
    assert tally.add(1, US, message([(US, US, 10, 7, 2, 0), (US, EU, 5, 5, 0, 0), (EU, EU, 3, 3, 0, 0)])) == 0
    found = by_region(tally.take(100.0, 1.0))
    assert (found[US].issued, found[US].succeeded, found[US].failed, found[US].reflex) == (10, 7, 2, 0)
    assert (found[EU].issued, found[EU].reflex, found[EU].view) == (8, 5, US)


def test_views_are_apart_and_their_envoys_together() -> None:
    tally = LoadTally(places())
    for stream, view in enumerate([US, US, EU]):
        tally.add(stream, view, message([(US, US, 1, 1, 0, 0)]))
    tally.add(0, US, message([(US, US, 1, 1, 0, 0)]))
    found = {report.view: (report.issued, report.envoys) for report in tally.take(1.0, 1.0)}
    assert found == {US: (3, 2), EU: (1, 1)}


def test_the_part_of_who_fails_most_is_told_and_does_not_pass_to_the_unluckiest_of_each_second() -> None:
    tally = LoadTally(places())
    seconds = [((8, 2), (7, 3)), ((6, 4), (5, 5)), ((9, 1), (0, 10)), ((5, 5), (9, 1))]
    leads = []
    for now, said in enumerate(seconds):
        for reporter, (good, bad) in enumerate(said):
            tally.add(reporter, US, message([(US, US, 10, good, bad, 0)]), who=reporter)
        leads += [(report.lead_succeeded, report.lead_failed) for report in tally.take(float(now), 1.0)]
    assert leads == [(7, 3), (5, 5), (0, 10), (5, 5)]


def test_streams_of_one_certificate_are_one_reporter() -> None:
    tally = LoadTally(places())
    for stream, who in enumerate(["liar", "liar", "honest", None]):
        tally.add(stream, US, message([(US, US, 10, 0, 10, 0)]), who)
    found = by_region(tally.take(1.0, 1.0))[US]
    assert (found.failed, found.lead_failed, found.envoys) == (40, 20, 4)


COUNTS = st.integers(0, 1_000_000)
ROWS = st.lists(st.tuples(st.sampled_from([US, EU]), st.sampled_from([US, EU]), COUNTS, COUNTS, COUNTS, st.just(0)))


@given(st.lists(st.tuples(st.integers(0, 3), ROWS, st.booleans())))
@settings(max_examples=200, deadline=None)
def test_no_count_is_lost_however_reports_and_intervals_fall(history: list[tuple[int, list[Row], bool]]) -> None:
    tally, reports, now = LoadTally(places()), list[LoadReport](), 0.0
    sent = Counter[str]()
    for stream, rows, take in history:
        tally.add(stream, US, message(rows))
        for _, region, issued, succeeded, failed, _ in rows:
            sent.update({f"{region} issued": issued, f"{region} ok": succeeded, f"{region} failed": failed})
        if take:
            now += 1.0
            reports += tally.take(now, 1.0)
    tally.add(9, US, message([]))
    reports += tally.take(now + 1.0, 1.0)
    got = Counter[str]()
    for report in reports:
        counts = {"issued": report.issued, "ok": report.succeeded, "failed": report.failed}
        got.update({f"{report.region} {name}": count for name, count in counts.items()})
    assert +got == +sent


def test_under_way_is_a_level_whatever_the_reports_interval() -> None:
    tally = LoadTally(places())
    for seconds in (0.5, 0.5, 1.0):
        tally.add(1, US, message([(US, US, 0, 0, 0, 30)], seconds=seconds))
    assert [report.in_progress for report in tally.take(2.0, 2.0)] == [30]


def test_a_rate_is_right_when_an_envoy_reports_every_other_interval() -> None:
    tally, rates = LoadTally(places()), []
    for second in range(1, 9):
        if second % 2 == 0:
            tally.add(1, US, message([(US, US, 200, 200, 0, 0)], seconds=2.0))
        rates += [report.issued / report.interval_s for report in tally.take(float(second), 1.0)]
    assert rates[1:] == [100.0, 100.0, 100.0]


def test_silence_is_reported_for_a_while_if_somebody_reports_it() -> None:
    tally = LoadTally(places())
    tally.add(1, US, message([(US, US, 1, 1, 0, 0)]))
    tally.take(1.0, 1.0)
    assert tally.take(2.0, 1.0) == [], "nobody reported: that is not the same as no traffic"
    quiet = 0
    for second in range(2 * FORGET_AFTER):
        tally.add(1, US, message([]))
        quiet += len(tally.take(3.0 + second, 1.0))
    assert quiet == FORGET_AFTER - 1


def test_what_was_refused_before_any_host_counts_for_the_region_it_was_meant_for() -> None:
    tally = LoadTally(places())
    tally.add(1, US, message([(US, EU, 1, 1, 0, 0)], dropped=4))
    found = by_region(tally.take(1.0, 1.0))
    assert (found[US].dropped, found[US].issued, found[EU].dropped) == (4, 0, 0)


def test_names_of_others_are_not_taken_over() -> None:
    tally = LoadTally(places())
    stray = message([(US, US, 1, 1, 0, 0), (US, "mars", 1, 1, 0, 0), (US, US, 1, 1, 0, 0), (US, US, 1, 1, 0, 0)])
    stray.cluster_stats[0].cluster_name = b"xds"
    stray.cluster_stats[2].upstream_locality_stats[0].locality = b"no locality"
    stray.cluster_stats[3].cluster_name = b"\xff"
    assert tally.add(1, US, stray) == 4
    assert tally.take(1.0, 1.0) == []


def test_a_locality_counts_for_its_region_however_it_is_spelled() -> None:
    tally = LoadTally(places())
    for zone in ("", "a", "b", "a"):
        said = request([(US, EU, 1, 1, 0, 0)])
        said.cluster_stats[0].upstream_locality_stats[0].locality.zone = zone
        assert tally.add(1, US, parsed(said.SerializeToString())) == 0
    assert by_region(tally.take(1.0, 1.0))[EU].reflex == 4


def test_a_name_means_what_the_policy_in_force_says() -> None:
    known = places()
    tally = LoadTally(known)
    assert tally.add(1, US, message([(US, US, 1, 1, 0, 0)])) == 0
    known.follow(made.policy([made.service("search")]))
    assert tally.add(1, US, message([(US, US, 1, 1, 0, 0)])) == 1
    known.follow(made.policy([made.service()]))
    assert tally.add(1, US, message([(US, US, 1, 1, 0, 0)])) == 0
    assert by_region(tally.take(1.0, 1.0))[US].issued == 2


def test_a_service_that_leaves_the_policy_is_forgotten() -> None:
    known = places()
    tally = LoadTally(known)
    tally.add(1, US, message([(US, US, 1, 1, 0, 0)]))
    known.follow(made.policy([made.service("search")]))
    assert tally.take(1.0, 1.0) == []


@given(st.text(max_size=300), ROWS)
@settings(max_examples=100, deadline=None)
def test_a_report_without_its_node_is_the_same_report(name: str, rows: list[Row]) -> None:
    bare = request(rows)
    full = request(rows)
    full.node.id = name
    full.node.extensions.add(name=name * 200)
    assert lrs_pb2.LoadStatsRequest.FromString(without_node(full.SerializeToString())) == bare
    assert without_node(bare.SerializeToString()) == bare.SerializeToString()


def test_what_is_read_of_a_report_lies_on_the_wire_where_envoy_puts_it() -> None:
    pairs = [(LoadStats.DESCRIPTOR, lrs_pb2.LoadStatsRequest.DESCRIPTOR)]
    while pairs:
        ours, envoys = pairs.pop()
        for field in ours.fields:
            theirs = envoys.fields_by_number[field.number]
            assert (field.name, field.is_repeated) == (theirs.name, theirs.is_repeated)
            if field.message_type is not None and field.message_type.file is ours.file:
                pairs.append((field.message_type, theirs.message_type))
            elif field.type == field.TYPE_BYTES:
                assert theirs.type in {field.TYPE_STRING, field.TYPE_MESSAGE}, "of the same wire type"
            else:
                assert (field.type, field.message_type) == (theirs.type, theirs.message_type)


@given(st.binary(max_size=20))
def test_broken_bytes_are_stepped_over_without_trouble(data: bytes) -> None:
    assert len(without_node(data)) <= len(data)


def test_the_interval_grows_with_the_fleet_and_does_not_swing() -> None:
    n = MOST_REPORTS_PER_S
    assert [interval_for(streams, 1) for streams in (0, 1, n, n + 1, 2 * n, 2 * n + 1, 10 * n)] == [
        1,
        1,
        1,
        2,
        2,
        3,
        10,
    ]
    assert interval_for(n - 1, 2) == 2
    assert interval_for(int(n / 1.3), 2) == 1
    assert interval_for(0, 10) == 1
    for streams in range(0, 3 * n, 97):
        for before in range(1, 6):
            after = interval_for(streams, before)
            assert interval_for(streams, after) == after, "it settles at once"
            assert streams / after <= n
