"""The grammar of a policy: every key, its kind, its default and its meaning, in one table.

parse.py reads by it, schema.py turns it into a JSON Schema, reference.py into the tables of docs/policy.md. Defaults
are written here as in a policy, for people; the values themselves are those of types.py and settings.py, and a test
holds the two together. Bounds are where a setting stops making sense (a probe every 10 ms is an attack), not where it
stops being wise.
"""

from __future__ import annotations

from xds_server.policy.kinds import Key, ListOf, MapOf, Section
from xds_server.policy.scalars import (
    body_text,
    choice,
    count,
    duration,
    endpoint,
    file,
    flag,
    grpc_service,
    header_host,
    header_value,
    host,
    http_path,
    identity,
    listen,
    name,
    node_pattern,
    percent,
    rate,
    status,
    version,
    weekly,
    window,
)
from xds_server.policy.types import OnHarm, OverloadMode, ProbeKind, Protocol

MAX_REGIONS = 64
"""Latency is stated for pairs, and a decision costs the cube of this; the largest clouds have about 40 regions."""

HEALTH = Section(
    (
        Key(
            "type",
            choice(ProbeKind),
            "How an endpoint is probed: by an HTTP/1.1 GET, by opening a TCP connection, or by gRPC's health protocol.",
            default="http",
            attribute="kind",
        ),
        Key("path", http_path(), "Path that is asked for.", default="/healthz"),
        Key("host", header_host(), "`Host` header of the probe. Without it, the endpoint's own."),
        Key("port", count(1, 65_535), "Port that is probed. Without it, the endpoint's own."),
        Key("statuses", ListOf(status(), "[200, 204]"), "HTTP statuses that mean healthy.", default=[200]),
        Key("body", body_text(), "Text that a healthy answer's body contains, in its first 16 KiB."),
        Key("tls", flag(), "Whether probes speak TLS. Without it, they do if the service does."),
        Key("grpc_service", grpc_service(), "Service that a gRPC probe asks for. Without it, the server as a whole."),
        Key(
            "interval",
            duration("100ms", "1h"),
            "Time between two probes of one endpoint.",
            default="1s",
            attribute="interval_ms",
        ),
        Key(
            "timeout",
            duration("10ms", "1m"),
            "A probe without an answer by then has failed. At most `interval`.",
            default="500ms",
            attribute="timeout_ms",
        ),
        Key("unhealthy_after", count(1, 100), "Failed probes in a row before an endpoint counts as down.", default=2),
        Key("healthy_after", count(1, 100), "Good probes in a row before it counts as up again.", default=3),
    )
)

TIMEOUTS = Section(
    (
        Key(
            "request",
            duration("10ms", "24h"),
            "The whole request, retries included. Long streams need a long one.",
            default="15s",
            attribute="request_ms",
        ),
        Key(
            "per_try",
            duration("1ms", "24h"),
            "One try of a request that may be tried again; plain writes have none. At most `request`. "
            "Without it, computed from the round trip.",
            attribute="per_try_ms",
        ),
        Key(
            "connect",
            duration("1ms", "1m"),
            "Opening a connection to an endpoint. At most `request`. Without it, computed from the round trip.",
            attribute="connect_ms",
        ),
        Key(
            "idle",
            duration("1s", "24h"),
            "An unused connection to an endpoint is closed after this. Keep it below the endpoint's own keep-alive: "
            "a write that meets a connection just being closed may be lost.",
            default="30s",
            attribute="idle_ms",
        ),
    )
)

RETRIES = Section(
    (
        Key("attempts", count(0, 10), "Retries after the first try; 0 turns them off.", default=3),
        Key(
            "budget",
            percent(0, 100),
            "Retries under way at once, as a share of the requests under way.",
            default="20%",
        ),
        Key(
            "min_concurrency",
            count(1, 100_000),
            "Retries that are allowed at once whatever the budget says. Without it, computed.",
        ),
    )
)

TRAFFIC_CLASS = Section(
    (
        Key("name", name(), "What it is called in the decision and in metrics.", required=True),
        Key(
            "headers",
            MapOf("header", header_value(), least=1, most=10),
            "Headers and their exact values; a request of this class has all of them.",
            required=True,
        ),
        Key(
            "share",
            percent(1, 100),
            "Its share of the service's requests. It is not measured: this decides how much of it is shed.",
            required=True,
        ),
    ),
    form="a mapping with name, headers and share",
)

