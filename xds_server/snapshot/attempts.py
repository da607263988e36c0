"""What each attempt at a host passes inside a region cluster: the rule that bounds retries when every region is hot.

A retry saves a request when one region is in trouble, and makes things worse when all are. With all regions at 120 % of
their capacity, answering 503 above it, and a mix of which 70 % may be retried, backends got 1.25 attempts for each
request with one retry, 1.50 with two and 1.66 with three (400 req/s, capacity in buckets of 50 ms).

The rule: **an answer is repeated once.** One region that answers 5xx is left by the first retry, so a second one would
help only in an overload. What has no answer (no connection, reset, timeout) may use all of the policy's attempts; those
reach no live backend, so they cost it nothing, and two regions that die at once need them. Envoy has one count for
both. But it never retries a response with `x-envoy-ratelimited` (Envoy, "Router", "x-envoy-retry-on"), it numbers
attempts (`x-envoy-attempt-count`), and upstream filters see each one: so from the second attempt on, answers get that
header. It is taken off again before a client sees it (routes.py). The demo then measured 1.19.

A backend that sheds load should send `x-envoy-ratelimited` itself; then nothing is retried in vain (1.00 measured).
`x-envoy-overloaded` is of no use: since 1.15 Envoy retries in spite of it (envoyproxy/envoy pull request 10847).

Rejected, all measured:
- the retry budget: with few requests in flight its minimum, which a dying region needs, is never reached;
- any other bound on the number or rate of retries: a region that answers errors needs more of them than an overload;
- admission control for retries that keep failing: with a threshold low enough to give 1.15 it took a broken path for
  an overload, and a region that died just then lost 4 reads of 1,760; high enough to be safe it gave 1.18, and it cost
  each request 6 µs of Envoy's time (this rule costs 5, of 70 for a bare route).
"""

from __future__ import annotations

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.common.matcher.action.v3 import skip_action_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf.message import Message
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from xds_server.snapshot.wire import any_of

ATTEMPT_HEADER = "x-envoy-attempt-count"
FINAL_HEADER = "x-envoy-ratelimited"


def filters() -> list[http_connection_manager_pb2.HttpFilter]:
    """Return the upstream filters of a region cluster, in order; the codec comes last and sends the request."""
    mark = extension_pb2.TypedExtensionConfig(
        name="envoy.filters.http.header_mutation", typed_config=any_of(_final_response())
    )
    repeated = extension_matcher_pb2.ExtensionWithMatcher(xds_matcher=_skip_first_attempt(), extension_config=mark)
    return [
        _filter("final_answer", repeated),
        _filter("envoy.filters.http.upstream_codec", upstream_codec_pb2.UpstreamCodec()),
    ]


def _filter(name: str, config: Message) -> http_connection_manager_pb2.HttpFilter:
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=any_of(config))


def _final_response() -> header_mutation_pb2.HeaderMutation:
    append = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=FINAL_HEADER, value="true"),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return header_mutation_pb2.HeaderMutation(
        mutations=header_mutation_pb2.Mutations(response_mutations=[mutation_rules_pb2.HeaderMutation(append=append)])
    )


def _skip_first_attempt() -> matcher_pb2.Matcher:
    tree = matcher_pb2.Matcher.MatcherTree
    attempt = http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=ATTEMPT_HEADER)
    skip = matcher_pb2.Matcher.OnMatch(action=_extension("skip", skip_action_pb2.SkipFilter()))
    return matcher_pb2.Matcher(
        matcher_tree=tree(input=_extension("attempt", attempt), exact_match_map=tree.MatchMap(map={"1": skip}))
    )


def _extension(name: str, config: Message) -> xds_extension_pb2.TypedExtensionConfig:
    return xds_extension_pb2.TypedExtensionConfig(name=name, typed_config=any_of(config))
