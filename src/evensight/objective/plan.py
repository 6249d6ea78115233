"""The evidence plan: how many images decide an objective, and the chance that a model of a stated truth passes.

`cells_n` and its like answer for one requirement; `plan` simulates whole test sets through the code that decides,
because requirements share images and a model that is even in every cell promises too much: at .97 and 6,016 images an
even truth passes shapes .997 of the time, an uneven one .645.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evensight.metrics import planning
from evensight.metrics.planning import cells_n, least_n
from evensight.objective.comparisons import Comparisons, NotMeasured
from evensight.objective.evidence import comparisons
from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement
from evensight.objective.simulate import Looks, Strata, Truth, simulate
from evensight.objective.verdict import STATUSES, decide_draws

__all__ = ["Chances", "RequirementPlan", "cells_n", "gap_n", "least_n", "paired_n", "plan", "smallest_n"]

DRAWS = 4_000
# Numbers that a batch of draws may hold: 64 MB of int64.
_BATCH = 8_000_000
# Random numbers a whole plan may take; a thousand classes get fewer draws, and the plan says how many.
_EFFORT = 400_000_000

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RequirementPlan:
    """What the plan says of one requirement.

    `n` is the images of its smallest comparison, `least_n` what such a one must have to pass at all (None: no number
    would do, or images do not matter), `passes` and `fails` the chances at the assumed truth (None where it is only
    shown), `fails_beyond` the chance of FAIL for a model as far on the bad side of the bound as the assumed one is on
    the good side, in its smallest comparison (None where the assumed one is not on the good side).
    """

    label: str
    bound: float | None
    n: int
    least_n: int | None
    passes: float | None
    fails: float | None
    fails_beyond: float | None
    reason: str = ""


@dataclass(frozen=True)
class Chances:
    """The plan of a stage: a row a requirement it judges, and the chance of each verdict on the objective."""

    rows: list[RequirementPlan]
    verdicts: dict[str, float]
    draws: int


def plan(
    objective: Objective, stage: str, strata: Strata, truth: Truth, looks: Looks, draws: int = DRAWS, seed: int = 0
) -> Chances:
    """Simulates test sets at an assumed truth through the code that decides.

    Args:
        objective: Resolved.
        stage: Whose requirements are judged.
        strata: Sizes of the split; attributes that no requirement of the stage names are left out.
        truth: Assumed of the model.
        looks: Usual levels, and figures known exactly; rivals, and cues without operators, are read from the objective.
        draws: Test sets.
        seed: Of the simulation.
    """
    judged = objective.judged_at(stage)
    alone = strata.only({requirement.attribute for requirement in judged if requirement.attribute} | _rivals(judged))
    looks = _complete(looks, judged)
    draws = int(min(draws, max(200, _EFFORT // (alone.n.size * alone.num_classes))))
    rng = np.random.default_rng(seed)
    codes, overall, first = [], [], None
    for size in _batches(alone, draws):
        evidence = simulate(alone, truth, looks, size, rng)
        rows = [comparisons(requirement, objective, evidence) for requirement in judged]
        of_rows, of_objective = decide_draws(rows, objective.alpha)
        codes.append(np.broadcast_to(of_rows, (len(rows), size)))
        overall.append(np.broadcast_to(of_objective, size))
        first = first or rows
    found, verdicts = np.concatenate(codes, axis=1), np.concatenate(overall)
    num_judged = sum(row.judged for row in first or [])
    return Chances(
        rows=[
            _requirement(requirement, row, of_row, num_judged, objective.alpha, draws, seed)
            for requirement, row, of_row in zip(judged, first or [], found, strict=True)
        ],
        verdicts={status: float((verdicts == code).mean()) for code, status in enumerate(STATUSES)},
        draws=draws,
    )


def smallest_n(row: Comparisons, alpha: float) -> int | None:
    """Returns the least n of a comparison at which it can pass at all; None where none does, or for a value."""
    if row.bound is None or row.kind == "value":
        return None
    if row.kind == "gap":
        return planning.least_n_gap(row.bound, alpha)
    if row.kind == "paired":
        return planning.least_n_paired(row.bound, alpha, at_least=row.direction == "at_least")
    return planning.least_n(row.bound if row.direction == "at_least" else 1 - row.bound, alpha)


def gap_n(
    bound: float, likely: float, groups: int, power: float = 0.8, alpha: float = 0.05, draws: int = 2_000
) -> int | None:
    """Returns how many images each group needs so that "a gap of at most `bound`" passes with chance `power`.

    By simulation through the code that decides, all groups at the rate `likely`, to 2 %.
    """

    def chance(n: int) -> float:
        x = np.random.default_rng(0).binomial(n, likely, size=(draws, groups))
        row = Comparisons("gap", tuple(map(str, range(groups))), x, np.full(groups, n), bound, "at_most")
        return _share(row, alpha, "PASS")

    return planning.least_size(chance, planning.least_n_gap(bound, alpha) or 1, power)


def paired_n(
    bound: float, pull: float, placebo: float, power: float = 0.8, alpha: float = 0.05, draws: int = 20_000
) -> int | None:
    """Returns how many images "reliance of at most `bound`" needs to pass with chance `power`.

    By simulation through the code that decides, to 2 %; transplant and placebo move an image independently.
    """
    shares = [pull * (1 - placebo), placebo * (1 - pull)]

    def chance(n: int) -> float:
        drawn = np.random.default_rng(0).multinomial(n, [*shares, 1 - sum(shares)], size=draws)
        row = Comparisons("paired", ("cue",), drawn[:, :1], np.array([n]), bound, "at_most", y=drawn[:, 1:2])
        return _share(row, alpha, "PASS")

    return planning.least_size(chance, planning.least_n_paired(bound, alpha) or 1, power)


def fails_beyond(row: Comparisons, num_judged: int, alpha: float, draws: int = DRAWS, seed: int = 0) -> float | None:
    """Returns the chance of FAIL one margin beyond the bound.

    The smallest comparison is put as far on the bad side of the bound as the simulated ones are on the good side
    (of a gap, one group is put twice the bound below the others); the rest stays where it is.

    Args:
        row: Simulated comparisons, with draws.
        num_judged: R, the requirements FAIL is corrected for.
        alpha: 1 - confidence.
        draws: Simulated test sets.
        seed: Of the simulation.
    """
    if row.bound is None or row.kind == "value":
        return None
    rng = np.random.default_rng(seed)
    x, n = (np.reshape(each, (-1, len(row.names))) for each in np.broadcast_arrays(row.x, row.n))
    n = np.rint(n.mean(axis=0)).astype(np.int64)
    at = int(n.argmin())
    if n[at] == 0:
        return None
    first = np.minimum(x.mean(axis=0) / n, 1.0)
    second = np.zeros(n.size) if row.y is None else np.mean(np.reshape(row.y, (-1, n.size)), axis=0) / n
    likely = first[at] - second[at]
    sign = 1 if row.direction == "at_least" else -1
    if row.kind != "gap" and sign * (likely - row.bound) <= 0:
        return None
    beyond = likely - 2 * row.bound if row.kind == "gap" else 2 * row.bound - likely
    second[at] = max(second[at], -beyond)
    first[at] = np.clip(second[at] + beyond, 0.0, 1.0 - second[at])
    drawn = rng.multinomial(n, np.stack([first, second, 1 - first - second], axis=-1), size=(draws, n.size))
    moved = replace(row, x=drawn[..., 0], n=n, y=None if row.y is None else drawn[..., 1])
    return _share(moved, alpha, "FAIL", num_others=num_judged - 1)


def _share(row: Comparisons, alpha: float, status: str, num_others: int = 0) -> float:
    """Returns how often one requirement among others, which say nothing, has a verdict."""
    others = [NotMeasured("not simulated", 0.0)] * num_others
    codes, _ = decide_draws([row, *others], alpha)
    return float((codes[0] == STATUSES.index(status)).mean())


def _requirement(
    requirement: Requirement,
    row: Comparisons | NotMeasured,
    codes: NDArray[np.int8],
    num_judged: int,
    alpha: float,
    draws: int,
    seed: int,
) -> RequirementPlan:
    shares = {status: float((codes == code).mean()) for code, status in enumerate(STATUSES)}
    if isinstance(row, NotMeasured):
        none = RequirementPlan(requirement.label, row.bound, 0, None, None, None, None)
        return replace(none, reason=row.reason, passes=None if row.bound is None else 0.0)
    return RequirementPlan(
        label=requirement.label,
        bound=row.bound,
        n=int(np.min(row.n)),
        least_n=smallest_n(row, alpha),
        passes=shares["PASS"] if row.judged else None,
        fails=shares["FAIL"] if row.judged else None,
        fails_beyond=fails_beyond(row, num_judged, alpha, draws, seed) if row.judged else None,
    )


def _rivals(judged: Sequence[Requirement]) -> set[str]:
    return {rival for requirement in judged for rival in requirement.over}


def _complete(looks: Looks, judged: Sequence[Requirement]) -> Looks:
    """Adds what the requirements ask for: all rivals, and one operator of each cue that none was named of."""
    cues = [requirement.cue for requirement in judged if requirement.cue]
    operators = {cue: looks.operators.get(cue, ("transplant",)) for cue in cues}
    return replace(looks, operators=operators, rivals=sorted(_rivals(judged) | set(looks.rivals)))


def _batches(strata: Strata, draws: int) -> Iterator[int]:
    """Parts the draws so that no array of a batch passes 64 MB."""
    num_classes = strata.num_classes
    each = max(strata.n.size * num_classes, *(size * num_classes**2 for size in (1, *strata.num_levels.values())))
    size = max(1, min(draws, _BATCH // each))
    for start in range(0, draws, size):
        yield min(size, draws - start)
