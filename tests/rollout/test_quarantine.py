"""What is kept back, what is shown of it, and what is remembered."""

from __future__ import annotations

from xds_server.model import ViewKey
from xds_server.rollout.quarantine import Held, Quarantine
from xds_server.snapshot.resource import Key, Resource, Snapshot, TypeUrl

VIEW = ViewKey("web", "us-east-1")
OTHER = ViewKey("web", "eu-west-1")
KEY = Key(TypeUrl.CLUSTER, "a")


def cluster(version: str, name: str = "a") -> Resource:
    return Resource(TypeUrl.CLUSTER, name, version, version.encode())


def snapshot(*resources: Resource) -> Snapshot:
    return Snapshot.of(resources)


def kept_back(quarantine: Quarantine, wanted: Snapshot, view: ViewKey = VIEW) -> dict[str, str]:
    """Return what a view gets, by name, after the same two calls that a build makes."""
    quarantine.compare(view, wanted)
    got = quarantine.apply(view, wanted)
    return {name: resource.version for name, resource in got.resources.get(TypeUrl.CLUSTER, {}).items()}


def rejected() -> Quarantine:
    quarantine = Quarantine()
    assert quarantine.add(Held(VIEW, KEY, "bad", "envoy-1", "no such thing"), cluster("good"))
    return quarantine


def test_a_view_keeps_the_last_good_content_and_the_rest_flows() -> None:
    quarantine = rejected()
    assert kept_back(quarantine, snapshot(cluster("bad"), cluster("v2", "b"))) == {"a": "good", "b": "v2"}
    assert [held.version for held in quarantine.entries()] == ["bad"]


def test_other_views_are_not_touched() -> None:
    assert kept_back(rejected(), snapshot(cluster("bad")), OTHER) == {"a": "bad"}


def test_what_was_new_is_left_out() -> None:
    quarantine = Quarantine()
    quarantine.add(Held(VIEW, KEY, "bad", "envoy-1", "why"), None)
    assert kept_back(quarantine, snapshot(cluster("bad"), cluster("v", "b"))) == {"b": "v"}


def test_other_content_is_tried_and_then_nothing_is_kept_back_any_more() -> None:
    quarantine = rejected()
    assert kept_back(quarantine, snapshot(cluster("bad"))) == {"a": "good"}
    assert kept_back(quarantine, snapshot(cluster("better"))) == {"a": "better"}
    assert quarantine.entries() == ()


def test_a_policy_that_comes_back_to_it_meets_it_again() -> None:
    quarantine = rejected()
    kept_back(quarantine, snapshot(cluster("better")))
    assert kept_back(quarantine, snapshot(cluster("bad"))) == {"a": "good"}
    assert len(quarantine.entries()) == 1


def test_a_retry_forgets_all_of_it() -> None:
    quarantine = rejected()
    kept_back(quarantine, snapshot(cluster("better")))
    assert quarantine.forget() == 1
    assert not quarantine
    assert kept_back(quarantine, snapshot(cluster("bad"))) == {"a": "bad"}


def test_the_same_rejection_counts_once() -> None:
    quarantine = rejected()
    assert not quarantine.add(Held(VIEW, KEY, "bad", "envoy-2", "no such thing"), cluster("good"))
    assert len(quarantine) == 1
