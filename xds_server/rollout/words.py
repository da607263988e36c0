"""Changes in words: what moved between two decisions, what an edit of the policy changed."""

from __future__ import annotations

from collections.abc import Iterator

from xds_server.model import TOTAL_WEIGHT, Event, ServiceDecision, Shed
from xds_server.policy.diff import changes
from xds_server.policy.types import Policy

MOST_CHANGES_TOLD = 8


def edited(before: Policy, after: Policy) -> str:
    """Return what an edit changed, in one line."""
    told = changes(before, after)
    more = f" and {len(told) - MOST_CHANGES_TOLD} more" if len(told) > MOST_CHANGES_TOLD else ""
    return "; ".join(told[:MOST_CHANGES_TOLD]) + more if told else "no change of meaning"


def moves(before: ServiceDecision | None, after: ServiceDecision, now: float) -> list[Event]:
    """Return one event if weights moved, in the words of the views concerned, and one if the service stops fitting."""
    events = []
    if before is not None and before.regions == after.regions and before.weights != after.weights:
        rows = zip(after.regions, before.weights, after.weights, strict=True)
        views = [f"{view}: {_shift(after.regions, old, new)}" for view, old, new in rows if old != new]
        fields = (("service", after.service), ("views", str(len(views))))
        events.append(Event("weights.changed", now, f"{after.service} from {'; from '.join(views)}", "info", fields))
    events += [*_refusals(before, after, now), *_profiles(before, after, now)]
    was, is_ = (of is not None and is_short(of) for of in (before, after))
    if is_ and (not was or (before is not None and set(after.stranded) - set(before.stranded))):
        short = f"{after.service}: {short_of(after)}"
        events.append(Event("capacity.short", now, short, "alarm", (("service", after.service),)))
    elif was and not is_:
        again = "demand fits again" if before is not None and before.overload > 1.0 else "every view is served again"
        fits = f"{after.service}: {again}"
        events.append(Event("capacity.fits", now, fits, "info", (("service", after.service),)))
    return events


def is_short(decision: ServiceDecision) -> bool:
    """Return whether there is less than what is wanted: of capacity, or of regions that a view can reach."""
    return decision.overload > 1.0 or bool(decision.stranded) or not any(decision.capacity_rps)


def short_of(decision: ServiceDecision) -> str:
    """Return by how much the capacity is too small, and who bears it."""
    if not any(decision.capacity_rps):
        return "no region serves"
    if decision.stranded:
        views = ", ".join(decision.stranded)
        cut_off = f"from {views}, every region that could serve seems to be out of reach: tried all the same"
        return cut_off if decision.overload <= 1.0 else f"{cut_off}; {_too_much(decision)}"
    return _too_much(decision)


def _too_much(decision: ServiceDecision) -> str:
    if decision.shed:
        return f"demand exceeds capacity, it is {decision.overload:.0%} of it"
    return f"demand exceeds capacity, regions at up to {decision.overload:.0%}"


def _refusals(before: ServiceDecision | None, after: ServiceDecision, now: float) -> list[Event]:
    """Return an event if more or less is refused than before."""
    was, shares = _refused(before), _refused(after)
    if was == shares:
        return []
    fields = (("service", after.service), ("views", str(len(shares))))
    if not shares:
        return [Event("load.unshed", now, f"{after.service}: nothing is refused any more", "info", fields)]
    reasons = {view: shed.reason for view, shed in zip(after.regions, after.shed, strict=True) if shed}
    told = "; ".join(f"from {view} {share}: {reasons[view]}" for view, share in shares.items())
    return [Event("load.shed", now, f"{after.service} refuses {told}", "info" if was else "alarm", fields)]


def _profiles(before: ServiceDecision | None, after: ServiceDecision, now: float) -> Iterator[Event]:
    """Yield an event for each region whose outlier detection has another profile: its clusters are edited."""
    if before is None or before.regions != after.regions or before.protection == after.protection:
        return
    for r, region in enumerate(after.regions):
        was, found = _profile(before, r), _profile(after, r)
        if was is not None and found is not None and was[:2] != found[:2]:
            what = f"outlier detection of {after.service} in {region}: {was[0]} → {found[0]}, at most {found[1]} %"
            fields = (("service", after.service), ("region", region), ("profile", found[0]))
            yield Event("protection.changed", now, f"{what} of the hosts: {found[2]}", "info", fields)


def _profile(decision: ServiceDecision, region: int) -> tuple[str, int, str] | None:
    """Return a region's profile, which is the same in every view: name, most percent of hosts, and why."""
    for row in decision.protection:
        if (found := row[region]) is not None:
            return found.outlier_profile, found.max_ejection_percent, dict(found.reasons).get("outlier_profile", "")
    return None


def _refused(decision: ServiceDecision | None) -> dict[str, str]:
    """Return what each view refuses, in words, without the reason."""
    if decision is None:
        return {}
    pairs = zip(decision.regions, decision.shed, strict=False)
    return {view: f"{shed.percent} %{_classes(shed)}" for view, shed in pairs if shed is not None}


def _classes(shed: Shed) -> str:
    by_class = ", ".join(f"{percent} % of {name or 'the rest'}" for name, percent in shed.classes)
    return f" ({by_class})" if by_class else ""


def _shift(regions: tuple[str, ...], old: tuple[int, ...], new: tuple[int, ...]) -> str:
    moved = zip(regions, old, new, strict=True)
    return ", ".join(f"{r} {_percent(a)}→{_percent(b)}" for r, a, b in moved if a != b)


def _percent(weight: int) -> str:
    return f"{100 * weight / TOTAL_WEIGHT:.4g} %"