OVERLOAD = Section(
    (
        Key(
            "mode",
            choice(OverloadMode),
            "What happens to demand above capacity: `spread` makes all regions equally hot, `shed` refuses "
            "as much as does not fit, with status 503.",
            default="spread",
        ),
        Key(
            "classes",
            ListOf(TRAFFIC_CLASS, "[{name: batch, headers: {x-class: batch}, share: 30%}]"),
            "Classes of traffic, the one that is shed first at the top. What is of no class is shed after them. "
            "Without it, requests are refused at random.",
        ),
        Key(
            "retry_after",
            duration("1s", "1h"),
            "The `Retry-After` of a refused request, if there are classes.",
            default="5s",
            attribute="retry_after_ms",
        ),
    )
)

SETTINGS = (
    Key("protocol", choice(Protocol), "What the endpoints speak.", default="http1"),
    Key("health", HEALTH, "How endpoints are probed, and when a verdict changes."),
    Key("timeouts", TIMEOUTS, "How long things may take."),
    Key("retries", RETRIES, "What may be tried again, and how often."),
    Key("reserve", percent(0, 90), "Share of the capacity that planned routing keeps free.", default="20%"),
    Key(
        "ramp_up",
        duration("0s", "24h"),
        "A recovered region gets its share back over this time.",
        default="60s",
        attribute="ramp_up_ms",
    ),
    Key(
        "min_change",
        percent(0, 50),
        "A smaller change of a weight is not sent, unless a region is leaving.",
        default="1%",
    ),
    Key(
        "latency_tolerance",
        duration("0ms", "1s"),
        "Traffic that is placed already does not move for a gain in round trip that is smaller than this.",
        default="5ms",
        attribute="latency_tolerance_ms",
    ),
    Key("overload", OVERLOAD, "What happens when demand exceeds what may be used."),
    Key(
        "half_open",
        percent(0, 5),
        "Share of every view's reads, and of its writes with an `Idempotency-Key`, that goes to a region that is down, "
        "to see whether it answers. Retries serve them elsewhere if it does not.",
        default="0%",
    ),
)
"""What `defaults` and every service can set."""

REGION = Section(
    (
        Key(
            "latency",
            MapOf("region", duration("0ms", "10s", whole=False)),
            "Round trip to other regions, until it is measured. Each pair once, under either of the two. "
            "A region's own is `1ms` unless it names itself.",
        ),
        Key("drain", flag(), "Moves all traffic off the region.", default=False),
    )
)

FLEET = Section(
    (
        Key("listen", listen(), "Where a sidecar takes requests.", default="127.0.0.1:10000"),
        Key("uses", ListOf(name(), "[checkout]"), "The services its sidecars get. Without it, all."),
        Key(
            "access_logs",
            percent(0, 100),
            "Share of requests whose access log entry a sidecar sends here, besides every failed one. "
            "`0%` sends none; a bootstrap without a cluster `xds` needs that.",
            default="5%",
        ),
    )
)

DEPLOYMENT = Section(
    (
        Key(
            "endpoints",
            ListOf(endpoint(), '["10.0.1.10:8080"]'),
            "Addresses or host names, with ports. A name may stand for several addresses.",
            required=True,
        ),
        Key("capacity", rate(zero=False), "What all its endpoints together serve.", required=True),
    ),
    form="a mapping with endpoints and capacity",
)

TLS = Section(
    (
        Key("ca", file(), "Authorities that the endpoints' certificates must come from (PEM).", required=True),
        Key(
            "sni",
            host(),
            "The name to ask for, which their certificates must hold. Without it, each endpoint's own host name.",
        ),
        Key("certificate", file(), "Certificate chain that sidecars and probes show (PEM). Without it, none."),
        Key("key", file(), "Its private key, without a passphrase."),
    ),
    form="a mapping with ca",
)

SERVICE = Section(
    (
        Key(
            "hosts",
            ListOf(host(), "[checkout.example.com]"),
            "Values of `Host` (`:authority`) that select the service, on any port. Without it, the service's name.",
        ),
        *SETTINGS,
        Key(
            "tls",
            TLS,
            "Has sidecars speak TLS to the endpoints. Paths are relative to the policy file; a rotated file "
            "is taken in.",
        ),
        Key(
            "demand",
            MapOf("region", rate(zero=True)),
            "Requests that come from each region, until they are measured. Without it, every region counts the same.",
        ),
        Key(
            "deployments",
            MapOf("region", DEPLOYMENT, least=1, most=MAX_REGIONS),
            "Where the service runs.",
            required=True,
        ),
    ),
    form="a mapping with deployments",
)

