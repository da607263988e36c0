"""The real parts, each by itself: a backend, the load against it, child processes and their ends, ports, the socket."""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from xds_server.demo import remote
from xds_server.demo.backend import Bucket, Settings, changed
from xds_server.demo.http1 import Response, UnreachableError, fetch
from xds_server.demo.ledger import Ledger
from xds_server.demo.load import arguments_of
from xds_server.demo.ports import Ports
from xds_server.demo.processes import Child, DemoError, check, stop_all, until
from xds_server.demo.tally import Delta, Totals

LIMIT_S = 30.0
REGION = "us-east-1"


def gone(pid: int) -> bool:
    """True if there is no such process, or only its unread exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@contextmanager
def free_ports(count: int) -> Iterator[tuple[int, ...]]:
    ports = Ports(count, random.Random())
    try:
        yield ports.numbers
    finally:
        ports.close()


class Backends:
    """Real backend processes with their notes in one directory."""

    def __init__(self, directory: Path, ports: tuple[int, ...], *options: str) -> None:
        self.ports = ports
        self.children = [self._child(directory, port, options) for port in ports]
        self.ledger = Ledger(directory, tuple(f"{REGION}-{port}" for port in ports))

    @staticmethod
    def _child(directory: Path, port: int, options: tuple[str, ...]) -> Child:
        argv = [sys.executable, "-m", "xds_server.demo.backend", "--region", REGION, "--port", str(port)]
        argv += ["--notes", str(directory), "--rtt", "near=0", "far=200", *options]
        return Child(f"backend {port}", argv, directory / f"{port}.log")

    def start(self) -> None:
        for child in self.children:
            child.start()
        asyncio.run(self._ready())

    async def _ready(self) -> None:
        for port in self.ports:
            await until(lambda port=port: answers(port), LIMIT_S, self.children, "the backend answers")  # type: ignore[misc]


async def answers(port: int) -> bool:
    try:
        return (await fetch(port, "/_control")).status == 200
    except UnreachableError:
        return False


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backends]:
    with free_ports(1) as ports:
        backends = Backends(tmp_path, ports)
        try:
            backends.start()
            yield backends
        finally:
            stop_all(backends.children)


def get(port: int, target: str, *, method: str = "GET", view: str = "near", **headers: str) -> Response:
    own = [("host", "checkout.demo"), ("x-view", view), *((k.replace("_", "-"), v) for k, v in headers.items())]
    return asyncio.run(fetch(port, target, method=method, headers=own, timeout_s=LIMIT_S))


def test_a_backend_answers_with_its_region_after_the_round_trip_of_the_path(backend: Backends) -> None:
    (port,) = backend.ports
    started = time.monotonic()
    assert get(port, "/cart", view="far") == Response(200, b"us-east-1\n")
    assert time.monotonic() - started >= 0.2


def test_a_backend_can_be_told_to_misbehave_and_to_stop_it(backend: Backends) -> None:
    (port,) = backend.ports
    get(port, "/_control?healthy=false&error_rate=1&delay_ms=150", method="POST")
    started = time.monotonic()
    assert get(port, "/healthz").status == 503
    assert time.monotonic() - started >= 0.15
    assert get(port, "/cart").status == 503
    get(port, "/_control?reset", method="POST")
    assert (get(port, "/healthz").status, get(port, "/cart").status) == (200, 200)
    state = json.loads(get(port, "/_control").body)
    assert state["served"] == {"ok": 1, "error": 1, "shed": 0}
    assert get(port, "/_control?colour=red", method="POST").status == 400
    assert get(port, "/_control", method="PUT").status == 405


def test_an_unhealthy_backend_serves_and_a_failing_one_passes_its_check(backend: Backends) -> None:
    (port,) = backend.ports
    get(port, "/_control?healthy=false", method="POST")
    assert (get(port, "/healthz").status, get(port, "/cart").status) == (503, 200)
    get(port, "/_control?healthy=true&error_rate=1", method="POST")
    assert (get(port, "/healthz").status, get(port, "/cart").status) == (200, 503)


ASKING = """
import http.client, sys
kept = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
for line in sys.stdin:
    try:
        kept.request("GET", line.strip())
        with kept.getresponse() as response:
            response.read()
        print(response.status, flush=True)
    except (http.client.HTTPException, OSError):
        kept.close()
        print("dropped", flush=True)
