"""Options shared by all tests.

Hypothesis looks for new examples on a developer's machine and repeats the same ones in CI: a change is not refused for
what an older one did. What a developer's run finds belongs into a test of its own. No example has a deadline:
how long one takes says more of what else the machine does than of the code.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


ALONE = frozenset({"demo", "envoy"})
"""Directories whose tests fill the machine by themselves: a fleet under load beside another would prove nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each directory on one worker when tests run on several (-n): its tests share processes and a stage."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.path.parent.name))
        if item.path.parent.name in ALONE:
            item.add_marker(pytest.mark.alone)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write scenario outcomes anew instead of comparing them")
    parser.addoption("--all-envoys", action="store_true", help="try older releases of Envoy besides the newest")
    parser.addoption("--seeds", type=int, help="how many lives to simulate, instead of eight")
    parser.addoption("--talks", type=int, help="how many random talks of each variant of the protocol")
    parser.addoption("--cases", type=int, help="how many allocations to compare with an LP solver, instead of 3,200")
