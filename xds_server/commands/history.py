"""`xds-server history` and `xds-server events`: what happened and what was decided."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from xds_server.commands.options import admin_option
from xds_server.commands.process import ask
from xds_server.commands.terminal import show, show_json, style
from xds_server.screens.history_lines import difference_lines, entry_line, entry_lines
from xds_server.screens.printable import dumped

EVERY_S = 1.0
PAGE = 1_000

Json = dict[str, Any]


@click.command(short_help="Show what happened and was decided, and what changed between two times.")
@admin_option
@click.option("--from", "since", metavar="TIME", help="From then on: 2026-01-31T12:00:00Z, or back from now: -15m.")
@click.option("--to", "until", metavar="TIME", help="Until then.  [default: now]")
@click.option("--region", help="Only what concerns this region.")
@click.option("--service", help="Only what concerns this service.")
@click.option("--kind", help="Only this kind, `region.down`, or its first part, `region`; decisions are `decision`.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="At most so many.")
@click.option("--diff", "pair", nargs=2, metavar="TIME TIME", help="What is decided otherwise then than before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as /api/v1/history has it.")
def history(
    *,
    admin: str,
    since: str | None,
    until: str | None,
    region: str | None,
    service: str | None,
    kind: str | None,
    limit: int,
    pair: tuple[str, str] | None,
    as_json: bool,
) -> None:
    """Show events and decisions that were kept, the newest last; or with --diff what changed between two times.

    Exits 0; 1 if the process cannot be asked or does not understand a time.
    """
    if pair is not None:
        _difference(admin, pair, as_json=as_json)
        return
    words = {"from": since, "to": until, "region": region, "service": service, "kind": kind}
    query = {name: word for name, word in words.items() if word}
    found = list(reversed(_entries(admin, query, limit)))
    if as_json:
        show_json({"entries": found})
    else:
        show(entry_lines(found, style()) if found else ["nothing that fits is kept"])


def _entries(admin: str, query: dict[str, str], limit: int) -> list[Json]:
    """Return entries, the newest first, page by page."""
    entries: list[Json] = []
    before: int | None = None
    while len(entries) < limit:
        size = min(PAGE, limit - len(entries))
        page = ask(admin, "/api/v1/history", query | {"limit": size} | ({"before": before} if before else {}))
        entries += page["entries"]
        before = page["next"]
        if before is None:
            break
    return entries


def _difference(admin: str, pair: tuple[str, str], *, as_json: bool) -> None:
    found = ask(admin, "/api/v1/history/diff", {"from": pair[0], "to": pair[1]})
    if as_json:
        show_json(found)
    else:
        show(difference_lines(found, style()))


@click.command(short_help="Show the newest events, and follow them.")
@admin_option
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--limit", type=click.IntRange(0, 2_000), default=50, show_default=True, help="Begin with so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, as /api/v1/events has them.")
def events(*, admin: str, follow: bool, limit: int, as_json: bool) -> None:
    """Show the newest events, the newest last; with --follow also what happens from then on.

    A process that goes away is waited for, and one that starts anew is followed from its first event. Exits 0, also
    after Ctrl-C; 1 if the process cannot be asked at first.
    """
    colours = style()
    page = ask(admin, "/api/v1/events", {"limit": limit})
    try:
        for event in _following(admin, page) if follow else page["events"]:
            line = dumped(event) if as_json else entry_line(event, colours)
            click.echo(line, color=True)
    except KeyboardInterrupt:
        return


def _following(admin: str, page: Json) -> Iterator[Json]:
    """Yield events for ever, those of a first page before."""
    away = False
    while True:
        yield from page["events"]
        started, after = page["started"], page["events"][-1]["seq"] if page["events"] else page["last"]
        time.sleep(EVERY_S)
        try:
            page = ask(admin, "/api/v1/events", {"after": after})
            if page["started"] != started:  # numbers start anew with every process
                page = ask(admin, "/api/v1/events", {"after": 0})
            away = False
        except click.ClickException as error:
            if not away:
                click.echo(f"cut off, trying again: {error.message}", err=True)
            away, page = True, {"events": [], "started": started, "last": after}
