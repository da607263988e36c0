"""The gRPC settings of the xDS port, each with its reason. Names are those of gRPC's `grpc_types.h`.

Keepalive is what finds half-open connections: without it a client that vanished behind a firewall is "connected" for
ever, and an Envoy on the other side stays stale without knowing. Envoy's own pings (its bootstrap has them) must be
permitted explicitly, because gRPC's defaults answer frequent ones with GOAWAY "too_many_pings". They are what an Envoy
depends on; ours only tell us who is gone, and cost a fleet of ten thousand half of its CPU at rest, so they come every
minute, to clients of which nothing was heard for so long.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024
READ_AHEAD_BYTES = MIB // 4
"""How much of a stream a client may send before it is read: four first requests."""


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Limits and times of the xDS port.

    A request is 61 KB when an Envoy introduces itself, and holds at most 50,000 names: 4 MiB is gRPC's own default.
    Responses are ours: up to 64 MiB, where Envoy's own limit ends. `streams_per_connection` is 10 times what one Envoy
    opens without ADS. A client that has opened a stream must say who it is within `first_request_s`. `burst` requests
    at once, then `requests_per_s`: an Envoy sends one per response and one per change of what it asks for.

    `max_streams_of_one` is for the names in one certificate, or one address where there is none: more than half of all,
    because a whole fleet may share a name or an address, and not all, so that one peer does not lock the others out.

    Streams that have come and that nobody has looked at yet are pending, up to `max_streams` of them. gRPC's own limits
    refuse some from 1,000 on and all from 3,000 on: of 5,000 clients at once 2,100 were refused, for Envoy to back off.

    `first_answers_per_s`, after `first_answers_at_once`, is how fast clients that connect are served: ten thousand
    within ten seconds, at about what one core can do. A connection older than `max_connection_age_s` (give or take a
    tenth, so that they do not all end together) is told to go elsewhere, and cut off `max_connection_age_grace_s`
    later; None lets it live, which a fleet of one control plane wants. On shutdown streams end at `drain_per_s`, so
    that the next server is not run over.

    `collect_seldom` lets the port say how often the interpreter looks for garbage, for the whole process (memory.py).
    """

    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 10.0
    min_ping_interval_s: float = 5.0
    max_request_bytes: int = 4 * MIB
    max_response_bytes: int = 64 * MIB
    streams_per_connection: int = 100
    max_streams: int = 20_000
    max_streams_of_one: int = 12_000
    first_request_s: float = 20.0
    requests_per_s: float = 100.0
    burst: int = 1_000
    first_answers_per_s: float = 1_000.0
    first_answers_at_once: int = 500
    max_connection_age_s: float | None = None
    max_connection_age_grace_s: float = 5.0
    drain_per_s: float = 2_000.0
    collect_seldom: bool = False


def channel_options(options: TransportOptions) -> list[tuple[str, int]]:
    """Return the channel arguments of the server."""
    age = options.max_connection_age_s
    ages = {"max_connection_age": age, "max_connection_age_grace": options.max_connection_age_grace_s} if age else {}
    return [
        *((f"grpc.{name}_ms", int(seconds * 1000)) for name, seconds in ages.items()),
        ("grpc.so_reuseport", 0),  # or a second server on a taken port would share its connections unnoticed
        ("grpc.keepalive_time_ms", int(options.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(options.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # our own pings: an idle stream sends no data for days
        ("grpc.http2.min_ping_interval_without_data_ms", int(options.min_ping_interval_s * 1000)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", int(options.min_ping_interval_s * 1000)),
        ("grpc.http2.max_ping_strikes", 0),  # a client that pings too often is a nuisance, cutting it off is an outage
        ("grpc.http2.bdp_probe", 0),  # a ping for what arrives, to size windows: a fifth of what a small change costs
        ("grpc.http2.lookahead_bytes", READ_AHEAD_BYTES),  # so the window is fixed
        ("grpc.server.max_pending_requests", options.max_streams),  # see TransportOptions
        ("grpc.server.max_pending_requests_hard_limit", options.max_streams),
        ("grpc.max_concurrent_streams", options.streams_per_connection),
        ("grpc.max_receive_message_length", options.max_request_bytes),
        ("grpc.max_send_message_length", options.max_response_bytes),
    ]
