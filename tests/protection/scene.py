"""A real Envoy on our port, whose view holds a decision made by hand: what a test changes, the Envoy follows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import aiohttp

from tests.signals.fleet import HOME, LIMIT_S, Scene, Sidecar
from tests.support import decisions as made
from xds_server.model import Decision, Protection, ServiceDecision, ViewKey
from xds_server.policy.types import DEFAULT_FLEET
from xds_server.snapshot.build import build


def decide(scene: Scene, shares: Mapping[str, int], settings: Protection, **changes: Any) -> Decision:
    """Return a decision over the scene's one service; `changes` are those of its `ServiceDecision`."""
    decided = made.service_decision(scene.policy.services["checkout"], shares, protect=settings)
    return made.decision(replace(decided, **changes))


def publish(scene: Scene, decision: Decision) -> None:
    addresses = made.addresses(scene.policy)
    view = ViewKey(DEFAULT_FLEET, HOME)
    scene.publisher.publish({view: build(scene.policy, decision, view, addresses)})


def checkout(decision: Decision) -> ServiceDecision:
    return decision.service("checkout")


async def becomes(sidecar: Sidecar, path: str, condition: Callable[[Any], object]) -> Any:
    """Ask an admin page until what it says is as wished."""
    async with asyncio.timeout(LIMIT_S):
        while not condition(said := await sidecar.json(path)):  # noqa: ASYNC110  (Envoy sets no event)
            await asyncio.sleep(0.02)
    return said


async def statuses(sidecar: Sidecar, count: int, method: str = "POST") -> Counter[int]:
    """Send so many requests at once, plain writes, which nobody repeats; return how often each status came."""

    async def one(http: aiohttp.ClientSession) -> int:
        async with http.request(method, sidecar.url, headers={"host": "checkout.demo"}) as response:
            await response.read()
            return response.status

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        return Counter(await asyncio.gather(*(one(http) for _ in range(count))))


async def sent(
    sidecar: Sidecar, count: int, headers: Mapping[str, str], method: str = "GET"
) -> Counter[tuple[int, str, str | None]]:
    """Send so many requests, ten at a time; count status, who answered, and `Retry-After`."""
    found: Counter[tuple[int, str, str | None]] = Counter()

    async def some(http: aiohttp.ClientSession) -> None:
        for _ in range(count // 10):
            async with http.request(method, sidecar.url, headers={"host": "checkout.demo", **headers}) as response:
                body = (await response.read()).decode() if response.status == 200 else ""
                found[response.status, body, response.headers.get("retry-after")] += 1

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(some(http) for _ in range(10)))
    return found