"""


def test_a_process_that_is_cut_off_reaches_nothing_and_others_do(backend: Backends) -> None:
    (port,) = backend.ports
    command = [sys.executable, "-c", ASKING, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:

        def asked(path: str) -> str:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write(f"{path}\n")
            other.stdin.flush()
            return other.stdout.readline().strip()

        assert asked("/cart") == "200"
        assert get(port, f"/_control?cut_off={other.pid}", method="POST").status == 200
        assert [asked("/cart"), asked("/cart"), asked("/healthz")] == ["dropped"] * 3
        assert (get(port, "/cart").status, get(port, "/healthz").status) == (200, 200)
        get(port, "/_control?reset", method="POST")
        assert [asked("/cart"), asked("/healthz")] == ["200"] * 2


def test_attempts_and_plain_writes_are_known_after_a_kill(backend: Backends) -> None:
    (port,) = backend.ports
    get(port, "/cart", x_demo_id="1")
    get(port, "/cart", method="POST", x_demo_id="2", idempotency_key="k")
    get(port, "/cart", method="POST", x_demo_id="2", idempotency_key="k")
    get(port, "/cart", method="POST", x_demo_id="3")
    get(port, "/healthz")
    backend.children[0].kill()
    backend.start()
    get(port, "/cart", method="POST", x_demo_id="3")
    backend.ledger.update()
    assert (backend.ledger.attempts, backend.ledger.duplicated_writes) == (5, 1)


def test_bytes_that_are_not_http_cost_a_connection_and_no_more(backend: Backends) -> None:
    (port,) = backend.ports
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        connection.sendall(b"\x00\x01 nonsense\r\n\r\n")
        assert connection.recv(100) == b""
    assert get(port, "/cart").status == 200


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("", Settings()),
        ("delay_ms=300&error_rate=0.4", Settings(delay_ms=300.0, error_rate=0.4)),
        ("healthy=false&shed_header=true", Settings(healthy=False, shed_header=True)),
        ("cut_off=7", Settings(cut_off=(7,))),
    ],
)
def test_settings_from_a_query(query: str, settings: Settings) -> None:
    assert changed(Settings(), query) == settings


@pytest.mark.parametrize(
    "query", ["delay_ms=soon", "delay_ms=-1", "error_rate=nan", "healthy=1", "colour=red", "cut_off=all"]
)
def test_a_bad_setting_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        changed(Settings(), query)


def test_a_bucket_lets_through_its_rate_and_one_second_of_burst() -> None:
    bucket = Bucket(0.0)
    assert sum(bucket.take(50.0, 0.0) for _ in range(500)) == 50
    assert sum(bucket.take(50.0, 1.0 + n / 100) for n in range(1000)) in range(545, 555)
    assert all(bucket.take(0.0, 20.0) for _ in range(100))


def run_load(*options: str) -> Totals:
    command = [sys.executable, "-m", "xds_server.demo.load", "--share", f"{REGION}=1", *options]
    out = subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S, text=True).stdout
    first, *lines = [json.loads(line) for line in out.splitlines()]
    assert set(first) == {"started_at"}
    assert lines[-1]["last"]
    totals = Totals()
    for line in lines:
        totals.add(Delta.from_json(line))
    return totals


def test_the_load_sends_what_it_should_and_the_backend_sees_as_much(backend: Backends) -> None:
    totals = run_load("--rps", "150", "--duration", "2", "--sidecar", f"{REGION}={backend.ports[0]}")
    backend.ledger.update()
    assert (totals.sum.sent, totals.completed, totals.failed, totals.sum.in_flight) == (300, 300, 0, 0)
    assert totals.sum.served_by == {REGION: 300}
    assert sum(totals.sum.completed_by_kind.values()) == 300
    assert (backend.ledger.attempts, backend.ledger.duplicated_writes) == (300, 0)


def test_latency_counts_from_when_a_request_was_due(backend: Backends) -> None:
    """Every answer takes 400 ms: a closed loop of one connection would send five requests in two seconds."""
    get(backend.ports[0], "/_control?delay_ms=400", method="POST")
    totals = run_load("--rps", "20", "--duration", "2", "--sidecar", f"{REGION}={backend.ports[0]}")
    window = totals.due(0.0, 2.0)
    assert window is not None
    assert window.requests == 40
    assert window.p50_ms is not None
    assert window.p50_ms >= 390.0


def test_a_request_without_an_answer_failed_as_none(backend: Backends) -> None:
    backend.children[0].pause()
    try:
        options = ["--rps", "20", "--duration", "1", "--drain", "0.2"]
        totals = run_load(*options, "--sidecar", f"{REGION}={backend.ports[0]}")
    finally:
        backend.children[0].resume()
    assert (totals.completed, totals.failed) == (20, 20)
    assert totals.sum.failed_by_status == {"none": 20}


def test_nobody_listening_fails_every_request_at_once() -> None:
    with free_ports(1) as ports:
        totals = run_load("--rps", "50", "--duration", "1", "--sidecar", f"{REGION}={ports[0]}")
    assert totals.sum.failed_by_status == {"none": 50}


def test_the_load_needs_to_know_where_to_send() -> None:
    with pytest.raises(SystemExit):
        arguments_of(["--rps", "1"])
    assert isinstance(arguments_of(["--rps", "1", "--sidecar", "a=1", "--share", "a=1"]), argparse.Namespace)


PARENT = """
import sys, time
from pathlib import Path
from xds_server.demo.processes import Child
children = [Child(str(n), ["sleep", "600"], Path(sys.argv[1]) / "log") for n in range(2)]
for child in children:
    child.start()
