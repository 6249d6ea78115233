from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from statsmodels.stats.proportion import proportion_confint

from evensight.report import figures
from evensight.report.charts import scale
from evensight.report.lines import Point, Series, Timeline, line_chart, series, time_chart


def made(n: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, n)
    said = np.where(rng.random(n) < 0.7, label, rng.integers(0, 3, n))
    return pl.DataFrame({"label": label, "prediction": said, "attribute:size": rng.integers(-1, 2, n)})


def test_recall_precision_and_confusion_equal_scikit_learn():
    table, names = made(), ["a", "b", "c"]
    truth, said = table["label"].to_numpy(), table["prediction"].to_numpy()
    counts = figures.confusion(table, 3)
    assert np.array_equal(counts, confusion_matrix(truth, said))
    recall = [bar.estimate for bar in figures.recall(counts, names, 0.05)]
    precision = [bar.estimate for bar in figures.precision(counts, names, 0.05)]
    assert np.allclose(recall, recall_score(truth, said, average=None))
    assert np.allclose(precision, precision_score(truth, said, average=None))


def test_intervals_are_clopper_pearson_with_alpha_on_each_side():
    for x, n in ((0, 20), (7, 31), (59, 59)):
        bar = figures.rate("x", x, n, 0.05)
        assert np.allclose((bar.low, bar.high), proportion_confint(x, n, alpha=0.10, method="beta"))
    empty = figures.rate("x", 0, 0, 0.05)
    assert (empty.estimate, empty.low, empty.high) == (None, 0.0, 1.0)


def test_groups_cells_and_aligned_leave_unknown_levels_out():
    table = made()
    known = table.filter(pl.col("attribute:size") >= 0)
    bars = figures.groups(table, "size", ["small", "large"], 0.05)
    expected = (
        known.group_by("attribute:size").agg((pl.col("label") == pl.col("prediction")).mean()).sort("attribute:size")
    )
    assert np.allclose([bar.estimate for bar in bars], expected["label"].to_numpy())
    rows = figures.cells(table, "size", ["a", "b", "c"], ["small", "large"], [0, 1, 0], 0.05)
    assert sum(cell.bar.n for row in rows for cell in row) == known.height
    assert [[cell.marked for cell in row] for row in rows] == [[True, False], [False, True], [True, False]]
    together = figures.aligned(table, "size", [0, 1, 0], 0.05)
    assert sum(bar.n for bar in together) == known.height
    assert together[0].n == sum(cell.bar.n for row in rows for cell in row if cell.marked)


def test_confusions_are_the_largest_off_the_diagonal():
    counts = np.array([[5, 3, 0], [1, 9, 0], [0, 4, 6]])
    bars = figures.confusions(counts, ["a", "b", "c"], 0.05)
    assert [bar.name for bar in bars] == ["c taken for b", "a taken for b", "b taken for a"]
    assert bars[0].estimate == 0.4 and bars[0].n == 10


@pytest.mark.parametrize("values", [[0.91, 0.97], [-0.004, 0.36], [0.5, 0.5], [0.0, 1.0], [3.2, 1800.0], [1e-4, 2e-4]])
def test_axes_have_round_ticks_and_hold_their_values(values):
    axis = scale(values)
    assert axis.low <= min(values) and axis.high >= max(values)
    assert 2 <= len(axis.ticks) <= 8
    steps = np.diff(axis.ticks)
    assert np.allclose(steps, steps[0])
    assert axis.percent(axis.low) == 0 and axis.percent(axis.high) == 100


def test_an_axis_of_rates_ends_at_0_and_1():
    axis = scale([0.001, 0.999], least=0.0, most=1.0)
    assert (axis.low, axis.high) == (0.0, 1.0)


def test_a_series_skips_epochs_that_did_not_measure_it():
    epochs = [{"epoch": k, "metrics": {"x": 0.1 * k} if k % 2 else {"x": None}, "intervals": {}} for k in range(6)]
    part = series(epochs, "x", "x", "one")
    assert part is not None and [point.epoch for point in part.points] == [2, 4, 6]
    assert series(epochs, "y", "y", "one") is None
    assert line_chart("empty", [None], 6) is None
    chart = line_chart("x", [part], 6, [(0.9, "required")])
    assert chart is not None
    xs = [x for x, _, _ in chart.lines[0].dots]
    assert xs == sorted(xs) and np.allclose(np.diff(xs), np.diff(xs)[0])
    ys = [y for _, y, _ in chart.lines[0].dots]
    assert ys == sorted(ys, reverse=True)  # larger values are higher on the page


@pytest.mark.parametrize(("num_epochs", "places"), [(1, [193]), (2, [34, 352]), (3, [34, 193, 352])])
def test_epochs_fill_the_frame_and_a_single_one_lies_in_its_middle(num_epochs: int, places: list[float]):
    part = Series("x", tuple(Point(k + 1, 0.5) for k in range(num_epochs)), "one")
    chart = line_chart("x", [part], num_epochs)
    assert chart is not None and chart.unit == "epochs"
    assert [x for x, _, _ in chart.lines[0].dots] == places
    assert [(x, words) for x, words in chart.x_ticks] == [(x, str(k + 1)) for k, x in enumerate(places)]
    assert chart.lines[0].dots[0][2].startswith("epoch 1: x")


def test_a_timeline_marks_what_happened_where_it_did():
    marks, spans = ((50.0, "alarm", "alarm"), (900.0, "later", "swap")), ((0.0, 25.0, "calm"),)
    chart = time_chart("x", [Series("x", (Point(100, 0.5),), "one")], Timeline(100, "requests", (), marks, spans))
    assert chart is not None
    assert chart.marks == [(193, "alarm", "alarm"), (352, "later", "swap")]  # beyond the axis: on its end
    assert chart.spans == [(34, 79.5, "calm")]
    assert chart.lines[0].dots[0][2].startswith("100 requests: x")
