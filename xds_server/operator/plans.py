"""Answers to "what if this region were gone?" as JSON: of a running process, and of `plan` for a policy file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from xds_server.decision.what_if import Loss, Plan
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
