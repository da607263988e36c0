"""The arithmetic and the shapes of results."""

from __future__ import annotations

import json

from bench.figures import Figure, Result, as_json, table

SLOW = Figure("a slow thing", "ms", (40.0, 80.0, 60.0), 50.0, "on a bad day")
FAST = Figure("a fast thing", "µs", (1234.5,))
RESULTS = [Result("things", 12.34, (0.5, 1.5), (SLOW, FAST))]


def test_a_figure_is_the_median_of_its_runs_and_is_held_to_its_reach() -> None:
    assert SLOW.median == 60.0
    assert SLOW.met is False
    assert Figure("x", "ms", (40.0, 50.0, 60.0), 50.0).met is True
    assert FAST.met is None


def test_the_table_lists_benchmarks_with_their_figures_and_notes() -> None:
    assert table(RESULTS).splitlines() == [
        "what            median    min    max  unit  reach  met",
        "--------------  ------  -----  -----  ----  -----  ---",
        "things  (load average 0.5 → 1.5)",
        "  a slow thing      60     40     80  ms     ≤ 50  NO",
        "    on a bad day",
        "  a fast thing   1,234  1,234  1,234  µs",
    ]


def test_the_json_has_every_run_and_survives() -> None:
    found = json.loads(json.dumps(as_json(RESULTS, {"cores": 2}, "python -m bench", quick=True)))
    assert found["machine"] == {"cores": 2}
    assert found["quick"] is True
    (benchmark,) = found["benchmarks"]
    assert benchmark["load_average"] == {"before": 0.5, "after": 1.5}
    slow = benchmark["figures"][0]
    assert (slow["median"], slow["min"], slow["max"], slow["values"]) == (60.0, 40.0, 80.0, [40.0, 80.0, 60.0])
    assert (slow["reach"], slow["met"]) == (50.0, False)
