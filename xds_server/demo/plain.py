"""The run as plain lines, for a pipe, a log, or a run without a screen."""

from __future__ import annotations

from collections.abc import Callable

from xds_server.demo.picture import STEPS, Line, Picture

_EVERY_S = 5.0


class PlainUi:
    """Says what happens as it happens, and how the run goes every few seconds.

    While a region ramps up, weights move every second. Of such steps the first is said, and then what came last, when
    something else is.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._next_s = 0.0
        self._stepping = False
        self._steps: list[Line] = []

    def progress(self, text: str) -> None:
        """Say what is being started."""
        self._write(f"{text} ...")

    def show(self, picture: Picture, news: list[Line]) -> None:
        """Say the news, and the state if it is time."""
        if self._next_s == 0.0:
            self._write(addresses(picture))
        for line in news:
            self._say(line)
        if picture.elapsed_s >= self._next_s:
            self._next_s = picture.elapsed_s + _EVERY_S
            self._catch_up()
            self._write(state(picture))

    def _say(self, line: Line) -> None:
        if line.kind == STEPS and self._stepping:
            self._steps.append(line)
            return
        self._catch_up()
        self._stepping = line.kind == STEPS
        self._write(event(line))

    def _catch_up(self) -> None:
        """Say the last of the steps that were not said."""
        if self._steps:
            more = len(self._steps) - 1
            before = f"   ({more} step{'s' if more > 1 else ''} before it)" if more else ""
            self._write(event(self._steps[-1]) + before)
            self._steps.clear()

    def close(self) -> None:
        """Say what is left to say."""
        self._catch_up()


def event(line: Line) -> str:
    """Return something that happened as one line."""
    return f"{line.clock} {line.severity:<7} {line.text}"


def state(picture: Picture) -> str:
    """Return how the run goes as one line."""
    recent = picture.recent
    p50, p99 = (recent.p50_ms, recent.p99_ms) if recent else (None, None)
    latency = f"p50 {p50:.0f} ms p99 {p99:.0f} ms" if p50 is not None and p99 is not None else "no latency yet"
    regions = " ".join(f"{r.region}={r.health}" for r in picture.regions)
    if picture.control_plane:
        regions = f"(control plane: {picture.control_plane}) {regions}"
    failed = " ".join(f"{kind}={n}" for kind, n in picture.failed_by_kind.items() if n)
    if picture.duration_s and picture.elapsed_s > picture.duration_s and picture.in_flight:
        return f"{picture.elapsed_s:6.1f} s  all sent, waiting for {picture.in_flight} requests under way"
    return (
        f"{picture.elapsed_s:6.1f} s  {picture.done_rps:.0f} req/s  {latency}  {picture.requests:,} requests"
        f"  {picture.failed} failed{f' ({failed})' if failed else ''}  {regions}"
    )


def addresses(picture: Picture) -> str:
    """Return where to look, one line each."""
    at = picture.addresses
    return "\n".join(
        [
            f"web page       {at.control_plane}/",
            *(f"Envoy admin    {url}  ({view})" for view, url in at.envoy_admin.items()),
            f"policy         {at.policy}",
            "inject a fault xds-server demo-fault kill:us-east-1    (from another terminal)",
        ]
    )
