"""`evensight objective`: reads an objective back in plain words and says how much evidence it will take."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from evensight.objective.conflicting import usual_of_table
from evensight.objective.objective import Objective
from evensight.objective.plan import DRAWS, Chances, RequirementPlan, plan
from evensight.objective.simulate import MAJORITY, Looks, Strata, Truth
from evensight.objective.verdict import INSUFFICIENT, PASS, promise
from evensight.objective.words import bound_words, objective_words, sentence, stage_words

WIDTH = 100
STAGES = ("validation", "test")
SHORT = {"validation": "val.", "test": "test"}
SPREAD = 0.3
SplitCounts = Mapping[
    str, NDArray[Any]
]  # "overall": images of each class [K]; attribute: of each class and level [K, L]


def objective_command(
    objective: Objective,
    manifest_counts: Mapping[str, SplitCounts] | None = None,
    *,
    usual: Mapping[str, Sequence[int]] | None = None,
    truth: Truth | None = None,
    draws: int = DRAWS,
) -> str:
    """Returns what the command prints.

    Args:
        objective: Resolved where there are counts.
        manifest_counts: For each split its images: under "overall" of each class [K], under an attribute of each class
            and level [K, L], images of unknown level left out. None: words alone.
        usual: For each attribute the usual level of each class. None: found in the training counts.
        truth: Assumed of the model; by default `likely_truth`.
        draws: Simulated test sets of each split.
    """
    lines = [*objective_words(objective), "", "Requirements:"]
    lines += [f"- {sentence(each)}{stage_words(each)}" for each in objective.requirements]
    lines += [f"Note: {note}" for note in objective.notes()]
    lines += ["", promise(objective.alpha)]
    if manifest_counts is None:
        return _rendered([*lines, "How much evidence that takes can be said once the data is prepared."])
    found = dict(usual) if usual is not None else usual_in_training(manifest_counts.get("train", {}))
    present = [stage for stage in STAGES if stage in manifest_counts]
    assumed = truth or likely_truth(objective, manifest_counts[present[-1]])
    chances = {stage: chances_at(objective, stage, manifest_counts[stage], found, assumed, draws) for stage in present}
    return _rendered([*lines, "", _table(objective, chances), "", *_legend(assumed), "", *_verdicts(chances)])


def usual_in_training(counts: SplitCounts) -> dict[str, tuple[int, ...]]:
    """Returns the usual level of each class for every attribute that goes with the class beyond chance."""
    tables = {name: usual_of_table(np.asarray(table)) for name, table in counts.items() if name != "overall"}
    return {name: table for name, table in tables.items() if table is not None}


def likely_truth(objective: Objective, counts: SplitCounts) -> Truth:
    """Returns a model that is better than its bounds by two fifths of what is left above them.

    So .95 is met by .97, and reliance of at most .05 by a pull of .03 against a placebo of .01. The highest bound on a
    level counts, an advantage as the share of the largest class plus its bound.
    """
    n = np.asarray(counts["overall"])
    majority = float(n.max(initial=0) / max(n.sum(), 1))
    levels, reliance = [majority], []
    for requirement in objective.requirements:
        if requirement.bound is None or "data" in requirement.measure.needs:
            continue
        bound = float(requirement.bound)
        if requirement.metric == "advantage":
            levels.append(min(bound + majority, 0.99))
        elif requirement.metric == "reliance":
            reliance.append(bound)
        elif requirement.direction == "at_least":
            levels.append(bound)
    pull = min(reliance, default=0.05)
    return Truth(accuracy=0.6 * max(levels) + 0.4, spread=SPREAD, pull=0.6 * pull, placebo=0.2 * pull)


def chances_at(
    objective: Objective,
    stage: str,
    counts: SplitCounts,
    usual: Mapping[str, Sequence[int]],
    truth: Truth,
    draws: int = DRAWS,
) -> Chances:
    """Simulates a stage on a split of these sizes; a bound on the size of the artifact is taken as met."""
    judged = objective.judged_at(stage)
    named = {each.attribute for each in judged} | {rival for each in judged for rival in each.over if rival != MAJORITY}
    strata = strata_of_counts(counts, [name for name in objective.attributes if name in named])
    sizes = [float(each.bound) for each in judged if each.metric == "artifact_size" and each.bound is not None]
    looks = Looks(usual=usual, environment={"artifact_bytes": min(sizes, default=0.0)})
    return plan(objective, stage, strata, truth, looks, draws)


def strata_of_counts(counts: SplitCounts, attributes: Sequence[str]) -> Strata:
    """Returns the strata of a split by these attributes, images of unknown level with level -1.

    Exact for one attribute. Tables of two do not say how often their levels meet: within a class they are taken to be
    independent.
    """
    overall = np.asarray(counts["overall"], dtype=np.int64)
    tables = {name: np.asarray(counts[name], dtype=np.int64) for name in attributes}
    # [K, 1 + L]: the first column holds the images of unknown level.
    full = [np.column_stack([overall - table.sum(1), table]) for table in tables.values()]
    classes, levels, sizes = [], [], []
    places = list(itertools.product(*(range(-1, table.shape[1]) for table in tables.values())))
    for k, images in enumerate(overall):
        share = np.ones(1)
        for table in full:
            share = np.outer(share, table[k] / max(images, 1)).ravel()
        classes += [k] * len(places)
        levels += places
        sizes.append(_whole(share * images, int(images)))
    columns = np.array(levels, dtype=np.int64).reshape(len(classes), len(tables))
    return Strata(
        classes=np.array(classes, dtype=np.int64),
        levels={name: columns[:, at] for at, name in enumerate(tables)},
        n=np.concatenate(sizes),
        num_classes=len(overall),
        num_levels={name: table.shape[1] for name, table in tables.items()},
    )


def _whole(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Rounds so that the sum stays: the largest remainders are rounded up."""
    # Whole numbers that a product of shares missed by the last bit must not lose one.
    rounded = np.floor(shares + 1e-9).astype(np.int64)
    rounded[np.argsort(rounded - shares, kind="stable")[: total - int(rounded.sum())]] += 1
    return rounded


