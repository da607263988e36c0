"""A bare `grpc.aio` handler for the clients of benchmarks: what serving them costs in gRPC and Python by itself.

It answers each first request of a type with bytes encoded beforehand, writes the routes to everybody when they change,
and reads what comes back. No conversation, no views, no order: what the product takes more than this is its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from bench.acks import Acks
from xds_server.protocol.wire import encode_response, with_nonce
from xds_server.snapshot.resource import Snapshot, TypeUrl
from xds_server.transport.options import TransportOptions, channel_options
from xds_server.transport.server import SERVICE


class BareServer:
    """Speaks state of the world, to clients that behave."""

    def __init__(self, pair: tuple[Snapshot, Snapshot]) -> None:
        self.acks = Acks()
        self._responses = tuple(_responses(snapshot) for snapshot in pair)
        self._which = 0
        self._wake = asyncio.Event()
        self._open = 0
        self._server: Any = None

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = grpc.aio.server(options=channel_options(TransportOptions()))
        methods = {"StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._serve)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        port = int(self._server.add_insecure_port("127.0.0.1:0"))
        await self._server.start()
        return port

    def push(self, which: int) -> None:
        """Send everyone the one or the other routes."""
        self._which = which
        self._wake.set()
        self._wake = asyncio.Event()

    def clients(self) -> int:
        """Return how many streams are open."""
        return self._open

    async def stop(self) -> None:
        """End all streams."""
        await self._server.stop(0.0)

    async def _serve(self, _: Any, context: Any) -> None:
        writing: asyncio.Task[None] | None = None
        self._open += 1
        try:
            while (data := await context.read()) is not grpc.aio.EOF:
                request = discovery_pb2.DiscoveryRequest.FromString(data)
                if not request.response_nonce:
                    await context.write(self._responses[self._which][request.type_url])
                elif request.type_url == TypeUrl.ROUTE:
                    self.acks.add()
                writing = writing or asyncio.get_running_loop().create_task(self._write_changes(context))
        finally:
            self._open -= 1
            if writing is not None:
                writing.cancel()

    async def _write_changes(self, context: Any) -> None:
        while True:
            await self._wake.wait()
            await context.write(self._responses[self._which][TypeUrl.ROUTE])


def _responses(snapshot: Snapshot) -> dict[str, bytes]:
    """Return one response for each type, its nonce included."""
    return {
        url: with_nonce(encode_response(url, snapshot.versions[url], resources.values()), snapshot.versions[url])
        for url, resources in snapshot.resources.items()
    }
