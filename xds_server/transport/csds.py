"""CSDS, the Client Status Discovery Service, on the xDS port: what each connected client has, resource by resource.

`envoy.service.status.v3.csds.proto` is the reference. We are the management server there: `config_status` is what we
sent and what came back; `client_status` follows from the answers (ACKED, NACKED, REQUESTED). `xds_config` is the body
of what the status speaks of, or what the client has instead of a rejected one; never a secret, and for other types
only where the request does not exclude contents. `last_updated` is when the client last accepted it, and
`last_update_attempt` when it rejected it, as heard on this stream; what a client had before it connected, and what it
took long ago beside much else, has no time. `failed_configuration` is what it rejected, as long as it is to have that.

**Who may ask.** Configuration tells where everything is, and the xDS port is open to every client. So only peers on
this machine's loopback are answered, others get PERMISSION_DENIED: from elsewhere, go through an authenticated tunnel
(ssh, `kubectl port-forward`). A port of its own for this was rejected: one more to protect, for something asked for by
hand; `/api/v1/fleet` on the admin side is what machines read. If a proxy on this machine takes the connections of
clients from outside, they are all loopback: such a proxy must not pass this service on. Where the policy says which
certificate may speak as whom, a caller sees the clients that its own certificate may be, and no others.

Matchers look at the node's id. Matching metadata is refused and not ignored: what is kept of a node has none. Regular
expressions are refused as well: Envoy's kind runs in linear time, Python's does not, and everything waits meanwhile.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any
from urllib.parse import unquote

import grpc
from envoy.service.status.v3 import csds_pb2
from google.protobuf.message import DecodeError

from xds_server.protocol.events import Code, Identified, ProtocolError
from xds_server.protocol.identity import identities
from xds_server.protocol.inventory import ConfigState, ResourceStatus
from xds_server.snapshot.resource import Resource, TypeUrl
from xds_server.transport.clients import ClientStatus, Inventory

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"

MOST_CALLS = 8
"""At once: people and a tool or two."""

MOST_BYTES = 48 * 1024 * 1024
"""Of one answer: what gRPC carries (`max_response_bytes`), with room for what one more client adds."""

Chosen = Callable[[Identified], bool]

Visible = Callable[[tuple[str, ...], ClientStatus], bool]
"""Says whether who has these names in its certificate may see a client."""


class StatusService:
    """Both methods of CSDS. `inventory` yields the connected clients that are chosen; its times are those of `now`."""

    def __init__(
        self, inventory: Callable[[Chosen], AsyncIterator[Inventory]], visible: Visible, now: Callable[[], float]
    ) -> None:
        self._inventory = inventory
        self._visible = visible
        self._now = now
        self._calls = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what the server adds."""
        methods = {
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _stream(self, _: Any, context: Any) -> None:
        problem, who = self._objection(context.peer()), identities(context.auth_context())
        self._calls += 1
        try:
            while problem is None and (data := await context.read()) is not grpc.aio.EOF:
                await context.write(await self._answer(data, who))
        except ProtocolError as error:
            problem = error
        finally:
            self._calls -= 1
        if problem is not None:
            await context.abort(grpc.StatusCode[problem.code], problem.message)

    async def _fetch(self, data: bytes, context: Any) -> bytes:
        problem, who = self._objection(context.peer()), identities(context.auth_context())
        self._calls += 1
        try:
            if problem is None:
                return await self._answer(data, who)
        except ProtocolError as error:
            problem = error
        finally:
            self._calls -= 1
        await context.abort(grpc.StatusCode[problem.code], problem.message)
        raise AssertionError  # abort does not return

    def _objection(self, peer: str) -> ProtocolError | None:
        if not is_loopback(peer):
            return ProtocolError(Code.PERMISSION_DENIED, "CSDS is answered on this machine's loopback only")
        if self._calls >= MOST_CALLS:
            return ProtocolError(Code.RESOURCE_EXHAUSTED, f"more than {MOST_CALLS} calls at once")
        return None

    async def _answer(self, data: bytes, who: tuple[str, ...]) -> bytes:
        try:
            request = csds_pb2.ClientStatusRequest.FromString(data)
        except DecodeError as error:
            raise ProtocolError(Code.INVALID_ARGUMENT, f"not a ClientStatusRequest: {error}") from error
        response = csds_pb2.ClientStatusResponse()
        configs: dict[tuple[Identified, str], Any] = {}
        size = 0
        epoch = time.time() - self._now()
        async for client, resources in self._inventory(_chosen(request.node_matchers)):
            if not self._visible(who, client):
                continue
            key = (client.node, client.peer)  # a client with a stream for each type is one client
            config = configs.get(key)
            if config is None:
                config = configs[key] = response.config.add(node=_node(client))
            added = [_generic(status, epoch, contents=not request.exclude_resource_contents) for status in resources]
            size += sum(generic.ByteSize() for generic in added)
            if size > MOST_BYTES:
                problem = "too much for one answer: narrow it by node_matchers, or set exclude_resource_contents"
                raise ProtocolError(Code.RESOURCE_EXHAUSTED, problem)
            config.generic_xds_configs.extend(added)
        return bytes(response.SerializeToString())


def is_loopback(peer: str) -> bool:
    """Return whether a gRPC peer (`ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`) is on this machine."""
    kind, _, rest = peer.partition(":")
    if kind == "unix":
        return True
    try:
        address = ipaddress.ip_address(unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _chosen(matchers: Iterable[Any]) -> Chosen:
    """Return what tells the clients asked for: those that any matcher takes; all, if there is none."""
    tests = [_matcher(matcher) for matcher in matchers]
    return lambda node: not tests or any(test(node.node_id) for test in tests)


def _matcher(matcher: Any) -> Callable[[str], bool]:
    if matcher.node_metadatas:
        raise ProtocolError(Code.INVALID_ARGUMENT, "node_metadatas: the metadata of nodes are not kept; use node_id")
    if not matcher.HasField("node_id"):
        return lambda _: True
    of = matcher.node_id
    kind = of.WhichOneof("match_pattern")
    fold = str.lower if of.ignore_case else str
    if kind not in {"exact", "prefix", "suffix", "contains"}:
        raise ProtocolError(Code.INVALID_ARGUMENT, f"node_id: {kind or 'an empty matcher'} is not served")
    text = fold(getattr(of, kind))
    return {
        "exact": lambda name: fold(name) == text,
        "prefix": lambda name: fold(name).startswith(text),
        "suffix": lambda name: fold(name).endswith(text),
        "contains": lambda name: text in fold(name),
    }[kind]


def _node(client: ClientStatus) -> Any:
    node = client.node
    return {
        "id": node.node_id,
        "cluster": node.cluster,
        "locality": {"region": node.region, "zone": node.zone},
        "user_agent_name": node.agent,
        "user_agent_version": node.version,
    }


def _generic(status: ResourceStatus, epoch: float, *, contents: bool) -> Any:
    """Return a resource's status; `epoch` is when its clock began."""
    made = csds_pb2.ClientConfig.GenericXdsConfig(
        type_url=status.type_url,
        name=status.name,
        version_info=status.version,
        config_status=status.state.value,
        client_status=_client_status(status),
    )
    contents = contents and status.type_url != TypeUrl.SECRET
    if contents and status.resource is not None:
        _pack(made.xds_config, status.resource)
    if status.updated is not None:
        made.last_updated.FromMilliseconds(round((epoch + status.updated) * 1000))
    if status.refusal is not None:
        made.error_state.details = status.refusal.error
        made.error_state.version_info = status.refusal.version
        made.error_state.last_update_attempt.FromMilliseconds(round((epoch + status.refusal.at) * 1000))
        if contents and status.failed is not None:
            _pack(made.error_state.failed_configuration, status.failed)
    return made


def _pack(into: Any, resource: Resource) -> None:
    into.type_url = resource.type_url
    into.value = resource.body


def _client_status(status: ResourceStatus) -> str:
    if status.state is ConfigState.ERROR:
        return "NACKED"
    return "ACKED" if status.had else "REQUESTED"
