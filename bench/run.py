"""What a benchmark is given: how much to do, a directory, a voice; and what it is run on."""

from __future__ import annotations

import gc
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from xds_server.transport.memory import collect_seldom

T = TypeVar("T")


class CannotMeasureError(Exception):
    """Something that is to be measured does not work; the text says what."""


@dataclass(frozen=True, slots=True)
class Run:
    """One invocation. `quick` asks for the least that still shows the figure's order of magnitude."""

    directory: Path
    quick: bool
    say: Callable[[str], None]

    def pick(self, full: T, quick: T) -> T:
        """Return how much to do."""
        return quick if self.quick else full


def cpu_ms(work: Callable[[], object], runs: int) -> tuple[float, ...]:
    """Return the CPU time of each run of `work` in ms: on a shared machine the clock measures the neighbours too."""
    values = []
    for _ in range(runs):
        as_when_ready()
        started = time.process_time()
        work()
        values.append((time.process_time() - started) * 1000)
    return tuple(values)


def as_when_ready() -> None:
    """Have the interpreter look for garbage as `serve` does once it is ready: seldom, and not in what is there now."""
    collect_seldom()
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def load_average() -> float:
    """Return how many processes wanted to run, on average over the last minute."""
    return round(os.getloadavg()[0], 2)


def program(name: str) -> str:
    """Return the path of a program installed beside this Python, or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise CannotMeasureError(f"{name} is not installed: run `make setup`")
    return found


def machine() -> dict[str, Any]:
    """Return what kind of machine this is, and the versions that matter; nothing that names it."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "envoy": _envoy_version(),
        "grpcio": version("grpcio"),
        "protobuf": version("protobuf"),
    }


def _cpu_model() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _envoy_version() -> str:
    said = subprocess.run([program("envoy"), "--version"], check=True, capture_output=True, text=True).stdout
    return said.partition(" version: ")[2].split("/")[1]
