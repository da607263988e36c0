"""Many Envoys' load reports from one process: `python -m bench.reports_client --port 18000 --streams 100 --reports 50`.

Each stream has a connection of its own and sends so many reports, one after the other as fast as they are taken. They
are encoded once, with a node as large as a real Envoy's: the server gets the same bytes, and we cost little.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import load_report_pb2
from envoy.service.load_stats.v3 import lrs_pb2

from bench.world import FOUR
from xds_server.signals.lrs import SERVICE

NODE_BYTES = 61_000
ISSUED = 10
SERVICES = 2
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


def report(number: int) -> bytes:
    """Return a report of the Envoy with this number: for two services in four regions, `ISSUED` requests each."""
    region = FOUR[number % len(FOUR)]
    node = base_pb2.Node(id=f"envoy-{number}", cluster="default", locality=base_pb2.Locality(region=region))
    while node.ByteSize() < NODE_BYTES:
        at = len(node.extensions)
        names = [f"envoy.extensions.filters.http.number_{at}.v3.{kind}" for kind in ("Config", "PerRouteConfig")]
        node.extensions.add(name=f"envoy.filters.http.number_{at}", category="envoy.filters.http", type_urls=names)
    request = lrs_pb2.LoadStatsRequest(node=node)
    for service in range(SERVICES):
        for home in FOUR:
            stats = request.cluster_stats.add(cluster_name=f"service-{service:04}@{home}")
            stats.load_report_interval.seconds = 1
            stats.upstream_locality_stats.append(_locality(home))
    encoded: bytes = request.SerializeToString()
    return encoded


def _locality(region: str) -> load_report_pb2.UpstreamLocalityStats:
    return load_report_pb2.UpstreamLocalityStats(
        locality=base_pb2.Locality(region=region),
        total_issued_requests=ISSUED,
        total_successful_requests=ISSUED,
        total_requests_in_progress=1,
    )


async def _connected(stack: AsyncExitStack, port: int, encoded: bytes) -> Any:
    """Return a stream that has said who it is, and been told at what interval to report."""
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS))
    call = channel.stream_stream(f"/{SERVICE}/StreamLoadStats")()
    await call.write(encoded)
    await call.read()
    return call


async def _send(call: Any, encoded: bytes, reports: int) -> None:
    for _ in range(reports):
        await call.write(encoded)
    await call.done_writing()
    while await call.read() is not grpc.aio.EOF:
        pass


async def _run(port: int, streams: int, reports: int) -> None:
    encoded = [report(number) for number in range(streams)]
    async with AsyncExitStack() as stack:
        calls = [await _connected(stack, port, data) for data in encoded]
        sys.stdout.write("connected\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(_send(*pair, reports) for pair in zip(calls, encoded, strict=True)))


def main(argv: Sequence[str]) -> None:
    """Connect, say so, wait for a line on standard input, send everything, end."""
    parser = argparse.ArgumentParser(prog="python -m bench.reports_client")
    for name in ("port", "streams", "reports"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args(argv)
    asyncio.run(_run(arguments.port, arguments.streams, arguments.reports))


if __name__ == "__main__":
    main(sys.argv[1:])
