"""One stage for all tests of this directory; it is started when the first one asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.grpc_clients.stage import Stage, new_stage


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with new_stage(tmp_path_factory.mktemp("grpc")) as started:
        yield started


@pytest.fixture
def stage(running: Stage) -> Stage:
    running.restore()
    return running
