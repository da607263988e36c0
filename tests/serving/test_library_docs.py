"""docs/library.md names everything that is public, and its first example runs."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import any_pb2

from tests.serving.client import Client
from xds_server import serving
from xds_server.serving import SnapshotServer, TypeUrl

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()


def test_every_public_name_has_a_row() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert rows == set(serving.__all__)


def test_every_method_has_a_row() -> None:
    methods = {name for name in vars(SnapshotServer) if not name.startswith("_")}
    cells = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)(?:\(.*\))?`", cell)}
    assert named - set(serving.__all__) == methods


def test_the_adapter_does_what_its_calls_say() -> None:
    (code,) = (
        block for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "Adapter" in block
    )
    modules = (cluster_pb2, endpoint_pb2, listener_pb2, route_pb2)
    names: dict[str, Any] = {module.__name__.rpartition(".")[2]: module for module in modules}
    names |= {"TypeUrl": TypeUrl, "resource": serving.resource}
    exec(code, names)
    packed = any_pb2.Any()
    packed.Pack(cluster_pb2.Cluster(name="A"))

    async def conversation() -> None:
        async with (
            SnapshotServer() as server,
            Client(server.address, "node", TypeUrl.CLUSTER, aggregated=True, delta=True) as client,
        ):
            adapter = names["Adapter"](server)
            adapter.set_state("node", "1", [packed])
            await client.subscribe()
            assert (await client.next()).names == {"A": "1"}
            adapter.add_or_update("node", TypeUrl.CLUSTER, "B", "2")
            assert (await client.next()).names == {"B": "2"}
            adapter.remove("node", TypeUrl.CLUSTER, "A", "3")
            assert (await client.next()).removed == ("A",)
            adapter.clear_state("node")

    asyncio.run(asyncio.wait_for(conversation(), 30.0))


def test_the_first_example_runs() -> None:
    (code, *_) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    code = code.replace("asyncio.run(main())", "").replace("127.0.0.1:18000", "127.0.0.1:0")
    printed: list[tuple[object, ...]] = []
    addresses: asyncio.Queue[str] = asyncio.Queue()

    class Announced(SnapshotServer):
        async def start(self) -> str:
            address = await super().start()
            addresses.put_nowait(address)
            return address

    names: dict[str, Any] = {"print": lambda *words: printed.append(words), "Announced": Announced}
    exec(code.replace("SnapshotServer(", "Announced("), names)

    async def conversation() -> None:
        program = asyncio.ensure_future(names["main"]())
        async with Client(await addresses.get(), "edge-1", TypeUrl.CLUSTER, aggregated=True, delta=False) as client:
            await client.subscribe()
            assert (await client.next()).names == {"shop": ""}
            await program

    asyncio.run(asyncio.wait_for(conversation(), 30.0))
    assert printed == [("edge-1", [(TypeUrl.CLUSTER, "1")])]
