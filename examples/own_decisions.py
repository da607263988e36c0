"""Shift traffic from a blue cluster to a green one in steps, each when all Envoys have taken the one before.

    python examples/own_decisions.py --blue 127.0.0.1:8001 --green 127.0.0.1:8002 --steps 10,50,100 --pause 60

A program with decisions of its own, on the serving half of xds-server (docs/library.md). Every Envoy whose
`node.cluster` is `--group` gets a listener, a route and the two clusters. If an Envoy rejects a step, or does not
answer in time, the step before is put back and the program ends with status 1. Stop it with Ctrl-C: Envoys keep what
they have.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.json_format import ParseDict

from xds_server.serving import ClientEvent, Key, Nacked, Resource, SnapshotServer, TypeUrl, resource

NAME = "shift"
ANSWER_S = 30.0
"""How long Envoys may take to accept a step."""


class RejectedError(Exception):
    """An Envoy rejected a step."""


class Shift:
    """Serves one split of the traffic, and moves it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._rejected: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._lines = asyncio.StreamReader()
        self.server = SnapshotServer(options.xds, group_of=lambda node: node.cluster, on_event=self._hear)

    def begin(self) -> None:
        """Have all traffic go to blue."""
        options = self._options
        backends = [cluster("blue", options.blue), cluster("green", options.green)]
        self.server.set_snapshot(options.group, [*backends, listener(options.listen), routes(0)], version=version(0))

    async def run(self) -> None:
        """Go through the steps. Raises RejectedError, or TimeoutError if an Envoy does not answer."""
        if self._options.confirm:
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._lines), sys.stdin)
        await self._taken(0)
        before = 0
        for percent in self._options.steps:
            await self._go_on()
            try:
                await self._step(percent)
            except (RejectedError, TimeoutError):
                self._rejected = asyncio.get_running_loop().create_future()
                await self._step(before)
                raise
            before = percent

    async def _step(self, percent: int) -> None:
        self.server.set(self._options.group, routes(percent), version=version(percent))
        async with asyncio.timeout(ANSWER_S):
            await self._taken(percent)

    async def _taken(self, percent: int) -> None:
        """Wait until every connected Envoy, at least one, has acknowledged the routes."""
        group, envoys = self._options.group, max(1, len(self.server.clients()))
        taken: asyncio.Future[Any] = asyncio.ensure_future(
            self.server.wait_acked(group, TypeUrl.ROUTE, version(percent), envoys)
        )
        try:
            answers: list[asyncio.Future[Any]] = [taken, self._rejected]
            await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            taken.cancel()
        if self._rejected.done():
            raise RejectedError(self._rejected.result())
        say(f"{percent} % green, taken by {envoys}")

    async def _go_on(self) -> None:
        if self._options.confirm:
            if not await self._lines.readline():
                raise RejectedError("the input ended: nobody confirms")
        else:
            await asyncio.sleep(self._options.pause)

    def _hear(self, event: ClientEvent) -> None:
        if isinstance(event.what, Nacked) and event.node is not None and not self._rejected.done():
            self._rejected.set_result(f"{event.node.node_id}: {event.what.error}")


def version(percent: int) -> str:
    """Return the version of a step. It is on the wire, and in Envoy's /config_dump, as it is here."""
    return f"green-{percent}"


def routes(percent: int) -> Resource:
    """Return the route: so many percent to green, the rest to blue. It waits for both clusters."""
    weights = [{"name": "blue", "weight": 100 - percent}, {"name": "green", "weight": percent}]
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": weights}}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    message = ParseDict({"name": NAME, "virtual_hosts": hosts}, route_pb2.RouteConfiguration())
    return resource(message, needs=[Key(TypeUrl.CLUSTER, name) for name in ("blue", "green")])


def cluster(name: str, address: str) -> Resource:
    """Return a cluster with one endpoint."""
    endpoint = {"endpoint": {"address": socket_address(address)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    fields = {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}
    return resource(ParseDict(fields, cluster_pb2.Cluster()))


def listener(address: str) -> Resource:
    """Return the listener, whose routes come over the same stream."""
    manager = {
        "@type": any_url(http_connection_manager_pb2.HttpConnectionManager),
        "stat_prefix": NAME,
        "rds": {"route_config_name": NAME, "config_source": {"ads": {}, "resource_api_version": "V3"}},
        "http_filters": [{"name": "router", "typed_config": {"@type": any_url(router_pb2.Router)}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    fields = {"name": NAME, "address": socket_address(address), "filter_chains": [chain]}
    return resource(ParseDict(fields, listener_pb2.Listener()), needs=[Key(TypeUrl.ROUTE, NAME)])


def any_url(message: Any) -> str:
    """Return the `@type` of a message."""
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"


def socket_address(address: str) -> Mapping[str, Any]:
    """Return Envoy's form of HOST:PORT."""
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def say(line: str) -> None:
    """Tell the person who waits."""
    print(line, flush=True)  # noqa: T201


def percents(text: str) -> list[int]:
    """Return the steps of `10,50,100`."""
    steps = [int(word) for word in text.split(",")]
    if not all(0 <= step <= 100 for step in steps):
        raise argparse.ArgumentTypeError("steps are percents, 0 to 100")
    return steps


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Shift traffic from blue to green, step by step.")
    parser.add_argument("--blue", required=True, metavar="IP:PORT")
    parser.add_argument("--green", required=True, metavar="IP:PORT")
    parser.add_argument("--steps", type=percents, default=[10, 50, 100], metavar="PERCENT,…")
    parser.add_argument("--pause", type=float, default=60.0, metavar="SECONDS", help="between steps")
    parser.add_argument("--confirm", action="store_true", help="go on at every Enter, and not by time")
    parser.add_argument("--group", default="edge", help="the node.cluster of the Envoys")
    parser.add_argument("--xds", default="127.0.0.1:18000", metavar="HOST:PORT", help="where Envoys connect")
    parser.add_argument("--listen", default="127.0.0.1:10000", metavar="IP:PORT", help="where Envoys listen")
    return parser.parse_args(words)


async def main(options: argparse.Namespace) -> int:
    """Shift, then serve what was reached until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    shift = Shift(options)
    shift.begin()
    async with shift.server as server:
        say(f"serving xDS on {server.address}")
        steps = asyncio.ensure_future(shift.run())
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait([steps, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not steps.done():
            steps.cancel()
            return 0
        problem = steps.exception()
        if problem is not None:
            say(f"stopped: {problem or 'no answer in time'}")
            return 1
        say("done; serving until Ctrl-C")
        await stop.wait()
        return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments(sys.argv[1:]))))
