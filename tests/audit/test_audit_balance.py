"""If these fail, a cell without images is not named, or the plan of evidence is not what the verdict will do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from draws import drawn

from evensight.audit.balance import chapter, short_cells
from evensight.audit.chapter import AuditFinding, Chapter, HeatMap, Table
from evensight.audit.data import AuditData
from evensight.audit.evidence_plan import evidence_plan
from evensight.config import AuditConfig
from evensight.metrics.planning import rate_power
from evensight.objective.objective import Objective
from evensight.progress import silent

EACH_CELL = {"metric": "accuracy", "scope": "each_cell", "attribute": "colour", "bound": 0.8}
SHAPES = Path(__file__).parents[2] / "configs" / "objective" / "shapes.yaml"


def of_table(
    table: Any, split: str = "train", requirements: list[dict[str, Any]] | None = None, **others: Any
) -> AuditData:
    """A data set with so many images of each class and colour in one split; `others`: tables of other splits."""
    labels, colours, splits = [], [], []
    for name, counts in {split: table, **others}.items():
        rows, columns = np.nonzero(np.asarray(counts))
        number = np.asarray(counts)[rows, columns]
        labels += np.repeat(rows, number).tolist()
        colours += np.repeat(columns, number).tolist()
        splits += [name] * int(number.sum())
    width = np.asarray(table).shape[1]
    return drawn(
        labels,
        {"colour": colours},
        splits,
        levels={"colour": ["red", "blue", "grey"][:width]},
        requirements=requirements or [],
    )


def audited(data: AuditData) -> Chapter:
    return chapter(data, AuditConfig(), silent)


def found(data: AuditData, code: str) -> list[AuditFinding]:
    return [each for each in audited(data).findings if each.code == code]


def block(made: Chapter, title: str) -> Any:
    return next(each for each in made.blocks if getattr(each, "title", "") == title)


FULL = [[50, 50, 50], [50, 50, 50], [50, 50, 50]]


def test_a_full_table_raises_nothing() -> None:
    assert audited(of_table(FULL, validation=FULL, test=FULL)).findings == []


def test_empty_cells_are_named_for_every_split_and_are_alarms_where_the_objective_asks() -> None:
    hole = [[50, 0, 50], [50, 50, 50], [50, 50, 0]]
    for requirements, severity in (([], "note"), ([EACH_CELL], "alarm")):
        data = of_table(hole, validation=FULL, test=hole, requirements=requirements)
        named = {each.evidence["split"]: each for each in found(data, "empty_cell")}
        assert set(named) == {"train", "test"}
        assert named["train"].evidence["cells"] == named["test"].evidence["cells"] == ["cat x blue", "owl x grey"]
        assert {each.severity for each in named.values()} == {severity}
        assert "cat x blue, owl x grey" in named["train"].title


def test_an_empty_class_is_an_alarm_and_its_cells_are_not_counted_again() -> None:
    data = of_table([[50, 50, 50], [50, 50, 50], [0, 0, 0]], test=FULL)
    assert [(each.severity, each.evidence["classes"]) for each in found(data, "empty_class")] == [("alarm", ["owl"])]
    assert found(data, "empty_cell") == []


def test_counts_of_a_closed_test_split_are_read() -> None:
    labels = np.repeat([0, 1, 2], 40)
    data = drawn(labels, {"colour": np.zeros(120, int)}, "test", levels={"colour": ["red"]}, open_test=False)
    assert (data.labels == -1).all()
    assert audited(data).figures["balance"]["images"] == {"train": 0, "validation": 0, "test": 120}
    assert [row[3] for row in block(audited(data), "Images of each class").rows] == [40, 40, 40, 120]


def test_a_short_cell_is_found_and_says_what_was_expected() -> None:
    table = np.full((3, 3), 100)
    table[1, 2] = 15
    short = short_cells(of_table(table), 0.025)
    assert [(each.attribute, each.cells, each.counts) for each in short] == [("colour", [(1, 2)], [15])]
    assert short[0].expected == [pytest.approx(215 * 215 / 815)]
    (finding,) = found(of_table(table), "short_cell")
    assert finding.severity == "warning" and finding.num_rows == 15
    assert "dog x grey (15, 57 expected)" in finding.title
    data = of_table(table)
    assert set(data.labels[finding.rows]) == {1} and set(data.attributes["colour"][finding.rows]) == {2}
    assert found(of_table(table, requirements=[EACH_CELL]), "short_cell")[0].severity == "alarm"


def test_independent_tables_have_no_short_cell_by_chance() -> None:
    """2.5 % of 400 independent draws: more than 20 happen once in a thousand tests."""
    rng = np.random.default_rng(0)
    shares = np.outer(rng.dirichlet(np.full(3, 4)), [0.6, 0.3, 0.1])
    tables = rng.multinomial(400, shares.ravel(), size=400).reshape(-1, 3, 3)
    assert sum(bool(short_cells(of_table(table), 0.025)) for table in tables) <= 20


def test_imbalance_is_said_from_three_and_a_warning_from_ten() -> None:
    for least, severity in ((60, None), (30, "note"), (9, "warning")):
        table = [[100, 0, 0], [0, 80, 0], [least, 0, 0]]
        severities = [each.severity for each in found(of_table(table), "imbalance")]
        assert severities == ([severity] if severity else [])
    (finding,) = found(of_table([[100, 0, 0], [0, 80, 0], [8, 0, 0]]), "imbalance")
    assert finding.evidence["estimate"] == pytest.approx(12.5)


def test_a_cell_that_can_never_pass_is_an_alarm() -> None:
    """ln .05 / ln .8 = 13.4: with 13 images no model passes, with 14 a perfect one does."""
    table = np.full((3, 3), 400)
    for n, alarms in ((13, 1), (14, 0)):
        table[2, 1] = n
        named = found(of_table(FULL, test=table, requirements=[EACH_CELL]), "undecidable")
        assert len(named) == alarms
        if alarms:
            assert named[0].severity == "alarm" and "owl x blue (13)" in named[0].title
            assert "at least 14 images" in named[0].title


def test_too_little_evidence_is_a_warning_with_its_chance() -> None:
    """.8 of 20 images a cell: enough to pass, yet all nine cells pass only rarely."""
    data = of_table(FULL, test=np.full((3, 3), 20), requirements=[EACH_CELL])
    (finding,) = found(data, "little_evidence")
    assert finding.severity == "warning" and finding.evidence["estimate"] < 0.5
    assert found(of_table(FULL, test=np.full((3, 3), 2000), requirements=[EACH_CELL]), "little_evidence") == []


def test_what_a_cell_needs_is_what_passes_four_times_in_five() -> None:
    """The assumed model of bound .8 has accuracy .88; nine cells pass together with (power of one)^9."""
    data = of_table(FULL, test=np.full((3, 3), 30), requirements=[EACH_CELL])
    cells = evidence_plan(data.objective, data.counts["test"], {}).cells
    assert {each.cell for each in cells} >= {"cat x red", "owl x grey"} and len(cells) == 9
    needs = cells[0].needs
    assert needs is not None
    power = rate_power(np.arange(needs - 40, needs + 15), 0.8, 0.88, 0.05) ** 9
    assert (power[40:] >= 0.8 - 1e-9).all()
    assert power[39] < 0.8
    assert all(each.missing == max(0, needs - 30) for each in cells)


def test_every_requirement_of_shapes_has_its_cells() -> None:
    objective = Objective.from_config(yaml.safe_load(SHAPES.read_text()))
    counts = {"overall": np.full(8, 752), "colour": np.full((8, 8), 94)}
    counts |= {"background": np.full((8, 3), 250), "size": np.full((8, 3), 250)}
    begun = time.process_time()
    plan = evidence_plan(objective, counts, {"colour": tuple(range(8))})
    assert time.process_time() - begun < 5
    found_cells = {
        label: [each for each in plan.cells if each.requirement == label]
        for label in dict.fromkeys(each.requirement for each in plan.cells)
    }
    sizes = {label: (len(cells), cells[0].has) for label, cells in found_cells.items()}
    assert sizes == {
        "accuracy": (1, 6016),
        "recall of each class": (8, 752),
        "accuracy of each colour": (8, 752),
        "accuracy of each class x colour": (64, 94),
        "accuracy of conflicting images (colour)": (1, 5264),
        "accuracy gap over colour": (8, 752),
        "reliance on colour": (1, 6016),
        "advantage over majority, colour": (1, 6016),
    }
    # shared statistics: .645 passes at .97 uneven, by 2,000 to 6,000 test sets; here 1,000.
    assert plan.chances is not None
    assert plan.chances.verdicts["PASS"] == pytest.approx(0.645, abs=4 * np.sqrt(0.645 * 0.355 / 1000))


def test_a_thousand_classes_are_planned_without_simulating() -> None:
    classes = [f"c{k:04d}" for k in range(1000)]
    rng = np.random.default_rng(0)
    data = drawn(
        np.repeat(np.arange(1000), 20),
        {"site": rng.integers(0, 8, 20_000)},
        np.tile(["train", "test"], 10_000),
        classes=classes,
        requirements=[{**EACH_CELL, "attribute": "site"}, {"metric": "accuracy", "bound": 0.7}],
    )
    begun = time.process_time()
    made = audited(data)
    assert time.process_time() - begun < 20
    rows = block(made, "Evidence plan").rows
    # The 40 cells that lack most, and the requirement that lacks nothing.
    assert len(rows) == 41 and rows[-1][:2] == ["accuracy", "all images"] and rows[-1][4] == 0
    for each in made.blocks:
        if isinstance(each, HeatMap):
            assert len(each.rows) == 40
        if isinstance(each, Table):
            assert len(each.rows) <= 42
    assert all(len(each.title) < 400 for each in made.findings)


def test_requirements_of_other_stages_are_listed() -> None:
    data = of_table(FULL, test=FULL, requirements=[{"metric": "leakage", "bound": 0.0}, EACH_CELL])
    rows = block(audited(data), "Requirements that the test does not judge").rows
    assert rows == [["leakage", "at most 0", "audit"]]


def test_no_test_split_is_said() -> None:
    made = audited(of_table(FULL, requirements=[EACH_CELL]))
    assert any("no test split" in getattr(each, "text", "") for each in made.blocks)
    assert made.findings == []


def test_heat_maps_show_counts_and_outline_empty_and_short_cells() -> None:
    table = np.full((3, 3), 100)
    table[0, 1], table[1, 2] = 0, 15
    heat = block(audited(of_table(table, test=FULL)), "Class x colour, train")
    assert heat.texts[1] == ["100", "100", "15"]
    assert heat.marked == [(0, 1), (1, 2)]
    assert heat.shades[0] == [1.0, 0.0, 1.0]
    assert block(audited(of_table(table, test=FULL)), "Class x colour, test").marked == []
