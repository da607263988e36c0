"""The arithmetic: quantiles, the mix of the load, tallies and windows of time, the ledger of writes."""

import json
import math
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.demo.histogram import bucket_of, merged, quantile
from xds_server.demo.ledger import Ledger, Notes
from xds_server.demo.load import brief
from xds_server.demo.mix import CYCLE, KIND_SHARE, Due, Kind, Mix
from xds_server.demo.tally import Delta, Totals
from xds_server.demo.topology import DEMAND_SHARE

LATENCIES = st.lists(st.floats(min_value=0.1, max_value=60_000.0), min_size=1, max_size=200)


@given(LATENCIES, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_sample_of_that_rank_within_the_width_of_a_bucket(
    latencies: list[float], fraction: float
) -> None:
    exact = sorted(latencies)[max(0, math.ceil(fraction * len(latencies) - 1e-9) - 1)]
    estimate = quantile(Counter(bucket_of(ms) for ms in latencies), fraction)
    assert estimate == pytest.approx(exact, rel=0.02, abs=0.01)


@given(LATENCIES, LATENCIES)
def test_merging_histograms_is_the_histogram_of_all_samples(one: list[float], other: list[float]) -> None:
    both = merged([Counter(map(bucket_of, one)), Counter(map(bucket_of, other))])
    assert both == Counter(map(bucket_of, one + other))


def test_no_samples_have_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None


def test_the_mix_has_exactly_the_shares_that_were_asked_for() -> None:
    mix = Mix(100.0, DEMAND_SHARE)
    cycle = [mix.request(number) for number in range(CYCLE)]
    views = Counter(due.view for due in cycle)
    kinds = Counter(due.kind for due in cycle)
    assert views == {view: round(share * CYCLE) for view, share in DEMAND_SHARE.items()}
    assert kinds == {kind: round(share * CYCLE) for kind, share in KIND_SHARE.items()}


def test_the_mix_is_the_same_every_time_and_open_loop() -> None:
    one, other = Mix(250.0, DEMAND_SHARE), Mix(250.0, DEMAND_SHARE)
    assert [one.request(n) for n in range(50)] == [other.request(n) for n in range(50)]
    assert [one.request(n).at_s for n in (0, 1, 250)] == [0.0, 0.004, 1.0]


def test_the_mix_interleaves_views() -> None:
    mix = Mix(100.0, DEMAND_SHARE)
    assert len({mix.request(number).view for number in range(30)}) == len(DEMAND_SHARE)


def _due(number: int, at_s: float, kind: Kind = Kind.READ) -> Due:
    return Due(number, at_s, "us-east-1", kind)


def test_a_request_failed_without_a_response_or_with_a_status_from_500() -> None:
    delta = Delta()
    for number, status in enumerate([200, 404, 499, 500, 503, None]):
        delta.record(_due(number, 0.0), status, "us-east-1", 10.0)
    totals = Totals()
    totals.add(delta)
    assert (totals.completed, totals.failed) == (6, 3)
    assert delta.failed_by_status == {"500": 1, "503": 1, "none": 1}
    assert delta.failed_by_kind == {"read": 3}
    assert totals.latency.total() == 5  # a request without a response has no latency


def test_the_log_of_a_load_says_what_kind_of_request_failed() -> None:
    delta = Delta()
    delta.record(Due(0, 0.0, "a", Kind.READ), 200, "a", 4.0)
    assert brief(delta).startswith("1 requests, failed 0; ")
    delta.record(Due(1, 0.0, "a", Kind.PLAIN_WRITE), 503, "", 4.0)
    delta.record(Due(2, 0.0, "a", Kind.PLAIN_WRITE), None, "", 4.0)
    assert brief(delta).startswith("3 requests, failed 1 503, 1 none (2 plain_write); ")


def test_a_delta_survives_its_line_of_json() -> None:
    delta = Delta(sent=3, in_flight=1, lag_ms=2.5)
    delta.record(_due(1, 0.2), 200, "eu-west-1", 80.0)
    delta.record(_due(2, 0.7, Kind.PLAIN_WRITE), None, "", 0.0)
    assert Delta.from_json(json.loads(json.dumps(delta.to_json()))) == delta


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.sampled_from([200, 503, None])), max_size=60), st.integers(0, 60))
def test_totals_do_not_depend_on_how_the_requests_were_cut_into_deltas(
    requests: list[tuple[float, int | None]], cut: int
) -> None:
    whole, parts = Totals(), Totals()
    deltas = [Delta(), Delta(), Delta()]
    for number, (at_s, status) in enumerate(requests):
        for delta in (deltas[0], deltas[1 if number < cut else 2]):
            delta.record(_due(number, at_s), status, "us-east-1", 5.0)
    whole.add(deltas[0])
    parts.add(deltas[1])
    parts.add(deltas[2])
    assert whole.sum == parts.sum
    assert whole.due(0.0, 10.0) == parts.due(0.0, 10.0)
    assert whole.latency == parts.latency


def test_a_request_under_way_when_a_fault_begins_belongs_to_the_fault() -> None:
    """A fault from second 10 to second 20, and a request for each way to lie around it."""
    delta = Delta()
    for number, (at_s, latency_ms) in enumerate([(9.0, 100), (9.9, 300), (15, 10), (19.9, 3_000), (20.0, 10)]):
        delta.record(_due(number, at_s), 503 if number in {1, 3} else 200, "", latency_ms)
    totals = Totals()
    totals.add(delta)
    before, during, after = totals.ended(0.0, 10.0), totals.under_way(10.0, 20.0), totals.due(20.0, 30.0)
    assert before is not None
    assert during is not None
    assert after is not None
    assert (before.requests, before.failed) == (1, 0)
    assert (during.requests, during.failed) == (3, 2)
    assert (after.requests, after.failed) == (1, 0)
    assert totals.due(30.0, 40.0) is None


def test_the_ledger_counts_writes_that_arrived_twice_anywhere(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ("one", "other"))
    with closing(Notes(tmp_path, "one")) as one, closing(Notes(tmp_path, "other")) as other:
        for number in (1, 2, 70_000):
            one.attempt()
            one.plain_write(number)
        ledger.update()
        assert (ledger.attempts, ledger.duplicated_writes) == (3, 0)
        for number in (2, 2, 70_000, 5):
            other.attempt()
            other.plain_write(number)
        ledger.update()
        assert (ledger.attempts, ledger.duplicated_writes) == (7, 2)


def test_a_backend_that_starts_again_goes_on_counting(tmp_path: Path) -> None:
    with closing(Notes(tmp_path, "one")) as killed:
        killed.attempt()
        killed.plain_write(1)
        with closing(Notes(tmp_path, "one")) as again:
            again.attempt()
            again.plain_write(1)
        ledger = Ledger(tmp_path, ("one",))
        ledger.update()
        assert (ledger.attempts, ledger.duplicated_writes) == (2, 1)


def test_a_half_written_id_is_left_for_the_next_reading(tmp_path: Path) -> None:
    notes = tmp_path / "one.writes"
    notes.write_bytes((7).to_bytes(8, "little") * 2 + b"\x09")
    ledger = Ledger(tmp_path, ("one",))
    ledger.update()
    assert ledger.duplicated_writes == 1
    notes.write_bytes((7).to_bytes(8, "little") * 2 + (9).to_bytes(8, "little") + (9).to_bytes(8, "little"))
    ledger.update()
    assert ledger.duplicated_writes == 2
