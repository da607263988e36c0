"""Answers to "what if this region were gone?" as tables. Pure: the JSON of `/api/v1/plan` in, text out.

They are the same whether the answer was worked out from a policy file or comes from a running process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xds_server.screens.printable import plain
from xds_server.screens.text import aligned

Json = dict[str, Any]


def one_table(answer: Json) -> str:
    """Return who takes what, a table for every loss."""
    return "\n\n".join("\n".join(map(plain, _one(loss, answer["demand"]))) for loss in answer["losses"])


def _one(loss: Json, demand: float) -> Iterator[str]:
    gone, reflex, best = loss["without"], loss["reflex"], loss["n_minus_1"]
    factor = "" if demand == 1 else f", demand × {demand:g}"
    yield f"{loss['service']} without {gone}{factor}: {loss['before_rps'][gone]:,.0f} req/s must move"
    rows = [("region", "capacity", "now", "reflex", "", "N-1", "")]
    for region, capacity in loss["capacity_rps"].items():
        loads = (reflex["load_rps"][region], best["load_rps"][region])
        if region == gone or capacity or any(loads) or loss["before_rps"][region]:
            cells = [cell for load in loads for cell in (f"{load:,.0f}", _percent(load, capacity))]
            shown = "gone" if region == gone else f"{capacity:,.0f}"
            rows.append((region, shown, f"{loss['before_rps'][region]:,.0f}", *cells))
    yield from (f"  {line}" for line in aligned(rows))
    yield f"  reflex, in milliseconds:  {_verdict(reflex)}"
    yield f"  N-1, when it is confirmed: {_verdict(best)}"
    yield from (f"  {line}" for line in _refused(loss))


def _refused(loss: Json) -> Iterator[str]:
    """Yield what is refused then, so that regions hold: how much, and of which classes in which view."""
    if not loss["shed"]:
        return
    total = sum(loss["before_rps"].values())
    yield f"refused then, so that regions hold: {_share(loss['shed_rps'], total)} of all requests"
    for view, shed in loss["shed"].items():
        yield f"  from {view} {shed_words(shed)}"


def _share(part: float, total: float) -> str:
    return f"{part:,.0f} req/s, {part / total if total else 0:.0%}"


def shed_words(shed: Json) -> str:
    """Return how much a view refuses, and of which classes."""
    classes = [f"{part['percent']}% of {part['name'] or 'the rest'}" for part in shed["classes"]]
    return f"{shed['percent']}%" + (f": {', '.join(classes)}" if classes else "")


def _percent(load: float, capacity: float) -> str:
    return f"{load / capacity:.0%}" if capacity else ""


def _verdict(plan: Json) -> str:
    return f"{_fit(plan)}; {plan['added_latency_ms']:+.1f} ms a request on average"


def _fit(plan: Json) -> str:
    if plan["unserved_rps"] and not plan["fits"]:
        return f"DOES NOT FIT, nobody serves {plan['unserved_rps']:,.0f} req/s"
    if not plan["fits"]:
        return f"DOES NOT FIT, {plan['excess_rps']:,.0f} req/s too many"
    return f"fits, hottest region at {plan['utilisation']:.0%}"


def _refusal(loss: Json) -> str:
    return f", {loss['shed_rps']:,.0f} req/s refused" if loss["shed"] else ""


def all_table(answer: Json) -> str:
    """Return one row for every region and service: whether its loss fits."""
    rows = [("without", "service", "moves", "reflex", "N-1", "added", "headroom", "")]
    for loss in answer["losses"]:
        gone, reflex, best = loss["without"], loss["reflex"], loss["n_minus_1"]
        rows.append(
            (
                gone,
                loss["service"],
                f"{loss['before_rps'][gone]:,.0f} req/s",
                f"{reflex['utilisation']:.0%}",
                f"{best['utilisation']:.0%}",
                f"{best['added_latency_ms']:+.1f} ms",
                f"{loss['headroom']:.0%}",
                "fits" if loss["fits"] else f"reflex: {_fit(reflex)}; N-1: {_fit(best)}{_refusal(loss)}",
            )
        )
    return "\n".join(map(plain, aligned(rows)))
