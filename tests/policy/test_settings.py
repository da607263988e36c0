"""The defaults that people read in the grammar are the ones that services get."""

from __future__ import annotations

from xds_server.policy.grammar import FLEET, HEALTH, REGION, RETRIES, ROLLOUT, SETTINGS, TIMEOUTS
from xds_server.policy.kinds import Key, Section, Tree
from xds_server.policy.nodes import compose
from xds_server.policy.parse import DEFAULT_LISTEN
from xds_server.policy.reading import Reading
from xds_server.policy.settings import Settings, attributes
from xds_server.policy.types import Fleet, HealthCheck, ProbeKind, Protocol, Region, Retries, Rollout, Timeouts


def written(keys: tuple[Key, ...]) -> str:
    given = []
    for key in keys:
        if isinstance(key.kind, Section):
            given.append(f"{key.name}: {written(key.kind.keys)}")
        elif key.default is not None:
            given.append(f"{key.name}: {key.default}".replace("False", "false"))
    return "{" + ", ".join(given) + "}"


def read(section: Section) -> Tree:
    reading = Reading("defaults")
    root, _ = compose(written(section.keys), "defaults")
    assert root is not None
    tree: Tree = section.read(root, "", reading)
    assert reading.problems == []
    return tree


DIFFERENT = Settings(
    protocol=Protocol.GRPC,
    health=HealthCheck(ProbeKind.TCP, "/x", None, None, frozenset({1}), 7, 7, 7, 7, None, ""),
    timeouts=Timeouts(7, None, None, 7),
    retries=Retries(7, 0.7, None),
    reserve=0.7,
    ramp_up_ms=7,
    min_change=0.7,
    latency_tolerance_ms=70,
)


def test_written_defaults_are_the_values() -> None:
    assert DIFFERENT.overlay(read(Section(SETTINGS))) == Settings()
    assert Rollout(**attributes(ROLLOUT.keys, read(ROLLOUT))) == Rollout()
    assert read(REGION) == {"drain": Region("r").drain}
    assert read(FLEET) == {"listen": DEFAULT_LISTEN, "access_logs": Fleet("f", "", 0).access_logs}


def test_every_field_of_the_settings_has_its_key() -> None:
    for section, value in ((HEALTH, HealthCheck()), (TIMEOUTS, Timeouts()), (RETRIES, Retries()), (ROLLOUT, Rollout())):
        derived = {"server_name"}  # from the service's tls
        assert {key.attribute or key.name for key in section.keys} == set(value.__slots__) - derived
    assert {key.attribute or key.name for key in SETTINGS} == set(Settings.__slots__)


def test_nothing_given_changes_nothing() -> None:
    assert DIFFERENT.overlay({}) is DIFFERENT
    assert DIFFERENT.overlay({"health": {}}) == DIFFERENT
