"""One written value to one typed value: `500ms`, `30%`, `20k`, `10.0.1.10:8080`.

Each function takes the text and returns the value or raises `TextError`, whose message says what is wrong and what to
write instead. Every duration and share carries its unit, because a bare `1` under `timeout` has meant seconds to some
and milliseconds to others. Numbers are read as decimals, never by way of a float (`1.1s` is 1100 ms), and their
length is bounded by the patterns. The patterns are also what the JSON Schema shows to editors.
"""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal

from xds_server.model import Endpoint
from xds_server.policy.errors import quoted

NUMBER = r"[0-9]{1,15}(\.[0-9]{1,9})?"
DURATION = rf"{NUMBER}(ms|s|m|h)"
PERCENT = rf"{NUMBER}%"
RATE = rf"{NUMBER}[kM]?( ?req/s)?"
NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
HOST = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
ADDRESS = rf"(\[[0-9A-Fa-f:.]+\]|{HOST}):[0-9]{{1,5}}"
PATH = r"/[!-\"$-~]{0,1023}"
HEADER_HOST = r"[A-Za-z0-9._:\[\]-]{1,255}"
BODY = r"[ -~]{1,200}"
GRPC_SERVICE = r"[A-Za-z_][A-Za-z0-9_.-]{0,199}"
IDENTITY = r"[a-z][a-z0-9+.-]{0,30}://[!-~]{1,480}|[A-Za-z0-9_*.-]{1,253}"
FILE = r"[^\x00-\x1f\x7f]{1,4096}"
NODE_PATTERN = r"[!-~]{1,256}"
STATUS = r"[1-5][0-9]{2}(-[1-5][0-9]{2})?"

_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_SCALE = {"": 1, "k": 1_000, "M": 1_000_000}

_DURATION = re.compile(rf"(-?{NUMBER})(ms|s|m|h)?")
_PERCENT = re.compile(rf"(-?{NUMBER})(%)?")
_RATE = re.compile(rf"(-?{NUMBER})([kM]?)( ?req/s)?")
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_NAME = re.compile(NAME)
_HOST = re.compile(HOST)
_PORT = re.compile(r":[0-9]+$")
_PATH = re.compile(PATH)
_HEADER_HOST = re.compile(HEADER_HOST)
_BODY = re.compile(BODY)
_GRPC_SERVICE = re.compile(GRPC_SERVICE)
_IDENTITY = re.compile(IDENTITY)
_FILE = re.compile(FILE)
_NODE_PATTERN = re.compile(NODE_PATTERN)
_STATUS = re.compile(STATUS)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4_UNICAST = re.compile(rf"((?!0)(?!22[4-9])(?!23[0-9])(?:{_OCTET}\.){{3}}{_OCTET}):([1-9][0-9]{{0,3}})")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]*)\]|([^:\[\]]*)):([0-9]{1,5})")

MAX_HOST = 253
"""RFC 1035, section 2.3.4, without the root's dot."""


class TextError(ValueError):
    """The text does not say what its key needs; the message names the fix."""


def milliseconds(text: str) -> Decimal:
    """Read a duration."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise TextError(f"{quoted(text)} is not a duration; write a number and ms, s, m or h, such as 500ms or 2s")
    number, unit = match[1], match[3]
    if unit is None:
        raise TextError(f"{quoted(text)} has no unit; write {number}s or {number}ms")
    return Decimal(number) * _MS[unit]


def share(text: str) -> Decimal:
    """Read a percentage as a fraction."""
    match = _PERCENT.fullmatch(text)
    if match is None:
        raise TextError(f"{quoted(text)} is not a percentage; write a number and %, such as 20%")
    number = Decimal(match[1])
    if match[3] is None:
        percent = number * 100 if abs(number) < 1 else number
        raise TextError(f"{quoted(text)} has no unit; write {percent.normalize():f}%")
    return number / 100


def rate(text: str) -> Decimal:
    """Read requests per second."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise TextError(f"{quoted(text)} is not a rate; write requests per second, such as 20000 or 20k")
    return Decimal(match[1]) * _SCALE[match[3]]


def whole(text: str) -> int:
    """Read a whole number."""
    if _WHOLE.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not a whole number")
    return int(text)


def flag(text: str) -> bool:
    """Read `true` or `false`; YAML's other spellings are refused because half of all tools read them as text."""
    if text not in {"true", "false"}:
        raise TextError(f"{quoted(text)} is neither true nor false; write true or false")
    return text == "true"


def name(text: str) -> str:
    """Read the name of a region, service or fleet: it goes into cluster names, `service@region`."""
    if _NAME.fullmatch(text) is None:
        raise TextError(
            f"{quoted(text)} cannot be a name; use letters, digits, `.`, `_` and `-`, at most 100, "
            "with a letter or digit at both ends"
        )
    return text


