"""A row over its seeds: mean, spread, intervals, and whether it met its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from bias_table.row import KINDS, Row, Target
from evensight.metrics.intervals import clopper_pearson

CONFIDENCE = 0.95
# Of a machine that more runs share, these say nothing of a run.
SECONDS = ("images_per_second", "epoch_seconds", "training_seconds", "command_seconds")
MOST_AT_ONCE = 2
# Of one run, that a mean over seeds is taken of.
FIGURES = (
    *("accuracy", "conflicting", "worst_class", "passes", "reliance", "redraw", "alarms", "refused"),
    *SECONDS,
)
RATES = ("accuracy", "conflicting", "worst_class", "redraw")

Run = Mapping[str, Any]


def value(run: Run, figure: str) -> float | None:
    """Returns one figure of one run; None where it has none.

    Reliance and redraw are those on the run's `cue`, reliance by the operator that says most. Seconds are those of runs
    that had the machine to themselves, or shared it with one.
    """
    if figure in SECONDS and run.get("made_on", {}).get("at_once", 1) > MOST_AT_ONCE:
        return None
    if figure in ("accuracy", "conflicting", "worst_class"):
        found = run.get(figure)
        return None if found is None else float(found["estimate"])
    if figure == "reliance":
        return _largest(list(run.get("reliance", {}).get(run["cue"], {}).values()))
    if figure == "redraw":
        return _largest([one for cue, one in run.get("redraw", {}).items() if cue == run["cue"]])
    if figure == "passes":
        return float(run["test"]["verdict"] == "PASS") if "test" in run else None
    if figure == "alarms":
        return float(bool(run["audit"]["alarms"])) if "audit" in run else None
    if figure == "refused":
        return float(run["refused"]) if "refused" in run else None
    if figure == "command_seconds":
        return run.get("seconds", {}).get("train")
    key = {"training_seconds": "seconds"}.get(figure, figure)
    number = run.get("training", {}).get(key)
    return None if number is None else float(number)


def _largest(rates: Sequence[Mapping[str, Any]]) -> float | None:
    return max((float(one["estimate"]) for one in rates), default=None)


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Returns mean, standard deviation (n - 1) and Student's interval of the mean; neither of one value."""
    mean, n = float(np.mean(values)), len(values)
    found: dict[str, Any] = {"mean": mean, "n": n, "least": min(values), "most": max(values)}
    if n < 2:
        return {**found, "sd": None, "low": None, "high": None}
    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / n**0.5
    return {**found, "sd": sd, "low": mean - half, "high": mean + half}


def sampling(runs: Sequence[Run], figure: str) -> dict[str, Any] | None:
    """Returns the interval that the test images of one run leave about the mean (Clopper and Pearson)."""
    found = [run[figure].get(run["cue"]) if figure == "redraw" else run[figure] for run in runs if run.get(figure)]
    rates = [rate for rate in found if rate is not None]
    if not rates:
        return None
    n = min(rate["n"] for rate in rates)
    low, high = clopper_pearson(round(n * float(np.mean([rate["estimate"] for rate in rates]))), n, 0.025)
    return {"low": float(low), "high": float(high), "n": n}


def against(runs: Sequence[Run], baseline: Sequence[Run], figure: str) -> dict[str, Any] | None:
    """Returns gain and training time of a row over its baseline, over the seeds that both have.

    The gain is the difference of `figure` seed by seed; where they share one seed or none, of the means, without an
    interval.
    """
    own, other = by_seed(runs, figure), by_seed(baseline, figure)
    if not own or not other:
        return None
    shared = sorted(own.keys() & other.keys())
    if len(shared) > 1:
        gain = {**over_seeds([own[seed] - other[seed] for seed in shared]), "paired": True}
    else:
        mean = float(np.mean(list(own.values())) - np.mean(list(other.values())))
        gain = {"mean": mean, "n": len(shared), "sd": None, "low": None, "high": None, "paired": False}
    ours, theirs = by_seed(runs, "epoch_seconds"), by_seed(baseline, "epoch_seconds")
    ratio = float(np.median(list(ours.values())) / np.median(list(theirs.values()))) if ours and theirs else None
    return {"gain": gain, "epoch_ratio": ratio}


def by_seed(runs: Sequence[Run], figure: str) -> dict[int, float]:
    """Returns a figure of each run that has it, by seed."""
    found = {int(run["seed"]): value(run, figure) for run in runs}
    return {seed: number for seed, number in found.items() if number is not None}


def of_row(row: Row, runs: Sequence[Run], baseline: Sequence[Run]) -> dict[str, Any]:
    """Returns everything that is said of a row; figures that no run has are left out."""
    found: dict[str, Any] = {"figures": {}, "sampling": {}}
    for figure in FIGURES:
        values = list(by_seed(runs, figure).values())
        if values:
            found["figures"][figure] = over_seeds(values)
        if figure in RATES and (interval := sampling(runs, figure)) is not None:
            found["sampling"][figure] = interval
    found["against"] = against(runs, baseline, row.figure) if row.baseline else None
    found["targets"] = [judged(target, row, runs, found) for target in row.targets]
    found["published"] = published(row, found["figures"].get(row.figure))
    return found


def judged(target: Target, row: Row, runs: Sequence[Run], found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a target with what was reached: met, missed, or not measured.

    A mean that meets it while its interval does not is met, and `sure` is False.
    """
    if target.figure in ("gain", "epoch_ratio"):
        versus = found["against"] or {}
        reached = versus.get("epoch_ratio") if target.figure == "epoch_ratio" else versus.get("gain", {}).get("mean")
        spread = versus.get("gain", {}) if target.figure == "gain" else {}
        values = [] if reached is None else [reached]
    else:
        spread = found["figures"].get(target.figure, {})
        values = list(by_seed(runs, target.figure).values())
        reached = (min(values) if target.at_least else max(values)) if target.every and values else spread.get("mean")
    told = {"figure": target.figure, "bound": target.bound, "at_least": target.at_least, "every": target.every}
    if reached is None:
        return {**told, "reached": None, "met": None, "sure": None}
    end = spread.get("low" if target.at_least else "high")
    sure = None if target.every or end is None else _meets(end, target)
    return {**told, "reached": reached, "met": _meets(reached, target), "sure": sure, "seeds": len(values)}


def _meets(number: float, target: Target) -> bool:
    return bool(number >= target.bound if target.at_least else number <= target.bound)


def published(row: Row, reached: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the published figures, those of like information first and apart from the others.

    Returns:
        `like`: told the same kind of thing; `other`: told something else, each with what; `best`: of `like`; `margin`:
        points of the row above it.
    """
    listed = [
        {"method": one.method, "value": one.value, "told": one.told, "spread": one.spread} for one in row.published
    ]
    like = [one for one in listed if KINDS[str(one["told"])] == KINDS[row.told]]
    best = max(like, key=lambda one: float(str(one["value"])), default=None)
    margin = None
    if best is not None and reached is not None:
        margin = 100 * reached["mean"] - float(str(best["value"]))
    other = [one for one in listed if one not in like]
    return {"kind": KINDS[row.told], "like": like, "other": other, "best": best, "margin": margin}
