"""The live screen: one picture drawn to fit 80 columns and 30 lines, or whatever more there is.

Drawing is a function of a picture (`draw`); `LiveUi` owns the terminal and puts it back as it was.
"""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from xds_server.demo.mix import Kind
from xds_server.demo.picture import Line, Picture
from xds_server.demo.topology import REGIONS

_STYLE = {
    "healthy": "green",
    "degraded": "yellow",
    "down": "bold red",
    "recovering": "cyan",
    "draining": "magenta",
    "unknown": "yellow",
    "info": "",
    "warning": "yellow",
    "alarm": "bold red",
}
_SHORT = {region: region.partition("-")[0] for region in REGIONS}
_FIXED_LINES = 21
_REFUSALS = 2
_WORDS = {Kind.READ: "reads", Kind.KEYED_WRITE: "keyed writes", Kind.PLAIN_WRITE: "plain writes"}
_FAULT_KEYS = "k kill  b blackhole  e errors:0.4  s slow:300  u unhealthy"


class LiveUi:
    """The terminal while a run is on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def progress(self, text: str) -> None:
        """Say what is being started."""
        self._console.print(f"{text} ...", style="dim", highlight=False)

    def show(self, picture: Picture, news: list[Line]) -> None:  # noqa: ARG002
        """Draw the picture; the news are in it."""
        if self._live is None:
            self._live = Live(console=self._console, screen=True, auto_refresh=False)
            self._live.start()
        self._live.update(draw(picture, self._console.height), refresh=True)

    def close(self) -> None:
        """Put the terminal back as it was."""
        if self._live is not None:
            self._live.stop()


def draw(picture: Picture, height: int) -> RenderableType:
    """Return the whole screen; the events get the lines that are left."""
    reasons = _reasons(picture)
    room = max(3, height - _FIXED_LINES - len(reasons) - min(len(picture.refused), _REFUSALS))
    return Group(
        _headline(picture),
        _failures(picture),
        _work(picture),
        Text(),
        _regions(picture),
        *reasons,
        Text(),
        *_events(picture, room),
        Text(),
        *_hints(picture),
    )


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _headline(picture: Picture) -> Text:
    recent = picture.recent
    minutes, seconds = divmod(int(picture.elapsed_s), 60)
    latency = "no latency yet"
    if recent is not None and recent.p50_ms is not None and recent.p99_ms is not None:
        latency = f"p50 {recent.p50_ms:.0f} ms  p99 {recent.p99_ms:.0f} ms"
    end = f" of {picture.duration_s:.0f} s" if picture.duration_s else ""
    rate = f"{picture.done_rps:.0f} req/s"
    return _line(("xds-server demo", "bold"), f"   {minutes:02}:{seconds:02}{end}   ", (rate, "bold"), f"   {latency}")


def _failures(picture: Picture) -> Text:
    by_kind = ", ".join(f"{_WORDS[kind]} {picture.failed_by_kind.get(kind, 0)}" for kind in Kind)
    return _line(
        f"{picture.requests:,} requests, ",
        (f"{picture.failed} failed", "bold red" if picture.failed else "bold green"),
        f" ({by_kind})",
    )


def _work(picture: Picture) -> Text:
    twice = picture.duplicated_writes
    return _line(
        "plain writes that ran twice: ",
        (f"{twice}", "bold red" if twice else "bold green"),
        f"   backend attempts per request: {picture.attempts_per_request:.3f}",
    )


def _regions(picture: Picture) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("", "region", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("req/s", justify="right", no_wrap=True)
    for at, view in enumerate(REGIONS):
        table.add_column(("share of " if at == 0 else "") + _SHORT[view], justify="right", no_wrap=True)
    table.add_column("fault", no_wrap=True)
    for number, line in enumerate(picture.regions, start=1):
        table.add_row(
            Text(str(number), style="bold"),
            line.region,
            Text(line.health, style=_STYLE.get(line.health, "")),
            f"{line.served_rps:.0f}",
            *(_share(picture, view, line.region) for view in REGIONS),
            Text(_fault(line.fault), style="red"),
        )
    return table


def _fault(name: str) -> str:
    """Return the name of a fault with the view that is cut off, if there is one, in short."""
    kind, colon, arg = name.partition(":")
    return f"{kind}{colon}{_SHORT.get(arg, arg)}"


def _share(picture: Picture, view: str, region: str) -> Text:
    weight = picture.weights.get(view, {}).get(region, 0)
    return Text(f"{weight / 100:.0f} %" if weight else "-", style="" if weight else "dim")


def _reasons(picture: Picture) -> list[Text]:
    """Return why something is not as it should be: the verdicts, a refused edit, a silent control plane."""
    lines = [
        _line((f"  {r.region} {r.health}: ", _STYLE.get(r.health, "")), r.reason)
        for r in picture.regions
        if r.health != "healthy"
    ]
    lines += [_refusal(picture, problem) for problem in picture.refused[:_REFUSALS]]
    if picture.control_plane:
        lines.append(_line(("  control plane: ", "bold red"), picture.control_plane))
    return lines


def _refusal(picture: Picture, problem: str) -> Text:
    """Return why an edit was refused, on two lines if need be: the fix stands at its end."""
    return Text.assemble(("  policy edit refused: ", "bold red"), _short(picture, problem), overflow="fold")


def _short(picture: Picture, text: str) -> str:
    """Leave out the run's directory, which stands at the foot of the screen."""
    return text.replace(f"{picture.addresses.directory}/", "")


def _events(picture: Picture, room: int) -> list[Text]:
    recent = picture.events[-room:]
    lines = [_line((f"{e.clock} ", "dim"), (_short(picture, e.text), _STYLE.get(e.severity, ""))) for e in recent]
    return lines or [_line(("nothing happened yet", "dim"))]


def _hints(picture: Picture) -> list[Text]:
    at = picture.addresses
    ports = "  ".join(f"{_SHORT[view]} {url.rpartition(':')[2]}" for view, url in at.envoy_admin.items())
    return [
        _line(("keys           ", "dim"), ("1-4", "bold"), f" {picture.chosen} or restore that region   ", *_KEYS),
        _line(("  choose fault ", "dim"), _FAULT_KEYS),
        _line(("or elsewhere   ", "dim"), "xds-server demo-fault kill:us-east-1"),
        _line(("policy (edit!) ", "dim"), at.policy),
        _line(("web page       ", "dim"), f"{at.control_plane}/"),
        _line(("Envoy admin    ", "dim"), f"http://127.0.0.1:PORT   {ports}"),
        _line(("logs           ", "dim"), at.directory),
    ]


_KEYS = (("c", "bold"), " control plane   ", ("q", "bold"), " quit")
