"""The backends of one region in one process: a gRPC server on each port, answering every call with its region."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


def serve(region: str, port: int) -> grpc.Server:
    def answer(_: bytes, context: Any) -> bytes:
        return region.encode()

    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    handlers = {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Where", handlers),))
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    server.start()
    return server


if __name__ == "__main__":
    running = [serve(sys.argv[1], int(port)) for port in sys.argv[2:]]
    threading.Event().wait()
