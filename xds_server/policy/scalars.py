"""The scalars of the grammar: a converter of units.py with its bounds, its words for people and its JSON Schema."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from xds_server.policy import units, weeks
from xds_server.policy.errors import quoted
from xds_server.policy.kinds import Scalar, Tree
from xds_server.policy.types import OnHarm, OverloadMode, ProbeKind, Protocol, Taker

VERSION = 1

MOST_RPS = Decimal(10) ** 9


def pattern(form: str, convert: Callable[[str], Any], regex: str) -> Scalar:
    """Take text that matches a regular expression, and more that `convert` checks."""
    return Scalar(form, convert, {"type": "string", "pattern": f"^({regex})$"}, "text")


def duration(low: str, high: str, *, whole: bool = True) -> Scalar:
    """Take milliseconds between two written durations; whole ones as int, else as float."""
    least, most = units.milliseconds(low), units.milliseconds(high)

    def convert(text: str) -> int | float:
        value = units.milliseconds(text)
        if not least <= value <= most:
            raise units.TextError(f"{quoted(text)} is out of range; write {low} to {high}")
        if whole and value != int(value):
            raise units.TextError(f"{quoted(text)} is not a whole number of milliseconds; round it")
        return int(value) if whole else float(value)

    return Scalar(f"a duration from {low} to {high}", convert, {"type": "string", "pattern": f"^{units.DURATION}$"})


def percent(low: int, high: int) -> Scalar:
    """Take a fraction between two percentages."""

    def convert(text: str) -> float:
        value = units.share(text)
        if not low <= value * 100 <= high:
            raise units.TextError(f"{quoted(text)} is out of range; write {low}% to {high}%")
        return float(value)

    return Scalar(f"a percentage from {low}% to {high}%", convert, {"type": "string", "pattern": f"^{units.PERCENT}$"})


def rate(*, zero: bool) -> Scalar:
    """Take requests per second, with or without zero."""
    least = "0 or more" if zero else "more than 0"

    def convert(text: str) -> float:
        value = units.rate(text)
        if value < 0 or (value == 0 and not zero):
            raise units.TextError(f"{quoted(text)} is too little; write {least} req/s")
        if value > MOST_RPS:
            raise units.TextError(f"{quoted(text)} is too much; write at most 1000M req/s")
        return float(value)

    number: Tree = {"type": "number", "minimum" if zero else "exclusiveMinimum": 0, "maximum": int(MOST_RPS)}
    written: Tree = {"type": "string", "pattern": f"^{units.RATE}$"}
    return Scalar("requests per second, such as 20000 or 20k", convert, {"anyOf": [number, written]})


def count(low: int, high: int) -> Scalar:
    """Take a whole number between two others."""

    def convert(text: str) -> int:
        value = units.whole(text)
        if not low <= value <= high:
            raise units.TextError(f"{quoted(text)} is out of range; write {low} to {high}")
        return value

    form = f"a whole number from {low} to {high}"
    return Scalar(form, convert, {"type": "integer", "minimum": low, "maximum": high}, "number")


Choice = Protocol | ProbeKind | OnHarm | OverloadMode | Taker


def choice(choices: type[Choice]) -> Scalar:
    """Take one of the values of an enumeration."""
    names = [choice.value for choice in choices]
    form = " or ".join([", ".join(names[:-1]), names[-1]])

    def convert(text: str) -> Choice:
        if text not in names:
            raise units.TextError(f"{quoted(text)} is not known here; write {form}")
        return choices(text)

    return Scalar(form, convert, {"enum": names}, "text")


def flag() -> Scalar:
    """Take true or false."""
    return Scalar("true or false", units.flag, {"type": "boolean"}, "number")


def version() -> Scalar:
    """Take the one version of the format that is read."""

    def convert(text: str) -> int:
        if text != str(VERSION):
            raise units.TextError(f"{quoted(text)} is not a version this program reads; write version: {VERSION}")
        return VERSION

    return Scalar(f"the number {VERSION}", convert, {"const": VERSION}, "number")


def status() -> Scalar:
    """Take an HTTP status, or a range of them."""
    number: Tree = {"type": "integer", "minimum": 100, "maximum": 599}
    written: Tree = {"type": "string", "pattern": f"^{units.STATUS}$"}
    form = "an HTTP status such as 200, or a range such as 200-299"
    return Scalar(form, units.statuses, {"anyOf": [number, written]})


def name() -> Scalar:
    """Take the name of a region, service or fleet."""
    return pattern("a name", units.name, units.NAME)


def host() -> Scalar:
    """Take a host that selects a service."""
    return pattern("a host name such as checkout.example.com", units.host_name, units.HOST)


def endpoint() -> Scalar:
    """Take an address to connect to."""
    return pattern("an address such as 10.0.1.10:8080 or name.example:8080", units.endpoint, units.ADDRESS)


def listen() -> Scalar:
    """Take an address to listen on."""
    return pattern("an IP address and port such as 127.0.0.1:10000", units.listen, units.ADDRESS)


def http_path() -> Scalar:
    """Take the path of a probe."""
    return pattern("a path such as /healthz", units.http_path, units.PATH)


def body_text() -> Scalar:
    """Take text that is looked for in an answer."""
    return pattern("text such as ok", units.body_text, units.BODY)


def header_value() -> Scalar:
    """Take the exact value of a header."""
    return pattern("a header's value such as batch", units.header_value, units.BODY)


def grpc_service() -> Scalar:
    """Take the name of a gRPC service."""
    return pattern("a gRPC service such as shop.v1.Checkout", units.grpc_service, units.GRPC_SERVICE)


def window() -> Scalar:
    """Take a time of the week."""
    return pattern("a time of the week such as mon-fri 08:00-18:00", weeks.window, weeks.WINDOW)


def weekly() -> Scalar:
    """Take a minute of some days of the week."""
    return pattern("a time of the week such as tue 10:00", weeks.weekly, weeks.WEEKLY)


def header_host() -> Scalar:
    """Take the Host header of a probe."""
    return pattern("a Host header such as checkout.example.com", units.header_host, units.HEADER_HOST)


def identity() -> Scalar:
    """Take a pattern of the names in a certificate."""
    form = "a URI or DNS name such as spiffe://example/us-east-1/*"
    return pattern(form, units.identity, units.IDENTITY)


def file() -> Scalar:
    """Take the path of a file."""
    return pattern("a path such as tls/ca.pem", units.file, units.FILE)


def node_pattern() -> Scalar:
    """Take a pattern of node ids."""
    return pattern("a node id such as web-us-east-1-*", units.node_pattern, units.NODE_PATTERN)
