"""What `bootstrap` says of files that hold something else than they should."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from xds_server.cli import main


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, held in (("ca", "CERTIFICATE"), ("web", "CERTIFICATE"), ("key", "EC PRIVATE KEY")):
        (tmp_path / name).write_text(f"-----BEGIN {held}-----\nAA==\n-----END {held}-----\n")
    return tmp_path


def bootstrap(files: Path, cert: str, key: str) -> Result:
    paths = ["--ca", str(files / "ca"), "--cert", str(files / cert), "--key", str(files / key)]
    return CliRunner().invoke(main, ["bootstrap", "--region", "us-east-1", *paths])


def test_files_that_were_swapped_are_said_to_be_so(files: Path) -> None:
    swapped = bootstrap(files, "key", "web")
    assert (swapped.exit_code, swapped.stdout.splitlines()[0]) == (0, "node:")
    assert swapped.stderr.splitlines() == [
        f"warning: {files / 'key'}: holds no certificate in PEM form",
        f"warning: {files / 'web'}: holds no private key in PEM form",
    ]


def test_files_that_are_right_or_elsewhere_are_not(files: Path) -> None:
    assert bootstrap(files, "web", "key").stderr == ""
    assert bootstrap(files, "on-the-other-machine", "there-too").stderr == ""
