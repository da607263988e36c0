"""Written values that are good. Bad ones are in testdata/values.txt."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xds_server.model import Endpoint
from xds_server.policy import units

GOOD: list[tuple[Callable[[str], Any], str, Any]] = [
    (units.milliseconds, "500ms", 500),
    (units.milliseconds, "2s", 2_000),
    (units.milliseconds, "1.1s", 1_100),
    (units.milliseconds, "1.5m", 90_000),
    (units.milliseconds, "1h", 3_600_000),
    (units.milliseconds, "0.25ms", Decimal("0.25")),
    (units.share, "30%", Decimal("0.3")),
    (units.share, "0.5%", Decimal("0.005")),
    (units.share, "100%", 1),
    (units.rate, "20000", 20_000),
    (units.rate, "20k", 20_000),
    (units.rate, "1.5M req/s", 1_500_000),
    (units.rate, "0.5req/s", Decimal("0.5")),
    (units.whole, "42", 42),
    (units.flag, "true", True),
    (units.flag, "false", False),
    (units.host_name, "Checkout.Example.COM", "checkout.example.com"),
    (units.host_name, "my_service", "my_service"),
    (units.host_name, "10.0.0.1", "10.0.0.1"),
    (units.endpoint, "10.0.1.10:8080", Endpoint("10.0.1.10", 8080)),
    (units.endpoint, "10.0.1.10:10000", Endpoint("10.0.1.10", 10_000)),
    (units.endpoint, "255.255.255.255:65535", Endpoint("255.255.255.255", 65_535)),
    (units.endpoint, "[2001:DB8:0::1]:80", Endpoint("2001:db8::1", 80)),
    (units.endpoint, "[::ffff:10.0.0.1]:80", Endpoint("10.0.0.1", 80)),
    (units.endpoint, "Name.Example:80", Endpoint("name.example", 80)),
    (units.endpoint, "us-east-1_backend:80", Endpoint("us-east-1_backend", 80)),
    (units.listen, "0.0.0.0:1", Endpoint("0.0.0.0", 1)),
    (units.listen, "[::]:10000", Endpoint("::", 10_000)),
    (units.http_path, "/healthz?full=1", "/healthz?full=1"),
    (units.header_host, "checkout.example:8080", "checkout.example:8080"),
    (units.statuses, "204", range(204, 205)),
    (units.statuses, "200-299", range(200, 300)),
]


@pytest.mark.parametrize(("convert", "text", "value"), GOOD, ids=[f"{c.__name__} {text}" for c, text, _ in GOOD])
def test_a_good_text_becomes_its_value(convert: Callable[[str], Any], text: str, value: Any) -> None:
    assert convert(text) == value


@given(st.ip_addresses(), st.integers(0, 70_000))
@settings(deadline=None)
def test_addresses_are_canonical_or_refused(ip: Any, port: int) -> None:
    text = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    plain = getattr(ip, "ipv4_mapped", None) or ip
    if not 1 <= port <= 65_535 or plain.is_multicast or plain.is_unspecified:
        with pytest.raises(units.TextError):
            units.endpoint(text)
    else:
        endpoint = units.endpoint(text)
        assert endpoint == Endpoint(str(plain), port)
        assert units.endpoint(str(endpoint)) == endpoint


@given(st.text(max_size=30), st.sampled_from(sorted({convert for convert, _, _ in GOOD}, key=lambda c: c.__name__)))
@settings(deadline=None)
def test_other_text_is_read_or_refused(text: str, convert: Callable[[str], Any]) -> None:
    message = "read"
    try:
        convert(text)
    except units.TextError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
