"""How many lives are made up."""

from __future__ import annotations

import pytest

LIVES = 8


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds") or LIVES))
