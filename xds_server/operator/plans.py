"""Answers to "what if this region were gone?": as JSON, and that JSON as tables for people.

The command line prints the same tables whether it worked the answer out from a policy file or asked a running process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from xds_server.decision.what_if import Loss, Plan
from xds_server.operator.printable import plain
from xds_server.operator.views import shed_json

Json = dict[str, Any]


def plans_json(losses: Iterable[Loss], demand: float, digest: str) -> Json:
    """Return losses as JSON. `demand` is the factor they were worked out with, `digest` names the policy."""
    return {"policy": digest, "demand": demand, "losses": [_loss_json(loss) for loss in losses]}


def _loss_json(loss: Loss) -> Json:
    return {
        "service": loss.service,
        "without": loss.without,
        "fits": loss.fits,
        "headroom": round(loss.headroom, 4),
        "capacity_rps": _by_region(loss.regions, loss.capacity_rps),
        "before_rps": _by_region(loss.regions, loss.before_rps),
        "reflex": _plan_json(loss.regions, loss.reflex),
        "n_minus_1": _plan_json(loss.regions, loss.n_minus_1),
        "shed_rps": round(loss.shed_rps, 3),
        "shed": {view: shed_json(shed) for view, shed in zip(loss.regions, loss.shed, strict=False) if shed},
    }


def _plan_json(regions: Sequence[str], plan: Plan) -> Json:
    return {
        "fits": plan.fits,
        "load_rps": _by_region(regions, plan.load_rps),
        "utilisation": round(plan.utilisation, 4),
        "excess_rps": round(plan.excess_rps, 3),
        "unserved_rps": round(plan.unserved_rps, 3),
        "added_latency_ms": round(plan.added_ms, 3),
    }


def _by_region(regions: Sequence[str], rates: Sequence[float]) -> dict[str, float]:
    return {region: round(rps, 3) for region, rps in zip(regions, rates, strict=True)}


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


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with their columns under each other, those after the second to the right, the last one as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if i < 2 or i == len(row) - 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