children[1].pause()
print(*[child.pid for child in children], flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_no_child_outlives_its_parent_however_it_dies_not_even_a_stopped_one(
    tmp_path: Path, how: signal.Signals
) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(gone(pid) for pid in pids)
        parent.send_signal(how)
    wait_until(lambda: all(gone(pid) for pid in pids), LIMIT_S, lambda: "it did not come true")


def test_stop_all_ends_the_willing_the_hung_and_the_deaf(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    children = [
        Child("willing", ["sleep", "600"], tmp_path / "willing"),
        Child("hung", ["sleep", "600"], tmp_path / "hung"),
        Child("deaf", [sys.executable, "-c", deaf], tmp_path / "deaf"),
        Child("never started", ["sleep", "600"], tmp_path / "never"),
    ]
    for child in children[:3]:
        child.start()
    children[1].pause()
    wait_until(lambda: (tmp_path / "deaf").read_text() == "1\n", LIMIT_S, lambda: "it did not come true")
    pids = [child.pid for child in children[:3]]
    stop_all(children)
    assert all(gone(pid) for pid in pids)
    assert not any(child.running for child in children)


def test_a_child_that_dies_by_itself_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = Child("the Envoy of mars", ["sh", "-c", "echo one; echo bind failed >&2; exit 3"], tmp_path / "log")
    child.start()
    wait_until(lambda: not child.running, LIMIT_S, lambda: "it did not come true")
    with pytest.raises(DemoError, match=r"(?s)the Envoy of mars ended with status 3.*bind failed"):
        check([child])


def test_a_child_that_was_killed_on_purpose_is_not_reported(tmp_path: Path) -> None:
    child = Child("a backend", ["sleep", "600"], tmp_path / "log")
    child.start()
    child.kill()
    check([child])
    assert not child.running


def test_waiting_ends_with_the_death_of_what_is_waited_for(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    child = Child("the control plane", ["sh", "-c", "echo no policy; exit 1"], tmp_path / "log")
    child.start()
    with pytest.raises(DemoError, match="no policy"):
        asyncio.run(until(never, LIMIT_S, [child], "ready"))
    with pytest.raises(DemoError, match="ready: not after 0 s"):
        asyncio.run(until(never, 0.0, [], "ready"))


def test_two_runs_side_by_side_never_get_the_same_port() -> None:
    with free_ports(40) as one, free_ports(40) as other:
        assert len({*one, *other}) == 80
        for port in (*one, *other):
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", port))


def test_the_same_draw_of_ports_avoids_those_that_are_taken() -> None:
    one, other = Ports(5, random.Random(1)), Ports(5, random.Random(1))
    assert not set(one.numbers) & set(other.numbers)
    other.close()
    one.close()
    again = Ports(5, random.Random(1))
    assert again.numbers == one.numbers
    again.close()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a name that leaves room for a socket's: `tmp_path` is too long with several workers."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def test_a_fault_from_another_terminal_reaches_the_run(short_path: Path) -> None:
    async def shout(text: str) -> str:
        return text.strip().upper()

    async def both() -> tuple[list[Path], str]:
        directory = short_path / f"{remote.PREFIX}one"
        (short_path / f"{remote.PREFIX}stale").mkdir()
        directory.mkdir()
        async with remote.listening(directory, shout):
            found = await asyncio.to_thread(remote.running, short_path)
            return found, await asyncio.to_thread(remote.ask, directory, "kill:us-east-1")

    found, answer = asyncio.run(both())
    assert [path.name for path in found] == [f"{remote.PREFIX}one"]
    assert answer == "KILL:US-EAST-1"
    assert remote.running(short_path) == []
    with pytest.raises(OSError, match="no demo runs in"):
        remote.ask(short_path, "kill:us-east-1")


def test_this_test_process_left_nothing_behind() -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    names = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children if not gone(int(pid))]
    assert not [name for name in names if b"xds_server.demo" in name or b"sleep\x00600" in name]
