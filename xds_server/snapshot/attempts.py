"""What each attempt at a host passes inside a region cluster: the rules that bound retries when everything is hot.

A retry saves a request when one region is in trouble, and makes things worse when all are. With all regions at 120 % of
their capacity, answering 503 above it, and a mix of which 70 % may be retried, backends got 1.25 attempts for each
request with one retry, 1.50 with two and 1.66 with three (400 req/s, capacity in buckets of 50 ms). With all that
follows it was 1.18 in the demo, whose buckets hold a second, and 1.00 where backends say that they are overloaded.

The retry budget does not help: with few requests in flight its minimum, which a dying region needs, is never reached.
Nor does `x-envoy-overloaded` on the response: since 1.15 Envoy retries in spite of it (envoyproxy/envoy pull request
10847); only `x-envoy-ratelimited` still ends retries (Envoy, "Router", "x-envoy-retry-on").

An upstream filter sees every single attempt, and Envoy numbers them (`x-envoy-attempt-count`). So:

1. **A backend that says it is overloaded is believed**: `x-envoy-overloaded` is copied into `x-envoy-ratelimited`.
2. **An answer is repeated once.** From the second attempt on, answers carry `x-envoy-ratelimited`: a 5xx from a second
   region is final. What has no answer (no connection, reset, timeout) may use all of the policy's attempts; those
   reach no live backend, so they cost it nothing, and two regions that die at once need them.
3. **Retries that keep failing are given up.** Admission control (Envoy, "Admission control"; the throttling of the SRE
   book, "Handling overload"), for retries alone: in one region's trouble retries succeed and pass; in an overload a
   third of them gets 503 as well, and then a share is answered here. Only 503 counts against them: other statuses are
   errors of an application, which would fail anywhere. It remembers one second, and below `RETRIES_RPS` for each
   cluster and Envoy worker it stays out of the way: a broken path and an overload look alike, and a few requests to
   the former must not take away the retries of a region that dies just then (with a threshold of 4 instead of 25 and
   a memory of two seconds they did: 4 reads of 1,760).

First attempts skip 2 and 3; all of it costs an attempt about 10 µs of Envoy's time. The mark is taken off the response before a client sees it (routes.py).

Rejected: a token bucket for retries (`local_ratelimit` is not an upstream filter in 1.40, and any bound on their number
that one region's trouble fits into, the overload fits into as well: it needs fewer); ejecting hosts on 5xx.
"""

from __future__ import annotations

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.common.matcher.action.v3 import skip_action_pb2
from envoy.extensions.filters.http.admission_control.v3 import admission_control_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from envoy.type.v3 import percent_pb2, range_pb2
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from xds_server.snapshot.wire import any_of, duration

ATTEMPT_HEADER = "x-envoy-attempt-count"
FINAL_HEADER = "x-envoy-ratelimited"
OVERLOADED_HEADER = "x-envoy-overloaded"

WINDOW_MS = 1_000
RETRIES_RPS = 25
SUCCESS_PERCENT = 90.0
"""Retries pass unhindered while at least this share of them succeeds."""
AGGRESSION = 2.0
MOST_REJECTED_PERCENT = 60.0
"""Some always pass, so that recovery is noticed."""

GRPC_OTHER_THAN_OVERLOADED = tuple(code for code in range(17) if code not in {8, 14})
"""All but RESOURCE_EXHAUSTED and UNAVAILABLE."""

_RUNTIME = "xds_server.retry_admission"


def filters() -> list[http_connection_manager_pb2.HttpFilter]:
    """Return the upstream filters of a region cluster, in order; the codec comes last and sends the request."""
    overloaded = _filter("envoy.filters.http.header_mutation", _final(f"%RESP({OVERLOADED_HEADER})%"))
    answered = _filter("envoy.filters.http.header_mutation", _final("true"))
    admission = _filter("envoy.filters.http.admission_control", _admission())
    codec = _filter("envoy.filters.http.upstream_codec", upstream_codec_pb2.UpstreamCodec())
    return [
        overloaded,
        _from_second_attempt("final_answer", answered),
        _from_second_attempt("retries", admission),
        codec,
    ]


def _filter(name: str, config: Message) -> http_connection_manager_pb2.HttpFilter:
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=any_of(config))


def _final(value: str) -> header_mutation_pb2.HeaderMutation:
    """Return the mutation that marks a response as final, if `value` expands to something."""
    append = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=FINAL_HEADER, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return header_mutation_pb2.HeaderMutation(
        mutations=header_mutation_pb2.Mutations(response_mutations=[mutation_rules_pb2.HeaderMutation(append=append)])
    )


def _from_second_attempt(
    name: str, inner: http_connection_manager_pb2.HttpFilter
) -> http_connection_manager_pb2.HttpFilter:
    """Return a filter that first attempts skip."""
    matcher = matcher_pb2.Matcher
    attempt = http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=ATTEMPT_HEADER)
    skip = matcher.OnMatch(action=_extension("skip", skip_action_pb2.SkipFilter()))
    tree = matcher.MatcherTree(
        input=_extension("attempt", attempt), exact_match_map=matcher.MatcherTree.MatchMap(map={"1": skip})
    )
    return _filter(
        name,
        extension_matcher_pb2.ExtensionWithMatcher(
            xds_matcher=matcher(matcher_tree=tree),
            extension_config=extension_pb2.TypedExtensionConfig(name=inner.name, typed_config=inner.typed_config),
        ),
    )


def _extension(name: str, config: Message) -> xds_extension_pb2.TypedExtensionConfig:
    return xds_extension_pb2.TypedExtensionConfig(name=name, typed_config=any_of(config))


def _admission() -> admission_control_pb2.AdmissionControl:
    percent, number = base_pb2.RuntimePercent, base_pb2.RuntimeDouble
    criteria = admission_control_pb2.AdmissionControl.SuccessCriteria
    statuses = [range_pb2.Int32Range(start=100, end=503), range_pb2.Int32Range(start=504, end=600)]
    return admission_control_pb2.AdmissionControl(
        enabled=base_pb2.RuntimeFeatureFlag(default_value=BoolValue(value=True), runtime_key=f"{_RUNTIME}.enabled"),
        success_criteria=criteria(
            http_criteria=criteria.HttpCriteria(http_success_status=statuses),
            grpc_criteria=criteria.GrpcCriteria(grpc_success_status=GRPC_OTHER_THAN_OVERLOADED),
        ),
        sampling_window=duration(WINDOW_MS),
        aggression=number(default_value=AGGRESSION, runtime_key=f"{_RUNTIME}.aggression"),
        sr_threshold=percent(
            default_value=percent_pb2.Percent(value=SUCCESS_PERCENT), runtime_key=f"{_RUNTIME}.success_percent"
        ),
        rps_threshold=base_pb2.RuntimeUInt32(default_value=RETRIES_RPS, runtime_key=f"{_RUNTIME}.rps"),
        max_rejection_probability=percent(
            default_value=percent_pb2.Percent(value=MOST_REJECTED_PERCENT), runtime_key=f"{_RUNTIME}.most_percent"
        ),
    )
