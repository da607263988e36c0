"""The backends of one region in one process: a gRPC server on each port, answering every call with its region."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

SERVING = b"\x08\x01"
"""A `grpc.health.v1.HealthCheckResponse`."""


def serve(region: str, port: int) -> grpc.Server:
    def answer(_: bytes, context: Any) -> bytes:
        return region.encode()

    def check(_: bytes, context: Any) -> bytes:
        return SERVING

    pings = ("grpc.http2.min_recv_ping_interval_without_data_ms", 500)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0), pings])
    for service, method, handler in (("demo.Where", "Ask", answer), ("grpc.health.v1.Health", "Check", check)):
        handlers = {method: grpc.unary_unary_rpc_method_handler(handler)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    server.start()
    return server


if __name__ == "__main__":
    running = [serve(sys.argv[1], int(port)) for port in sys.argv[2:]]
    threading.Event().wait()
