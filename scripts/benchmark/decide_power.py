"""How many images a cell `evensight update` plans for a decision, and what 200 simulated decisions at it come to.

    python scripts/benchmark/decide_power.py      # 15 s on one core, writes benchmarks/decide_power.json

Two worlds, drawn by other seeds than the plan's: a challenger that is a point better everywhere but in one cell, where
it loses five (to be refused, .95), and one that gains five points in the champion's weakest cell (to be promoted, .80).
`differ` is the share of a cell's images on which two equally good models differ. At 64 cells the rows of `objective:
shapes` judge its requirements on accuracy as well. A third figure is what a third of the planned images comes to.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from evensight.compose import compose
from evensight.environment import environment
from evensight.files import write_json
from evensight.metrics.intervals import clopper_pearson
from evensight.objective.objective import Objective
from evensight.update.deciding import HARM, RESULTS
from evensight.update.power import Grid, World, harmful, helpful, planned, simulated

CELLS, DIFFER, DECISIONS, ALPHA = (8, 16, 64), (0.0, 0.02, 0.04), 200, 0.05
WANTED = {"worse in a cell": ("REFUSE", 0.95), "better in the weakest cell": ("PROMOTE", 0.80)}


def row(cells: int, differ: float, grid: Grid | None, seed: int) -> dict[str, Any]:
    """Plans, and simulates decisions at the planned number and at a third of it."""
    start = time.process_time()
    size = planned(cells, HARM, differ, ALPHA).n
    assert size is not None
    seconds = time.process_time() - start
    worlds = dict(zip(WANTED, (harmful(cells, HARM, differ), helpful(cells, HARM, differ)), strict=True))
    found = {
        name: {
            "at_the_planned_number": outcome(world, size, grid, seed + at),
            "at_a_third_of_it": outcome(world, size // 3, grid, seed + at + 10),
        }
        for at, (name, world) in enumerate(worlds.items())
    }
    return {
        "cells": cells,
        "differ": differ,
        "objective": None if grid is None else grid.objective.name,
        "images_a_cell": size,
        "plan_seconds": round(seconds, 1),
        **found,
    }


def outcome(world: World, size: int, grid: Grid | None, seed: int) -> dict[str, Any]:
    """Counts the results of `DECISIONS` simulated decisions, with two-sided 95 % intervals of their shares."""
    codes = simulated(world, size, DECISIONS, ALPHA, HARM, np.random.default_rng(1000 + seed), grid)
    counts = {name: int((codes == at).sum()) for at, name in enumerate(RESULTS)}
    intervals = {
        name: [round(float(end), 4) for end in clopper_pearson(count, DECISIONS, 0.025)]
        for name, count in counts.items()
    }
    return {"images_a_cell": size, "decisions": DECISIONS, "counts": counts, "intervals": intervals}


def shapes() -> Grid:
    """The cells of shape and colour, with the requirements that the objective has of them."""
    config = compose(["experiment=shapes"])
    stated = Objective.from_config(dataclasses.asdict(config.objective))
    return Grid(stated, "colour", usual=tuple(range(8)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/decide_power.json"))
    out = parser.parse_args().out
    grid, rows = shapes(), []
    jobs = [(cells, differ, None) for cells in CELLS for differ in DIFFER] + [(64, differ, grid) for differ in DIFFER]
    for number, (cells, differ, own) in enumerate(jobs):
        rows.append(row(cells, differ, own, 100 * number))
        told = [f"{name}: {rows[-1][name]['at_the_planned_number']['counts']}" for name in WANTED]
        print(
            f"{cells} cells, differ {differ}: {rows[-1]['images_a_cell']} images a cell; {'; '.join(told)}", flush=True
        )
    kept = all(
        one[name]["at_the_planned_number"]["counts"][result] >= share * DECISIONS
        for one in rows
        for name, (result, share) in WANTED.items()
    )
    value = {"schema_version": 1, "harm": HARM, "alpha": ALPHA, "wanted": WANTED, "kept": kept, "rows": rows}
    made_on = {key: value for key, value in environment().items() if key not in ("host", "command")}
    write_json(out, {"environment": made_on, **value})
    print(f"{out}: {'kept' if kept else 'NOT KEPT'}")


if __name__ == "__main__":
    main()
