"""A real Envoy for tests: started with a bootstrap, watched through its admin page, stopped by its own process.

Ports are Envoy's to pick: give port 0 for the admin page and for listeners, and ask it which ones it got. Waiting means
asking again until a condition holds; if the process dies meanwhile, its log is the error.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

ENVOY = Path(sys.prefix) / "bin" / "envoy"
LIMIT_S = 30.0
PAUSE_S = 0.02

T = TypeVar("T")


class EnvoyProcess:
    """One Envoy. Use it as a context manager: it is ready inside, and gone after."""

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        *,
        suffix: str = "yaml",
        wait_ready: bool = True,
        program: Path = ENVOY,
        flags: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> None:
        self._cwd = cwd
        self._command = [str(program), *flags]
        self._config = directory / f"bootstrap.{suffix}"
        self._config.write_text(bootstrap)
        self._admin_file = directory / "admin-address"
        self._log_file = directory / "envoy.log"
        self._wait_ready = wait_ready
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EnvoyProcess:
        command = [*self._command, "-c", str(self._config), "--admin-address-path", str(self._admin_file)]
        command += ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._cwd)
        try:
            self.wait_for("an admin address", lambda: self._admin_file.exists() and self._admin_file.read_text())
            if self._wait_ready:
                self.wait_for("readiness", lambda: self.admin("/ready")[0] == 200)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def admin_port(self) -> int:
        return int(self._admin_file.read_text().rpartition(":")[2])

    @property
    def log(self) -> str:
        """Everything Envoy wrote so far; at level `warning`, so empty if it has nothing to complain about."""
        return self._log_file.read_text(errors="replace")

    def admin(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Ask the admin page: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=LIMIT_S)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def admin_json(self, path: str) -> Any:
        """Ask the admin page for JSON: `/config_dump`, `/clusters?format=json`, `/listeners?format=json`."""
        status, body = self.admin(path)
        assert status == 200, body
        return json.loads(body)

    def stats(self, contains: str = "") -> dict[str, int]:
        """Counters and gauges whose name contains a text."""
        found = self.admin_json(f"/stats?format=json&filter={contains}")["stats"]
        return {stat["name"]: stat["value"] for stat in found if isinstance(stat.get("value"), int)}

    def listener_port(self, name: str = "outbound") -> int:
        """The port a listener got."""
        for listener in self.admin_json("/listeners?format=json")["listener_statuses"]:
            if listener["name"] == name:
                return int(listener["local_address"]["socket_address"]["port_value"])
        raise AssertionError(f"no listener {name}")

    def wait_for(self, what: str, condition: Callable[[], T], limit_s: float = LIMIT_S) -> T:
        """Return the first true value of `condition`; an AssertionError with Envoy's log after the limit."""
        assert self._process is not None
        deadline = time.monotonic() + limit_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"no {what} in {limit_s} s\n{self.log}"
            try:
                self._process.wait(PAUSE_S)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"Envoy ended before {what}\n{self.log}")
        return value

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def validate(directory: Path, bootstrap: str, suffix: str = "yaml", program: Path = ENVOY) -> str:
    """Load a bootstrap with `--mode validate`; return what Envoy had to say beyond that it is fine."""
    config = directory / f"validate.{suffix}"
    config.write_text(bootstrap)
    command = [str(program), "-c", str(config), "--mode", "validate", "--disable-hot-restart", "--log-level", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (done.stdout + done.stderr).replace(f"configuration '{config}' OK", "").strip()
