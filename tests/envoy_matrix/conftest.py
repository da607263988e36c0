"""The newest Envoy always, the older ones with `--all-envoys` (`make matrix`)."""

from __future__ import annotations

import pytest

from tests.envoy_matrix.releases import NEWEST, OLDER


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "release" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-envoys")
        metafunc.parametrize("release", [NEWEST, *(OLDER if every else ())])
