"""The xDS port: a `grpc.aio` server whose streams carry raw bytes. Decides nothing.

One task, the pump, goes through the streams when snapshots are published. It lets others run every few streams, so that
a change to ten thousand clients does not keep the probes, the ticks and the admin side waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Any

import grpc

from xds_server.model import ViewKey
from xds_server.protocol.events import Code, Identified
from xds_server.protocol.identity import identities
from xds_server.protocol.sharing import Sharing
from xds_server.snapshot.resource import Key
from xds_server.transport.admission import Admission
from xds_server.transport.clients import ClientEvent, ClientStatus, Inventory
from xds_server.transport.csds import StatusService, Visible
from xds_server.transport.memory import Trimmer, collect_seldom
from xds_server.transport.options import TransportOptions, channel_options
from xds_server.transport.publisher import Publisher
from xds_server.transport.services import ADS, METHODS, Method
from xds_server.transport.stream import ClientStream, Surroundings

SERVICE = ADS
STREAMS_PER_TURN = 32
"""Streams the pump wakes before others get a turn: a few milliseconds of work."""


class BindError(Exception):
    """The address cannot be listened on."""

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot listen for xDS on {address}: the port is taken or the address is not this machine's")
        self.address = address


class XdsServer:
    """Serves all the methods of `services.py`, and CSDS.

    `assign` says which view a client gets that asks by a method, or raises Refused; `on_event` hears what clients say.
    `services` are served on the same port; they bound their own streams. With `credentials` the port speaks TLS.
    `visible` says whether who asks by CSDS, by the names in its certificate, may see a client.
    """

    def __init__(
        self,
        address: str,
        *,
        assign: Callable[[Identified, Method], ViewKey],
        publisher: Publisher,
        on_event: Callable[[ClientEvent], None],
        options: TransportOptions | None = None,
        services: Iterable[grpc.GenericRpcHandler] = (),
        identifier: str = "",
        credentials: grpc.ServerCredentials | None = None,
        visible: Visible = lambda *_: True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._visible = visible
        self._services = tuple(services)
        self._options = options or TransportOptions()
        sharing = Sharing(identifier)
        admission = Admission(self._options.first_answers_per_s, self._options.first_answers_at_once, now)
        self._surroundings = Surroundings(publisher, assign, on_event, sharing, admission, self._options, now)
        self._streams: dict[int, ClientStream] = {}
        self._of_one: Counter[tuple[str, ...] | str] = Counter()
        self._opened = 0
        self._changed: set[ViewKey] = set()
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._trimmer: asyncio.Task[None] | None = None
        self._server: Any = None
        self._unlisten: Callable[[], None] = lambda: None

    async def start(self) -> int:
        """Listen and serve; return the port. Raises BindError."""
        server = grpc.aio.server(
            options=channel_options(self._options),
            maximum_concurrent_rpcs=self._options.max_streams * (1 + len(self._services)),
        )
        own = (*self._handlers(), StatusService(self.inventory, self._visible, self._surroundings.now).handler())
        server.add_generic_rpc_handlers((*own, *self._services))
        try:
            port = self._listen(server)
        except RuntimeError as error:
            raise BindError(self._address) from error
        await server.start()
        self._server = server
        self._resized()
        self._unlisten = self._surroundings.publisher.listen(self._published)
        self._pump = asyncio.get_running_loop().create_task(self._run_pump(), name="xds pump")
        self._trimmer = asyncio.get_running_loop().create_task(Trimmer(self._moves).run(), name="xds memory")
        return port

    def _listen(self, server: Any) -> int:
        if self._credentials is None:
            return int(server.add_insecure_port(self._address))
        return int(server.add_secure_port(self._address, self._credentials))

    async def stop(self, grace: float = 1.0) -> None:
        """Release the port, and end every stream with UNAVAILABLE, so that clients go elsewhere or come back.

        Connections are told first (GOAWAY): a client whose stream ends opens the next one on another connection.
        Those that wait their turn to end are served meanwhile. `grace` is what the last ones get.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        self._unlisten()
        seconds = len(self._streams) / self._options.drain_per_s
        stopping = asyncio.get_running_loop().create_task(server.stop(grace + seconds), name="xds stop")
        await asyncio.sleep(0)
        await self._drain()
        await stopping
        await self._surroundings.admission.close()
        tasks = [task for task in (self._pump, self._trimmer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _moves(self) -> int:
        """Return how often a client came or went."""
        return 2 * self._opened - len(self._streams)

    async def _drain(self) -> None:
        for count, stream in enumerate(tuple(self._streams.values()), start=1):
            stream.close(Code.UNAVAILABLE, "the control plane is shutting down")
            if count % STREAMS_PER_TURN == 0:
                await asyncio.sleep(STREAMS_PER_TURN / self._options.drain_per_s)

    def clients(self) -> tuple[ClientStatus, ...]:
        """Return who is connected, and where they are."""
        return tuple(status for stream in self._streams.values() if (status := stream.status()))

    def behind(self) -> int:
        """Count the clients that have not acknowledged what they were last sent, those that reject it left out.

        2 µs a client, where `clients` takes 20: it is asked at every step of an evacuation.
        """
        return sum(stream.behind() for stream in self._streams.values())

    def accepting(self, view: ViewKey, key: Key, version: str) -> int:
        """Count the clients of a view that have accepted a resource in this very version."""
        return sum(stream.view == view and stream.has(key, version) for stream in self._streams.values())

    async def inventory(self, chosen: Callable[[Identified], bool]) -> AsyncIterator[Inventory]:
        """Yield where the chosen clients are with each of their resources; others get their turn in between."""
        for stream in tuple(self._streams.values()):
            status = stream.status()
            if status is not None and chosen(status.node):
                yield Inventory(status, stream.resources())
                await asyncio.sleep(0)

    def retry(self) -> None:
        """Send every client once more what it rejected."""
        for stream in tuple(self._streams.values()):
            stream.retry()

    def reassign(self) -> None:
        """Ask `assign` again for every client: call it when the policy has changed, before publishing."""
        for stream in tuple(self._streams.values()):
            stream.reassign()

    def _handlers(self) -> Iterator[grpc.GenericRpcHandler]:
        for service in {method.service for method in METHODS}:
            methods = {
                method.name: grpc.stream_stream_rpc_method_handler(partial(self._serve, method))
                for method in METHODS
                if method.service == service
            }
            yield grpc.method_handlers_generic_handler(service, methods)

    async def _serve(self, method: Method, _: Any, context: Any) -> None:
        one = identities(context.auth_context()) or context.peer().rpartition(":")[0]
        if problem := self._too_many(one):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, problem)
        self._opened += 1
        number = self._opened
        stream = self._streams[number] = ClientStream(number, method, context, self._surroundings)
        self._of_one[one] += 1
        self._resized()
        try:
            await stream.run()
        finally:
            del self._streams[number]
            self._resized()
            self._of_one[one] -= 1
            if not self._of_one[one]:
                del self._of_one[one]

    def _resized(self) -> None:
        if self._options.collect_seldom:
            collect_seldom(len(self._streams))

    def _too_many(self, one: tuple[str, ...] | str) -> str:
        """Return why a peer may not open one more stream; empty if it may."""
        if len(self._streams) >= self._options.max_streams:
            return f"more than {self._options.max_streams} streams"
        if self._of_one[one] >= self._options.max_streams_of_one:
            return f"more than {self._options.max_streams_of_one} streams of one certificate or address"
        return ""

    def _published(self, changed: frozenset[ViewKey]) -> None:
        self._changed |= changed
        self._wake.set()

    async def _run_pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, set()
            await self._wake_streams(changed)

    async def _wake_streams(self, changed: set[ViewKey]) -> None:
        woken = 0
        for stream in tuple(self._streams.values()):
            if stream.view not in changed:
                continue
            stream.wake()
            woken += 1
            if woken % STREAMS_PER_TURN == 0:
                await asyncio.sleep(0)
