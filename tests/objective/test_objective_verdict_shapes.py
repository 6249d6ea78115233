"""If these fail, the code that decides is not the one whose figures for `configs/objective/shapes.yaml` are stated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from evensight.objective.objective import Objective
from evensight.objective.plan import plan
from evensight.objective.simulate import Looks, Truth, strata_of_table

TABLE_DRAWS = 2_000  # the least the table was made with
CONFIG = Path(__file__).parents[2] / "configs" / "objective" / "shapes.yaml"
# The table is of these eight, whatever else the file comes to show.
EIGHT = {
    "accuracy": 0.95,
    "recall of each class": 0.90,
    "accuracy of each colour": 0.90,
    "accuracy of each class x colour": 0.80,
    "accuracy of conflicting images (colour)": 0.95,
    "accuracy gap over colour": 0.05,
    "reliance on colour": 0.05,
    "advantage over majority, colour": 0.50,
}
ALIGNED = np.eye(8, dtype=bool).ravel()
RED = np.tile(np.arange(8), 8) == 0

# Truth, images a cell, PASS / INSUFFICIENT / FAIL, digits they were printed with.
TABLE = [
    (Truth(0.985, 0.0, 0.02), 94, (1, 0, 0), 2),
    (Truth(0.985, 0.0, 0.02), 47, (0.96, 0.04, 0), 2),
    (Truth(0.985, 0.3, 0.02), 94, (0.993, 0.007, 0), 3),
    (Truth(0.985, 0.3, 0.02), 47, (0.80, 0.20, 0), 2),
    (Truth(0.985, 0.5, 0.02), 94, (0.904, 0.096, 0), 3),
    (Truth(0.985, 0.5, 0.02), 47, (0.56, 0.44, 0), 2),
    (Truth(0.97, 0.0, 0.03), 94, (0.997, 0.003, 0), 3),
    (Truth(0.97, 0.0, 0.03), 47, (0.31, 0.69, 0), 2),
    (Truth(0.97, 0.3, 0.03), 94, (0.645, 0.355, 0), 3),
    (Truth(0.97, 0.3, 0.03), 47, (0.08, 0.92, 0), 2),
    (Truth(np.where(ALIGNED, 0.99, 0.90), 0.0, 0.12), 94, (0, 0, 1), 2),
    (Truth(np.where(ALIGNED, 0.99, 0.90), 0.0, 0.12), 47, (0, 0, 1), 2),
    (Truth(np.where(ALIGNED, 0.99, 0.70), 0.0, 0.35), 94, (0, 0, 1), 2),
    (Truth(np.where(ALIGNED, 0.99, 0.70), 0.0, 0.35), 47, (0, 0, 1), 2),
    (Truth(0.97, 0.0, 0.12), 94, (0, 0, 1), 2),
    (Truth(0.97, 0.0, 0.12), 47, (0, 0, 1), 2),
    (Truth(np.where(RED, 0.85, 0.985), 0.0, 0.02), 94, (0, 0, 1), 2),
    (Truth(np.where(RED, 0.85, 0.985), 0.0, 0.02), 47, (0, 0.06, 0.94), 2),
]


@pytest.fixture(scope="module")
def shapes() -> Objective:
    return Objective.from_config(yaml.safe_load(CONFIG.read_text()))


def test_shapes_states_the_eight(shapes: Objective) -> None:
    of_models = [row for row in shapes.requirements if row.bound is not None and row.stages != ("audit",)]
    assert {row.label: row.bound for row in of_models} == EIGHT


@pytest.mark.parametrize("draws", [1_000, pytest.param(4_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("truth", "each", "expected", "digits"), TABLE)
def test_table(
    shapes: Objective, truth: Truth, each: int, expected: tuple[float, ...], digits: int, draws: int
) -> None:
    """Within 3 standard errors of both simulations, and the rounding of the table."""
    looks = Looks(usual={"colour": range(8)}, operators={"colour": ["hue"]})
    found = plan(shapes, "test", strata_of_table(np.full((8, 8), each), "colour"), truth, looks, draws=draws, seed=1)
    assert found.draws == draws
    assert found.verdicts["NOT_MEASURED"] == 0
    for status, share in zip(("PASS", "INSUFFICIENT", "FAIL"), expected, strict=True):
        rounding = 0.5 * 10**-digits
        # A share printed as 0 or 1 may be off by its rounding, and the error is that of a share off by as much.
        nearest = min(max(share, rounding), 1 - rounding)
        error = np.sqrt(nearest * (1 - nearest) * (1 / draws + 1 / TABLE_DRAWS))
        assert found.verdicts[status] == pytest.approx(share, abs=3 * error + rounding), status
