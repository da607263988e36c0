"""Options shared by all tests.

Hypothesis looks for new examples on a developer's machine and repeats the same ones in CI: a change is not refused for
what an older one did. What a developer's run finds belongs into a test of its own. No example has a deadline:
how long one takes says more of what else the machine does than of the code.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("here", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


ALONE = "tests/envoy/"
"""Tests that send a load through a fleet and look at every request: they have the machine to themselves."""

SHARED = (
    ALONE,
    "tests/page/",
    "tests/grpc_clients/",
    "tests/deploy/test_monitoring.py",
    "tests/openapi/test_fuzz.py",
    "tests/rollout/test_backlog.py",
    "tests/snapshot/test_second_opinion.py",
    "tests/tls/test_port.py",
)
"""Where tests share what is costly to start: all of a place go to one worker. All others are dealt out one by one."""

LONG = ("tests/page/", "tests/grpc_clients/", "tests/bench/", "tests/demo/", "tests/simulation/")
"""What begins early: a long one that begins last keeps one worker busy while the others have nothing to do."""


class ByPlace(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out `SHARED` as a whole. `--dist loadgroup` would, but does not with pytest 9.2 (pytest-xdist #1386)."""

    def _split_scope(self, nodeid: str) -> str:
        return next((place for place in SHARED if nodeid.startswith(place)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByPlace:
    config.option.loadscopereorder = False  # the order is ours
    return ByPlace(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long ones first; refuse a fixture that tests share, unless they go to one worker."""
    items.sort(key=lambda item: next((n for n, place in enumerate(LONG) if item.nodeid.startswith(place)), len(LONG)))
    for item in items:
        if item.nodeid.startswith(ALONE):
            item.add_marker(pytest.mark.alone)
        if places := {place for place in shared(item) if not place.startswith(tuple(p.rstrip("/") for p in SHARED))}:
            raise pytest.UsageError(f"{item.nodeid} shares a fixture of {places}, which is not in {__name__}.SHARED")


def shared(item: pytest.Item) -> set[str]:
    """Return where the fixtures are defined, a file or a directory, that a test shares with others."""
    if not isinstance(item, pytest.Function):
        return set()
    fixtures = [fixture for several in item._fixtureinfo.name2fixturedefs.values() for fixture in several]
    return {fixture.baseid for fixture in fixtures if fixture.baseid and fixture.scope != "function"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write scenario outcomes anew instead of comparing them")
    parser.addoption("--all-envoys", action="store_true", help="try older releases of Envoy besides the newest")
    parser.addoption("--seeds", type=int, help="how many lives to simulate, instead of eight")
    parser.addoption("--talks", type=int, help="how many random talks of each variant of the protocol")
    parser.addoption("--cases", type=int, help="how many allocations to compare with an LP solver, instead of 3,200")
