"""Log entries added up: shares of the sample, whose latency it is, and what counts as failed."""

from __future__ import annotations

import pytest
from envoy.config.core.v3 import address_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from tests.support import decisions as made
from xds_server.histogram import BUCKETS, GROWTH, SMALLEST_MS, bucket_of, middle_of, quantile
from xds_server.model import AccessSummary, Address, Target, ViewKey
from xds_server.policy.types import DEFAULT_FLEET, Fleet
from xds_server.signals.als import UNANSWERED, AccessTally
from xds_server.signals.places import Places

US, EU = "us-east-1", "eu-west-1"
ADDRESSES = {US: Address("10.0.0.1", 80), EU: Address("10.0.0.2", 80)}
VIEW = ViewKey(DEFAULT_FLEET, US)


def tally(share: float = 1.0) -> AccessTally:
    places = Places()
    places.follow(made.policy([made.service()], fleets=[Fleet(DEFAULT_FLEET, "::1", 1, access_logs=share)]))
    places.locate(Target("checkout", region, address) for region, address in ADDRESSES.items())
    return AccessTally(places)


def ms(value: float) -> Duration:
    found = Duration()
    found.FromNanoseconds(int(value * 1e6))
    return found


def entry(
    status: int,
    *,
    served: str | None = US,
    aimed: str = US,
    wait_ms: float | None = None,
    tries: int = 1,
    flag: str = "",
) -> accesslog_pb2.HTTPAccessLogEntry:
    common = accesslog_pb2.AccessLogCommon(upstream_cluster=f"checkout@{aimed}", upstream_request_attempt_count=tries)
    if served is not None:
        ip, port = ADDRESSES.get(served, Address("10.9.9.9", 9))
        socket = address_pb2.SocketAddress(address=ip, port_value=port)
        common.upstream_remote_address.CopyFrom(address_pb2.Address(socket_address=socket))
    if wait_ms is not None:
        common.time_to_first_upstream_tx_byte.CopyFrom(ms(1_500.5))
        common.time_to_first_upstream_rx_byte.CopyFrom(ms(1_500.5 + wait_ms))
    if flag:
        setattr(common.response_flags, flag, True)
    response = accesslog_pb2.HTTPResponseProperties(response_code=UInt32Value(value=status) if status else None)
    return accesslog_pb2.HTTPAccessLogEntry(common_properties=common, response=response)


def test_who_waited_longest_is_told_apart() -> None:
    found = tally()
    for reporter, wait_ms, count in (("liar", 9_000.0, 50), ("b", 10.0, 5), ("c", 10.0, 5)):
        for _ in range(count):
            found.add(VIEW, entry(200, wait_ms=wait_ms), reporter)
    (summary,) = found.take(1.0, 1.0)
    assert summary.samples == 60
    assert dict(summary.lead_latencies) == {bucket_of(9_000.0): 50}


def summed(*entries: accesslog_pb2.HTTPAccessLogEntry, share: float = 1.0) -> dict[str, AccessSummary]:
    found = tally(share)
    assert all(found.add(VIEW, entry) for entry in entries)
    summaries = found.take(7.0, 1.0)
    assert found.take(8.0, 1.0) == []
    assert all((summary.view, summary.service, summary.at) == (US, "checkout", 7.0) for summary in summaries)
    return {summary.region: summary for summary in summaries}


def test_the_region_is_the_one_whose_endpoint_answered() -> None:
    found = summed(entry(200), entry(200, served=EU), entry(200, aimed=EU, served=EU))
    assert {region: summary.requests for region, summary in found.items()} == {US: 1, EU: 2}


def test_an_address_that_is_not_known_counts_for_the_region_that_was_meant() -> None:
    assert set(summed(entry(200, served="elsewhere", aimed=EU))) == {EU}


def test_what_did_not_fail_stands_for_its_share_and_what_failed_for_itself() -> None:
    one = summed(*[entry(200)] * 3, *[entry(404)] * 2, *[entry(503)] * 4, share=0.05)[US]
    assert (one.requests, one.failed, one.statuses) == (5 * 20 + 4, 4, (0, 0, 3, 0, 2, 4))


@pytest.mark.parametrize("flag", UNANSWERED)
def test_a_flag_that_says_no_answer_came_is_a_failure_whatever_the_status(flag: str) -> None:
    assert [summed(entry(status, flag=flag), share=0.1)[US].failed for status in (0, 200, 503)] == [1, 1, 1]


def test_a_client_that_went_away_is_no_failure_of_the_region() -> None:
    one = summed(entry(0, flag="downstream_connection_termination"))[US]
    assert (one.failed, one.requests, one.statuses[0]) == (0, 1, 1)


def test_what_met_no_host_is_told_apart() -> None:
    one = summed(entry(503, served=None, flag="no_healthy_upstream"), entry(503))[US]
    assert (one.failed, one.unserved, one.samples) == (2, 1, 0)


def test_latency_is_that_of_the_last_try_alone() -> None:
    one = summed(*[entry(200, wait_ms=80.0)] * 98, *[entry(200, wait_ms=400.0)] * 2)[US]
    assert one.samples == 100
    assert one.p50_ms == pytest.approx(80.0, rel=0.03)
    assert one.p90_ms == one.p50_ms
    assert one.p99_ms == pytest.approx(400.0, rel=0.03)


def test_tries_are_a_mean() -> None:
    assert summed(entry(200, tries=3), entry(200, tries=1), entry(503, tries=0))[US].attempts == pytest.approx(5 / 3)


def test_entries_of_no_region_cluster_are_not_counted() -> None:
    found = tally()
    stray = entry(404)
    stray.common_properties.upstream_cluster = ""
    assert not found.add(VIEW, stray)
    stray.response.response_code_details = "direct_response"
    assert found.add(VIEW, stray), "refused by our own order: known, and of no region"
    assert found.take(1.0, 1.0) == []


def test_buckets_are_bounded_and_their_middles_close() -> None:
    assert [bucket_of(v) for v in (-1.0, 0.0, SMALLEST_MS, 1e9)] == [0, 0, 0, BUCKETS - 1]
    assert middle_of(BUCKETS - 1) > 100_000, "two minutes fit"
    value = SMALLEST_MS
    while value < 60_000:
        assert middle_of(bucket_of(value)) == pytest.approx(value, rel=GROWTH - 1)
        value *= 1.013


def test_quantiles_of_small_counts() -> None:
    assert quantile({}, 0.5) == 0.0
    assert quantile({10: 1}, 0.99) == middle_of(10)
    counts = {10: 9, 20: 1}
    assert [quantile(counts, q) for q in (0.0, 0.5, 0.9, 0.91, 1.0)] == [middle_of(b) for b in (10, 10, 10, 20, 20)]
