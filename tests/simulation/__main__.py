"""`make simulation`: lives every named scenario, checked, and writes the pictures and the page in docs/simulation/."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.simulation.checks import live
from tests.simulation.faults import LONG, SCENARIOS
from tests.simulation.picture import Film, svg

DOCS = Path(__file__).parents[2] / "docs" / "simulation"

HEAD = """# Simulated lives

The real controller, four thousand simulated Envoys with the reflexes that real ones were measured to have, regions with
capacity and queues, and what can go wrong. Each life is checked at every tick against the rules in
`tests/simulation/checks.py`: weights sum, zero stays zero, nothing is planned above capacity that fits, nothing moves
without evidence, a dead region is left in time, a healthy one is never declared down, weights do not swing, and
afterwards everything is at rest at the optimum.

The pictures show what each region serves (stacked), the demand (dashed) and what clients lose (red); faults are marked
above. The service has 90,000 req/s of capacity for 50,000 req/s of demand. This page is written by `make simulation`.
What a simulation cannot show is what Envoy really does: that is measured with real Envoys (`make bench`, `make demo`).

| life | lost requests | changes of weights |
|---|---|---|
"""


def main() -> None:
    """Write all pictures and the page."""
    DOCS.mkdir(parents=True, exist_ok=True)
    rows, pictures = [], []
    for scenario in (*SCENARIOS, LONG):
        film = Film(scenario)
        for moment in live(scenario):
            film.add(moment)
        (DOCS / f"{scenario.name}.svg").write_text(svg(film))
        share = film.lost_total / film.demand_total
        lost = f"{film.lost_total:,.0f} of {film.demand_total:,.0f} ({share:.4%})"
        rows.append(f"| [{scenario.name}](#{scenario.name}) | {lost} | {film.changes} |")
        pictures.append(f"\n## {scenario.name}\n\n{scenario.about}\n\n![{scenario.name}]({scenario.name}.svg)\n")
        print(f"{scenario.name:20} {lost}", file=sys.stderr)
    (DOCS / "README.md").write_text(HEAD + "\n".join(rows) + "\n" + "".join(pictures))


if __name__ == "__main__":
    main()
