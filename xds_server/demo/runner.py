"""One demo from the first process to the last: options in, report out, nothing left behind."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from xds_server.demo import remote, report
from xds_server.demo.faults import Fault
from xds_server.demo.keys import FAULT_OF_KEY, key_presses
from xds_server.demo.picture import Line, Picture
from xds_server.demo.ports import Ports
from xds_server.demo.processes import DemoError
from xds_server.demo.session import Session
from xds_server.demo.site import Site
from xds_server.demo.topology import CONTROL_PLANE, REGIONS, Topology, ports_needed

_DRAW_S = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `duration_s` None: until stopped."""

    rps: float
    duration_s: float | None
    capacity_rps: float | None
    shed_header: bool
    faults: tuple[Fault, ...]


class Ui(Protocol):
    """What shows a run."""

    def progress(self, text: str) -> None:
        """Say what is being started."""

    def show(self, picture: Picture, news: list[Line]) -> None:
        """Show the run as it is now."""

    def close(self) -> None:
        """Put the terminal back."""


def demo(options: Options, ui: Ui) -> dict[str, Any] | None:
    """Run it; return the report, or None if it was stopped before the load began. Raises DemoError."""
    with tempfile.TemporaryDirectory(prefix=remote.PREFIX) as directory, _ports() as ports:
        topology = Topology.of(options.rps, options.capacity_rps, ports)
        site = Site(Path(directory), topology, shed_header=options.shed_header)
        try:
            return asyncio.run(_run(options, site, ui))
        finally:
            ui.close()
            site.stop()


@contextmanager
def _ports() -> Iterator[tuple[int, ...]]:
    try:
        ports = Ports(ports_needed(), random.Random())  # noqa: S311
    except OSError as problem:
        raise DemoError(str(problem)) from None
    try:
        yield ports.numbers
    finally:
        ports.close()


async def _run(options: Options, site: Site, ui: Ui) -> dict[str, Any] | None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    if not await _started(site, ui, stop):
        return None
    session = Session(site, options.duration_s)
    typed = _Typed(session, stop)
    async with remote.listening(site.directory, session.inject_text):
        with key_presses(typed.press):
            drawing = loop.create_task(_draw(session, ui))
            try:
                await session.run(options.faults, stop)
            finally:
                drawing.cancel()
                await typed.close()
    ui.show(session.picture(), session.news())
    return report.build(session.measured())


async def _started(site: Site, ui: Ui, stop: asyncio.Event) -> bool:
    """Start everything; return False if asked to stop before that was done."""
    starting = asyncio.ensure_future(site.start(ui.progress))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    return False


async def _draw(session: Session, ui: Ui) -> None:
    while True:
        ui.show(session.picture(), session.news())
        await asyncio.sleep(_DRAW_S)


class _Typed:
    """What keys do."""

    def __init__(self, session: Session, stop: asyncio.Event) -> None:
        self._session = session
        self._stop = stop
        self._tasks: set[asyncio.Task[str]] = set()

    def press(self, key: str) -> None:
        """Act on one key; any other does nothing."""
        if key == "q":
            self._stop.set()
        elif key in FAULT_OF_KEY:
            self._session.chosen = FAULT_OF_KEY[key]
        elif key == "c":
            self._toggle(CONTROL_PLANE)
        elif key in "1234"[: len(REGIONS)]:
            self._toggle(REGIONS[int(key) - 1])

    def _toggle(self, target: str) -> None:
        task = asyncio.get_running_loop().create_task(self._session.inject_text(self._session.toggle(target)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what was begun by keys."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
