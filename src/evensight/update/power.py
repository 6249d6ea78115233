"""How many images a decision takes: the rule itself, on simulated decisions.

Two worlds are simulated at a number of images a cell. In the first the challenger is a point better everywhere but in
one cell, where it loses `harm`: it must be refused. In the second it gains `harm` in the champion's weakest cell and
nothing elsewhere: it must be promoted. In both, the two models differ on a share of the images of every cell without
being better or worse, as two trainings of one network do; the more they differ, the more images it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evensight.metrics import planning
from evensight.objective.comparisons import Comparisons
from evensight.objective.evidence import Counts, Evidence, comparisons
from evensight.objective.objective import Objective
from evensight.objective.verdict import decide_draws
from evensight.update.cells import bounds_cells
from evensight.update.deciding import HARM, PROMOTE, REFUSE, RESULTS, Pairs, rule

# What is planned for: more than the .95 refused that is promised, so that 200 decisions show .95 (all but 3 in 1,000).
REFUSED, PROMOTED = 0.98, 0.80
DISCORDANT = 0.02  # share of a cell's images on which two equally good models differ, where nobody knows better
GAIN = 0.01  # elsewhere, of the challenger that loses in one cell
_DRAWS = 2_000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """The truth of a simulated decision, by cell `[G]`.

    Attributes:
        accuracy: Of the champion.
        gain: Of the challenger over it.
        discordant: Share of images on which exactly one is right where neither is better.
    """

    accuracy: Floats
    gain: Floats
    discordant: float


@dataclass(frozen=True)
class Grid:
    """The cells as the classes and the levels of an attribute, for the objective's own requirements.

    Attributes:
        objective: Resolved.
        attribute: Whose levels they are.
        usual: Of it, by class `[K]`; none where no class has one.
    """

    objective: Objective
    attribute: str
    usual: Sequence[int] = ()


@dataclass(frozen=True)
class Planned:
    """A number of images a cell, and what simulated decisions at it come to.

    Attributes:
        n: Images of each cell; None where a million would not do.
        cells: How many there are.
        harm: Accuracy that no cell may lose.
        discordant: Assumed.
    """

    n: int | None
    cells: int
    harm: float
    discordant: float


def harmful(cells: int, harm: float, discordant: float, accuracy: float = 0.97) -> World:
    """The world in which the challenger is better but in one cell, where it loses `harm`."""
    gain = np.full(cells, GAIN)
    gain[0] = -harm
    return World(np.full(cells, accuracy), gain, discordant)


def helpful(cells: int, harm: float, discordant: float, accuracy: float = 0.97) -> World:
    """The world in which the challenger gains `harm` in the weakest cell."""
    gain, rates = np.zeros(cells), np.full(cells, accuracy)
    gain[0], rates[0] = harm, accuracy - harm
    return World(rates, gain, discordant)


def simulated(
    world: World, n: int, draws: int, alpha: float, harm: float, rng: np.random.Generator, grid: Grid | None = None
) -> NDArray[np.int8]:
    """Draws decisions of a world at `n` images a cell.

    Args:
        world: The truth.
        n: Images of each cell.
        draws: D.
        alpha: 1 - confidence.
        harm: Accuracy that no cell may lose.
        rng: Where chance comes from.
        grid: Whose requirements are judged too; None: none are.

    Returns:
        Positions in `deciding.RESULTS` `[D]`.
    """
    b, c, both = _drawn(world, n, draws, rng)
    cells = Pairs(b, c, np.full(b.shape[1:], n))
    wholes = Pairs(b.sum(-1, keepdims=True), c.sum(-1, keepdims=True), np.array([n * b.shape[-1]]))
    old = new = np.zeros((0, draws), np.int8)
    if grid is not None:
        old, new = (_requirements(grid, both + own, n) for own in (b, c))
    bounded = grid is not None and bounds_cells(grid.objective)
    return rule(cells, wholes, old, new, alpha, harm, bounded).result


def planned(
    cells: int,
    harm: float = HARM,
    discordant: float = DISCORDANT,
    alpha: float = 0.05,
    draws: int = _DRAWS,
    grid: Grid | None = None,
) -> Planned:
    """Finds the least number of images a cell at which both worlds are decided as they should be.

    Args:
        cells: How many there are.
        harm: Accuracy that no cell may lose.
        discordant: Share of images on which two equally good models differ.
        alpha: 1 - confidence.
        draws: Simulated decisions at each number that is tried.
        grid: See `simulated`.
    """

    def chance(world: World, result: str) -> int | None:
        def power(n: int) -> float:
            found = simulated(world, n, draws, alpha, harm, np.random.default_rng(0), grid)
            return float((found == RESULTS.index(result)).mean())

        return planning.least_size(power, 10, REFUSED if result == REFUSE else PROMOTED)

    sizes = [
        chance(harmful(cells, harm, discordant), REFUSE),
        chance(helpful(cells, harm, discordant), PROMOTE),
    ]
    numbers = [size for size in sizes if size is not None]
    return Planned(max(numbers) if len(numbers) == len(sizes) else None, cells, harm, discordant)


def _drawn(world: World, n: int, draws: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Returns, `[D, G]` each, the images that only the champion, only the challenger, and both get right."""
    half = world.discordant / 2
    only_old, only_new = half + np.maximum(-world.gain, 0), half + np.maximum(world.gain, 0)
    both = np.maximum(world.accuracy - only_old, 0.0)
    none = np.maximum(1 - only_old - only_new - both, 0.0)
    chances = np.stack([only_old, only_new, both, none], axis=-1)
    chances /= chances.sum(axis=-1, keepdims=True)
    drawn = rng.multinomial(n, chances, size=(draws, len(chances)))
    return drawn[..., 0], drawn[..., 1], drawn[..., 2]


def _requirements(grid: Grid, right: Ints, n: int) -> NDArray[np.int8]:
    """Judges what the counts can of the test stage's requirements `[R, D]`; a mistake goes to the next class."""
    objective = grid.objective
    classes, levels = objective.num_classes, len(objective.levels[grid.attribute])
    table = right.reshape(-1, classes, levels).swapaxes(1, 2)  # [D, L, K]
    own = np.arange(classes)
    histogram = np.zeros((*table.shape, classes), dtype=np.int64)
    histogram[:, :, own, own] = table
    histogram[:, :, own, (own + 1) % classes] = n - table
    usual = {grid.attribute: grid.usual} if len(grid.usual) else {}
    evidence = Evidence(Counts(histogram.sum(axis=1), {grid.attribute: histogram}), usual)
    found = [comparisons(one, objective, evidence) for one in objective.judged_at("test") if one.bound is not None]
    return decide_draws([row for row in found if isinstance(row, Comparisons)], objective.alpha)[0]
