"""A gRPC client without a proxy, in a process of its own: `GRPC_XDS_BOOTSTRAP` is read once for each process.

Reads a number a line on standard input, makes that many calls of `/demo.Where/Ask`, a few at a time, and writes one
line of JSON when a tenth of them is over and one with the counts at the end.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

AT_ONCE = 4
DEADLINE_S = 15.0
OPTIONS = (
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 500),
    ("grpc.http2.ping_timeout_ms", 500),
    ("grpc.priority_failover_timeout_ms", 1_000),
)
"""What docs/grpc.md says finds a backend that hangs."""


def run(ask: Any, total: int) -> None:
    served, failed = Counter[str](), Counter[str]()
    over = itertools.count(1)

    def call(_: int) -> None:
        try:
            served[ask(b"", timeout=DEADLINE_S).decode()] += 1
        except grpc.RpcError as error:
            failed[f"{error.code().name}: {error.details()}"] += 1
        if next(over) == math.ceil(total / 10):
            print(json.dumps({"begun": True}), flush=True)

    with ThreadPoolExecutor(AT_ONCE) as workers:
        list(workers.map(call, range(total)))
    print(json.dumps({"served": served, "failed": failed}), flush=True)


def main(target: str) -> None:
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        ask = channel.unary_unary("/demo.Where/Ask")
        for line in sys.stdin:
            run(ask, int(line))


if __name__ == "__main__":
    main(sys.argv[1])
