"""One stage for all tests of this directory that need a running fleet; it is started when the first one asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.envoy.stage import Stage, new_stage


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with new_stage(tmp_path_factory.mktemp("stage")) as started:
        yield started
