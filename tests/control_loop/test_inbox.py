"""The inbox of the control loop: all that came, once, in its order, and no more than is of use."""

from __future__ import annotations

from xds_server.inbox import Inbox, Item
from xds_server.model import (
    AccessSummary,
    Address,
    AgentReport,
    LoadReport,
    Observation,
    Resolution,
    Target,
    ViewKey,
)
from xds_server.orders.types import EndOrder
from xds_server.policy.parse import parse
from xds_server.policy.types import Policy
from xds_server.rollout.news import Joined, Left
from xds_server.step import Inputs

TARGET = Target("shop", "east", Address("127.0.0.1", 80))


def seen(at: float) -> Observation:
    return Observation("controlplane", TARGET, healthy=True, at=at)


def load(at: float) -> LoadReport:
    return LoadReport("east", "east", "shop", "east", 1, 1, 0, 0, 1.0, at)


def access(at: float) -> AccessSummary:
    return AccessSummary("east", "east", "shop", "east", 1, 0, 1.0, 1.0, 1.0, at)


def said(at: float) -> AgentReport:
    return AgentReport("watch", "east", "", True, None, None, "", 60.0, at)


def policy(capacity: int) -> Policy:
    text = f"""
version: 1
regions: {{east: {{}}}}
services: {{shop: {{deployments: {{east: {{endpoints: ["127.0.0.1:80"], capacity: {capacity}}}}}}}}}
"""
    return parse(text.encode(), "").policy


def holding(*items: Item, most: int = 10) -> Inbox:
    inbox = Inbox(most)
    for item in items:
        inbox.put(item)
    return inbox


def test_everything_is_given_once_each_kind_in_its_order() -> None:
    joined, left, found = Joined(1, "e1", ViewKey("web", "east")), Left(1), Resolution("a", (), 1.0)
    end = EndOrder(1, "e-1", "ann", "done")
    inbox = holding(seen(1), joined, load(1), access(1), seen(2), said(1), found, load(2), left)
    inbox.order(end)
    inbox.retry()
    assert inbox.take(behind=3) == Inputs(
        observations=(seen(1), seen(2)),
        resolutions=(found,),
        clients=(joined, left),
        loads=(load(1), load(2)),
        accesses=(access(1),),
        agents=(said(1),),
        retry=True,
        orders=(end,),
        behind=3,
    )
    assert inbox.take() == Inputs()


def test_of_several_policies_the_last_counts() -> None:
    assert holding(policy(1), policy(2), policy(3)).take().policy == policy(3)


def test_of_too_much_evidence_the_newest_is_kept() -> None:
    inbox = holding(*(make(at) for at in range(9) for make in (seen, load, access, said)), most=3)
    taken = inbox.take()
    for kept in (taken.observations, taken.loads, taken.accesses, taken.agents):
        assert [one.at for one in kept] == [6, 7, 8]


def test_what_happens_once_is_never_dropped() -> None:
    inbox = holding(*(Left(stream) for stream in range(9)), *(Resolution("a", (), at) for at in range(9)), most=3)
    for number in range(9):
        inbox.order(EndOrder(number, "e-1", "ann", "done"))
    taken = inbox.take()
    assert [len(taken.clients), len(taken.resolutions), len(taken.orders)] == [9, 9, 9]