ROLLOUT = Section(
    (
        Key(
            "canary",
            percent(0, 100),
            "Share of the connected Envoys for which a new policy changes something that try it first, at least one. "
            "`100%` sends it to all at once.",
            default="5%",
        ),
        Key(
            "timeout",
            duration("1s", "1h"),
            "If none of them has accepted it by then, it is rolled back.",
            default="30s",
            attribute="timeout_ms",
        ),
    )
)

ORDERS = Section(
    (
        Key(
            "min_regions",
            count(1, MAX_REGIONS),
            "Regions that must still serve each service after an evacuation.",
            default=1,
        ),
        Key(
            "max_evacuated", count(1, MAX_REGIONS), "Regions that may be evacuated at once, drills included.", default=1
        ),
        Key("over", duration("0s", "24h"), "Time an evacuation takes, in steps.", default="60s", attribute="over_ms"),
        Key(
            "on_harm",
            choice(OnHarm),
            "What an evacuation does when the regions that receive its traffic suffer.",
            default="stop",
        ),
        Key(
            "expires",
            duration("1s", "8760h"),
            "An order without an expiry ends after this.",
            default="2h",
            attribute="expires_ms",
        ),
        Key(
            "max_expires",
            duration("1s", "8760h"),
            "The longest expiry that an order may have.",
            default="24h",
            attribute="max_expires_ms",
        ),
    )
)

SCHEDULED_DRILL = Section(
    (
        Key("region", name(), "The region that is evacuated.", required=True),
        Key("service", name(), "Only this service. Without it, all that are in the region."),
        Key("at", weekly(), "When it begins, in UTC.", required=True),
        Key("for", duration("1s", "24h"), "How long it lasts.", default="10m", attribute="for_ms"),
    ),
    form="a mapping with region and at",
)

DRILLS = Section(
    (
        Key("blocked", ListOf(window(), '["mon-fri 08:00-18:00"]'), "When no drill may begin or go on, in UTC."),
        Key("schedule", MapOf("drill", SCHEDULED_DRILL), "Drills that begin by themselves."),
    )
)

CLIENT = Section(
    (
        Key(
            "identity",
            identity(),
            "A name in the certificate: a URI such as a SPIFFE id, or a DNS name. `*` stands for anything within one "
            "step (up to a `/`; in a DNS name, up to a `.`), `**` for anything.",
            required=True,
        ),
        Key("regions", ListOf(name(), "[us-east-1]"), "The regions it may be in. Without it, all."),
        Key("fleets", ListOf(name(), "[web]"), "The fleets it may be of. Without it, all."),
        Key(
            "nodes",
            ListOf(node_pattern(), "[web-us-east-1-*]"),
            "The `node.id` it may have; `*` stands for anything. Without it, any.",
        ),
        Key("agent", flag(), "It may also report on these regions, as an agent.", default=False),
    ),
    form="a mapping with identity",
)

POLICY = Section(
    (
        Key("version", version(), "Version of this format.", required=True),
        Key(
            "regions",
            MapOf("region", REGION, least=1, most=MAX_REGIONS),
            "Every region that sends or serves traffic.",
            required=True,
        ),
        Key("defaults", Section(SETTINGS), "Settings of every service that does not say otherwise, key by key."),
        Key(
            "fleets",
            MapOf("fleet", FLEET, least=1),
            "Groups of Envoys, by their `node.cluster`. One called `default` takes every Envoy that no other does. "
            "Without this key, there is only that one.",
        ),
        Key(
            "clients",
            ListOf(CLIENT, '[{identity: "spiffe://example/us-east-1/*", regions: [us-east-1]}]'),
            "Which client certificates may speak as whom. Without it, every verified certificate may speak as anyone.",
        ),
        Key("rollout", ROLLOUT, "How a new policy comes to the Envoys."),
        Key("orders", ORDERS, "What orders of operators must keep to."),
        Key("drills", DRILLS, "Evacuations for practice, which end by themselves."),
        Key("services", MapOf("service", SERVICE, least=1), "What is routed to.", required=True),
    ),
    form="a mapping with version, regions and services",
)