def _table(objective: Objective, chances: Mapping[str, Chances]) -> Table:
    """A row a requirement: images at hand, the least that can pass, and chances, of each split."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("requirement", overflow="fold")
    table.add_column("bound")
    splits = [f"{name}\n{SHORT[stage]}" for stage in chances for name in ("n", "PASS")]
    for heading in ("least\nn", *splits, "FAIL\nbeyond"):
        table.add_column(heading, justify="right")
    rows = {stage: dict(zip(objective.judged_at(stage), found.rows, strict=True)) for stage, found in chances.items()}
    for requirement in objective.requirements:
        planned = [rows[stage].get(requirement) for stage in chances]
        counted = "environment" not in requirement.measure.needs
        bound = "shown" if requirement.bound is None else bound_words(requirement)
        table.add_row(requirement.label, bound, *_cells(planned, counted))
    return table


def _cells(planned: Sequence[RequirementPlan | None], counted: bool) -> Iterable[str]:
    known = [row for row in planned if row is not None]
    least = next((row.least_n for row in known if row.least_n is not None), None)
    yield "-" if least is None else str(least)
    for row in planned:
        yield str(row.n) if row is not None and counted and not row.reason else "-"
        yield "-" if row is None or row.passes is None else "none" if row.reason else _chance(row.passes)
    beyond = known[-1].fails_beyond if known else None
    yield "-" if beyond is None else _chance(beyond)


def _legend(truth: Truth) -> Iterable[str]:
    """Explains the columns and the model that was assumed."""
    accuracy = float(np.mean(truth.accuracy))
    pull = max(truth.pull.values()) if isinstance(truth.pull, Mapping) else truth.pull
    yield (
        "n: images of the smallest class, group or cell of the requirement. least n: what that one must have to pass "
        "at all. PASS: the chance at the assumed model; none: cannot be measured. FAIL beyond: the chance that a model "
        "as far beyond the bound as the assumed one is within it is caught."
    )
    yield (
        f"Assumed model: accuracy {accuracy:.3f}, uneven over classes and groups (standard deviation {truth.spread:g} "
        f"in logits, half of that over cells); another image's cue pulls {pull:.3f} of the decisions, a placebo "
        f"{truth.placebo:.3f}."
    )


def _verdicts(chances: Mapping[str, Chances]) -> Iterable[str]:
    for stage, found in chances.items():
        parts = ", ".join(f"{status} {_chance(share)}" for status, share in found.verdicts.items() if share > 0)
        yield f"The whole objective on {stage}: {parts} ({found.draws:,} simulated test sets)."
        for row in found.rows:
            if row.reason:
                yield f"  {row.label}: {row.reason}."
        if found.verdicts[INSUFFICIENT] > found.verdicts[PASS]:
            yield f"  More images in {stage}, or lower bounds, would be needed to decide: see the lowest PASS above."


def _chance(share: float) -> str:
    """Three digits; a share of simulated sets is never certain."""
    return "> .999" if share > 0.9995 else "< .001" if share < 0.0005 else f"{share:.3f}"


def _rendered(parts: Iterable[str | Table]) -> str:
    console = Console(file=io.StringIO(), width=WIDTH, no_color=True, highlight=False, markup=False, emoji=False)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
