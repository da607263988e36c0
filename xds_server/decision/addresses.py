"""Which addresses an endpoint has: what DNS said, kept through its failures and its omissions.

The rules, each for a way in which DNS misleads:

- A failed look-up changes nothing: the last good addresses stay, however long it lasts. Health evidence, not DNS, takes
  dead ones out. (Envoy, "Service discovery", strict DNS: a failed query keeps the hosts too.) Only a name that never
  had an address is remembered as failed.
- An address missing from an answer stays until it was missing from `KEEP_ROUNDS` answers in a row. Answers rotate and
  are cut to size, so one omission means little. Kept longer, an address that now serves somebody else would get our
  traffic: three rounds at 5 s is less than address reuse takes on the platforms we know.
- A new address counts at once.
- An IP address is its own answer, in canonical text; IPv4 in IPv6 clothes (`::ffff:10.0.0.1`) is the IPv4 address, or
  the same host would be probed and weighted twice.

Order is by family and number, never by arrival: replicas that saw the same answers hold equal books.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from xds_server.model import Address, Endpoint, Resolution

KEEP_ROUNDS = 3

MAX_ADDRESSES = 256
"""Per name, the lowest ones win. More endpoints in one region cluster than any Envoy here is sized for."""

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_Rounds = Mapping[str, int]
"""By address: in how many answers in a row it was missing."""


@dataclass(frozen=True, slots=True)
class AddressBook:
    """What is known of every host name. A value: its methods return a new book, or the same if nothing changed."""

    _hosts: Mapping[str, _Rounds] = field(default_factory=lambda: MappingProxyType({}))
    _failed: frozenset[str] = frozenset()

    def restored(self, known: Mapping[str, Iterable[str]]) -> AddressBook:
        """Return a book that also has the addresses known earlier, as `known()` gave them; news wins.

        They stand until the first answer, not for several: it was somebody else's memory, and while nobody looked an
        address may have gone to another service.
        """
        old = {host: dict.fromkeys(_sorted(ips), KEEP_ROUNDS - 1) for host, ips in sorted(known.items())}
        return AddressBook(MappingProxyType({**old, **self._hosts}), self._failed - old.keys())

    def known(self) -> dict[str, tuple[str, ...]]:
        """Return the addresses of every name, for keeping across restarts."""
        return {host: tuple(rounds) for host, rounds in sorted(self._hosts.items())}

    def learn(self, resolution: Resolution) -> AddressBook:
        """Take in one answer."""
        before = self._hosts.get(resolution.host, {})
        if not resolution.ips:
            if before or resolution.host in self._failed:
                return self
            return AddressBook(self._hosts, self._failed | {resolution.host})
        answer = set(_sorted(resolution.ips))
        rounds = {ip: 0 if ip in answer else before[ip] + 1 for ip in _sorted(answer | before.keys())}
        after = {ip: missing for ip, missing in rounds.items() if missing < KEEP_ROUNDS}
        if after == before:
            return self
        return AddressBook(MappingProxyType({**self._hosts, resolution.host: after}), self._failed - {resolution.host})

    def only(self, hosts: frozenset[str]) -> AddressBook:
        """Forget every name but these."""
        if self._hosts.keys() | self._failed <= hosts:
            return self
        kept = {host: rounds for host, rounds in self._hosts.items() if host in hosts}
        return AddressBook(MappingProxyType(kept), self._failed & hosts)

    def of(self, endpoint: Endpoint) -> tuple[Address, ...]:
        """Return the addresses of an endpoint, sorted; empty for a name that was never resolved."""
        if self.literal(endpoint):
            return (Address(str(_canonical(endpoint.host)), endpoint.port),)
        return tuple(Address(ip, endpoint.port) for ip in self._hosts.get(endpoint.host, ()))

    def literal(self, endpoint: Endpoint) -> bool:
        """Return True if the endpoint's host is an IP address, so that there is nothing to look up."""
        try:
            ipaddress.ip_address(endpoint.host)
        except ValueError:
            return False
        return True

    def failed(self, endpoint: Endpoint) -> bool:
        """Return True if the endpoint has no address because every look-up of its name failed so far."""
        return endpoint.host in self._failed


def _canonical(text: str) -> _Ip:
    address = ipaddress.ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _sorted(ips: Iterable[str]) -> list[str]:
    addresses = sorted({_canonical(ip) for ip in ips}, key=lambda a: (a.version, int(a)))
    return [str(address) for address in addresses[:MAX_ADDRESSES]]
