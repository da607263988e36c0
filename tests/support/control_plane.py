"""`xds-server serve` as a process of its own, on free ports of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

LIMIT_S = 60.0


def serve_command(policy: Path, *flags: object) -> list[str]:
    """Return the command that serves a policy on free ports; of flags that are given twice the last counts."""
    words = [sys.executable, "-m", "xds_server", "serve", policy, "--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    return [str(word) for word in (*words, *flags)]


class ControlPlane:
    """A process that serves, from its start to `stop` or `kill`; or a context manager that stops it.

    `ready` is what it says once it serves; `log_file`, beside the policy, is its standard error, over restarts too.
    """

    def __init__(self, policy: Path, *flags: object) -> None:
        self.log_file = policy.with_name("serve.log")
        with self.log_file.open("ab") as log:
            command = serve_command(policy, *flags)
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.stop()
            raise AssertionError(self.log)
        self.ready: dict[str, Any] = json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def xds(self) -> str:
        return str(self.ready["xds"])

    @property
    def admin(self) -> str:
        return str(self.ready["admin"])

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def get(self, path: str) -> str:
        """Return what a page of the admin address holds."""
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=LIMIT_S) as response:
            text: str = response.read().decode()
            return text

    def policy(self) -> Any:
        return json.loads(self.get("/api/v1/policy"))

    def rejected(self) -> list[str]:
        """Return what is wrong with what the policy file says."""
        errors: list[str] = (self.policy()["rejected"] or {"errors": []})["errors"]
        return errors

    def stop(self) -> None:
        """End it as an operator does; nothing if it is gone."""
        self.process.terminate()
        self._gone()

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self._gone()

    def _gone(self) -> None:
        self.process.wait(LIMIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