def host_name(text: str) -> str:
    """Read a host that selects a service (`:authority`), as lower case; Envoy compares without regard to case."""
    if _PORT.search(text):
        raise TextError(f"{quoted(text)} has a port; write the host alone, it matches with any port")
    if "*" in text:
        raise TextError(f"{quoted(text)} has a wildcard, which is not supported; name every host")
    if len(text) > MAX_HOST or _HOST.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not a host name; write one such as checkout.example.com")
    return text.lower()


def endpoint(text: str) -> Endpoint:
    """Read what can be connected to: an IP address or host name, and a port."""
    if usual := _IPV4_UNICAST.fullmatch(text):  # a short cut: nearly all endpoints of a large policy
        return Endpoint(usual[1], int(usual[2]))
    host, port = _split(text, "10.0.1.10:8080, [2001:db8::1]:8080 or name.example:8080")
    ip = _ip(host)
    if ip is None:
        return Endpoint(host.lower(), port)
    if ip.is_unspecified or ip.is_multicast:
        raise TextError(f"{quoted(text)} cannot be connected to; write the address of one endpoint")
    return Endpoint(str(ip), port)


def listen(text: str) -> Endpoint:
    """Read what a sidecar listens on: an IP address and port. Envoy binds addresses, not names."""
    host, port = _split(text, "127.0.0.1:10000 or 0.0.0.0:10000")
    ip = _ip(host)
    if ip is None:
        raise TextError(f"{quoted(text)} names a host; a listener needs an IP address, such as 127.0.0.1:{port}")
    return Endpoint(str(ip), port)


def http_path(text: str) -> str:
    """Read the path of a health check."""
    if _PATH.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not a path; write one that starts with /, without spaces or #")
    return text


def header_host(text: str) -> str:
    """Read the Host header of a health check."""
    if _HEADER_HOST.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not a Host header; write one such as checkout.example.com")
    return text


def body_text(text: str) -> str:
    """Read the text that a healthy answer contains."""
    if _BODY.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} cannot be looked for; write 1 to 200 printable ASCII characters")
    return text


def header_value(text: str) -> str:
    """Read the value that a header must have."""
    if _BODY.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not a header's value; write 1 to 200 printable ASCII characters")
    return text


def grpc_service(text: str) -> str:
    """Read the name of a gRPC service, with its package."""
    if _GRPC_SERVICE.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not a gRPC service; write one such as shop.v1.Checkout")
    return text


def identity(text: str) -> str:
    """Read a pattern of the names in a certificate: URIs, or DNS names."""
    if _IDENTITY.fullmatch(text) is None:
        raise TextError(
            f"{quoted(text)} is neither a URI nor a DNS name; write one such as spiffe://example/us-east-1/* or "
            "*.us-east-1.example.com"
        )
    if "***" in text:
        raise TextError(f"{quoted(text)} has three stars; write * for one step, ** for any number of them")
    return text


def file(text: str) -> str:
    """Read the path of a file."""
    if _FILE.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not the path of a file")
    return text


def node_pattern(text: str) -> str:
    """Read a pattern of node ids."""
    if _NODE_PATTERN.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not a pattern of node ids; write one such as web-us-east-1-*")
    return text


def statuses(text: str) -> range:
    """Read one HTTP status or a range of them, both ends included."""
    if _STATUS.fullmatch(text) is None:
        raise TextError(f"{quoted(text)} is not an HTTP status; write one such as 200, or a range such as 200-299")
    low, _, high = text.partition("-")
    if high and int(high) < int(low):
        raise TextError(f"{quoted(text)} runs backwards; write {high}-{low}")
    return range(int(low), int(high or low) + 1)


def _split(text: str, examples: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    if match is None or match[2] == "":
        raise TextError(f"{quoted(text)} is not an address; write {examples}")
    port = int(match[3])
    if not 1 <= port <= 65_535:
        raise TextError(f"{quoted(text)} has port {port}; a port is between 1 and 65535")
    if match[1] is not None:
        return f"[{match[1]}]", port
    return match[2], port


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address, None for a host name; an address that was meant but is not one is an error.

    A name whose last label is a number is an IPv4 address gone wrong (RFC 1123, section 2.1).
    """
    if host.startswith("["):
        return _ipv6(host[1:-1])
    if host.rpartition(".")[2].isdecimal():
        return _ipv4(host)
    if len(host) > MAX_HOST or _HOST.fullmatch(host) is None:
        raise TextError(f"{quoted(host)} is neither an IP address nor a host name")
    return None


def _ipv4(host: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(host)
    except ipaddress.AddressValueError:
        raise TextError(f"{quoted(host)} is not an IPv4 address; write four numbers from 0 to 255") from None


def _ipv6(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.IPv6Address(host)
    except ipaddress.AddressValueError:
        raise TextError(f"{quoted(host)} is not an IPv6 address") from None
    return address.ipv4_mapped or address
