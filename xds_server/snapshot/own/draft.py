"""A resource that was read, with what it takes to judge it and to say where."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from xds_server.policy.errors import quoted
from xds_server.policy.reading import Reading
from xds_server.policy.types import OwnResource
from xds_server.snapshot.own.message import Place, Reference
from xds_server.snapshot.resource import Key, TypeUrl

NOUNS: Mapping[str, str] = MappingProxyType(
    {
        TypeUrl.LISTENER: "listener",
        TypeUrl.ROUTE: "route configuration",
        TypeUrl.SCOPED_ROUTE: "scoped route configuration",
        TypeUrl.VIRTUAL_HOST: "virtual host",
        TypeUrl.CLUSTER: "cluster",
        TypeUrl.ENDPOINT: "cluster load assignment",
        TypeUrl.SECRET: "secret",
        TypeUrl.RUNTIME: "runtime layer",
        TypeUrl.EXTENSION: "extension configuration",
    }
)
"""The types that can be served, in words."""


class Draft(NamedTuple):
    """A resource that was read, and where its parts stand."""

    resource: OwnResource
    message: Any
    at: Place
    references: tuple[Reference, ...]
    reading: Reading

    @property
    def key(self) -> Key:
        """Return type and name."""
        return Key(self.resource.type_url, self.resource.name)

    @property
    def title(self) -> str:
        """Say what it is: `listener "extra"`."""
        return f"{NOUNS[self.resource.type_url]} {quoted(self.resource.name)}"

    def wrong(self, place: Place, message: str) -> None:
        """Note a problem."""
        self.reading.wrong(place.path, message, place.node)
