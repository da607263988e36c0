"""Options shared by all tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write scenario outcomes anew instead of comparing them")
    parser.addoption("--all-envoys", action="store_true", help="try older releases of Envoy besides the newest")
    parser.addoption("--seeds", type=int, help="how many lives to simulate, instead of eight")
