"""Coverage-guided fuzzing of conversations, where atheris is installed (it is no dependency of the project):

    pip install atheris
    python -m tests.fuzz.atheris_requests -max_total_time=60

The strategies of the property test are driven by the fuzzer's bytes, so that inputs are requests and not noise.
"""

from __future__ import annotations

import sys

import atheris
from hypothesis import given, settings

with atheris.instrument_imports(include=["xds_server"]):
    from tests.fuzz.requests import METHOD, TALKS, converse
    from xds_server.transport.services import Method


@settings(max_examples=1, deadline=None, database=None)
@given(METHOD, TALKS)
def one(method: Method, talk: list[bytes]) -> None:
    """Feed one stream."""
    converse(method, talk)


def main() -> None:
    """Fuzz until told to stop."""
    feed = one.hypothesis.fuzz_one_input  # type: ignore[attr-defined]
    atheris.Setup(sys.argv, lambda data: feed(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
