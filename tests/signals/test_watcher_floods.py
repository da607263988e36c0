"""A watcher that talks too much, by a real gRPC stream: its word counts once a second."""

from __future__ import annotations

import asyncio

import grpc
from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.service.health.v3 import hds_pb2

from tests.signals.world import in_loop, target, until
from tests.support import decisions as made
from xds_server.decision.watchers import choose
from xds_server.model import Address, Observation, ViewKey
from xds_server.policy.types import DEFAULT_FLEET
from xds_server.signals.hds import REPORT_S, SERVICE, HealthServer
from xds_server.snapshot.health_checks import specifier

TARGET = target(Address("10.0.0.1", 80))
Message = hds_pb2.HealthCheckRequestOrEndpointHealthResponse


def report(order: hds_pb2.HealthCheckSpecifier) -> bytes:
    """Say that everything is fine."""
    message = Message()
    for cluster in order.cluster_health_checks:
        said = message.endpoint_health_response.cluster_endpoints_health.add(cluster_name=cluster.cluster_name)
        for locality in cluster.locality_endpoints:
            for endpoint in locality.endpoints:
                seen = said.locality_endpoints_health.add().endpoints_health.add()
                seen.endpoint.CopyFrom(endpoint)
                seen.health_status = health_check_pb2.HEALTHY
    encoded: bytes = message.SerializeToString()
    return encoded


@in_loop
async def test_what_a_watcher_says_sooner_than_an_envoy_would_does_not_count() -> None:
    seen, time = list[Observation](), [100.0]
    health = HealthServer(
        seen.append, lambda who: ViewKey(DEFAULT_FLEET, who.region), lambda: time[0], choose, specifier
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((health.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    health.set_targets({TARGET: made.service().health})
    running = asyncio.create_task(health.run())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = channel.stream_stream(f"/{SERVICE}/StreamHealthCheck")()
        hello = Message()
        hello.health_check_request.node.CopyFrom(
            base_pb2.Node(id="us-1", locality=base_pb2.Locality(region="us-east-1"))
        )
        await stream.write(hello.SerializeToString())
        order = hds_pb2.HealthCheckSpecifier.FromString(await stream.read())
        for _ in range(50):
            await stream.write(report(order))
        await until(lambda: health.counts.messages == 50)
        assert (len(seen), health.counts.ignored) == (1, 49)
        time[0] += REPORT_S
        await stream.write(report(order))
        await until(lambda: len(seen) == 2)
    running.cancel()
    await server.stop(0)
