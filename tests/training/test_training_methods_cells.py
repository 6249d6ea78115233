"""Cells: their numbers, how many images they have, and how often each is drawn."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from toy_groups import COUNTS, facts, manifest

from evensight.data.loader import epoch_order
from evensight.training.methods.cells import (
    OVER,
    cell_counts,
    cell_index,
    count_table,
    even_shares,
    log_prior,
    matched_shares,
    sampling_weights,
)
from evensight.training.methods.grouped import even_weights

SHAPES = [(2, 2), (2, 3), (3, 2), (10, 10), (1, 4), (4, 1), (5, 0), (6, 17)]


@pytest.mark.parametrize(("num_classes", "num_levels"), SHAPES)
def test_no_two_pairs_share_a_cell(num_classes: int, num_levels: int) -> None:
    """A published library merges (0, 1) with (1, 0), and drops (1, 1)."""
    pairs = [(label, level) for label in range(num_classes) for level in range(-1, num_levels)]
    label, level = (torch.tensor(column) for column in zip(*pairs, strict=True))
    found = cell_index(label, level, num_levels)
    assert sorted(found.tolist()) == list(range(num_classes * (num_levels + 1)))
    assert cell_index(label.numpy(), level.numpy(), num_levels).tolist() == found.tolist()


@given(st.integers(1, 6), st.integers(0, 6), st.data())
def test_counts_are_those_of_a_loop(num_classes: int, num_levels: int, data: st.DataObject) -> None:
    pair = st.tuples(st.integers(0, num_classes - 1), st.integers(-1, num_levels - 1))
    pairs = data.draw(st.lists(pair, max_size=40))
    label, level = (np.array([one[i] for one in pairs], np.int64) for i in (0, 1))
    expected = Counter(pairs)
    table = count_table(label, level, num_classes, num_levels)
    assert table.shape == (num_classes, num_levels + 1)
    for c in range(num_classes):
        assert [table[c, k] for k in range(num_levels)] == [expected[c, k] for k in range(num_levels)]
        assert table[c, -1] == expected[c, -1]


def test_facts_count_what_is_trained_and_the_rest_of_a_class_is_of_unknown_level() -> None:
    """Neither the broken image nor the one that is left out, nor validation."""
    known = facts()
    assert known.cells["colour"] == COUNTS[:, :-1].tolist()
    assert known.class_counts == COUNTS.sum(axis=1).tolist()
    assert cell_counts(known, "colour").tolist() == COUNTS.tolist()
    assert cell_counts(known, "size")[:, -1].tolist() == [0, 0, 0]


def expected_shares(counts: NDArray[np.int64], over: str) -> list[list[Fraction]]:
    """By the words of the docstring, one cell at a time."""
    num_classes, num_levels = counts.shape[0], counts.shape[1] - 1
    n = int(counts.sum())
    of_class = [int(row.sum()) for row in counts]
    of_level = [int(counts[:, k].sum()) for k in range(num_levels)]
    classes, levels = sum(total > 0 for total in of_class), sum(total > 0 for total in of_level)
    shares = [[Fraction(0)] * (num_levels + 1) for _ in range(num_classes)]
    for c in range(num_classes):
        own = [k for k in range(num_levels) if counts[c, k]]
        for k in range(num_levels + 1):
            count = int(counts[c, k])
            if not count:
                continue
            if over == "class":
                shares[c][k] = Fraction(1, classes) * Fraction(count, of_class[c])
            elif k == num_levels:  # unknown
                shares[c][k] = Fraction(count, n) if over == "group" else Fraction(count, of_class[c] * classes)
            elif over == "group":
                shares[c][k] = Fraction(sum(of_level), n) * Fraction(1, levels) * Fraction(count, of_level[k])
            else:
                known = Fraction(of_class[c] - int(counts[c, -1]), of_class[c])
                part = Fraction(1, len(own)) if over == "cell" else Fraction(of_level[k], sum(of_level[i] for i in own))
                shares[c][k] = Fraction(1, classes) * known * part
    return shares


@st.composite
def tables(draw: st.DrawFn) -> NDArray[np.int64]:
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    numbers = draw(st.lists(st.integers(0, 9), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    table = np.array(numbers, np.int64).reshape(shape)
    if not table.any():
        table[0, 0] = 1
    return table


@given(tables(), st.sampled_from([*OVER, "matched"]))
def test_marginals_of_the_sampler_are_exact(counts: NDArray[np.int64], over: str) -> None:
    cells = np.repeat(np.arange(counts.size), counts.ravel())
    label, level = np.divmod(cells, counts.shape[1])
    level[level == counts.shape[1] - 1] = -1
    # One image more that training leaves out: it is never drawn and counts nowhere.
    label, level = np.append(label, 0), np.append(level, -1)
    trained = np.append(np.ones(len(cells), np.bool_), False)
    shape = counts.shape[0], counts.shape[1] - 1
    chosen = matched_shares if over == "matched" else lambda table: even_shares(table, over)
    weights = sampling_weights(label, level, trained, shape, chosen)
    assert weights[-1] == 0 and (weights[:-1] > 0).all()
    found = np.zeros(counts.size)
    np.add.at(found, cells, weights[:-1])
    expected = np.array([[float(share) for share in row] for row in expected_shares(counts, over)])
    np.testing.assert_allclose(found.reshape(counts.shape), expected, rtol=1e-12, atol=1e-15)
    assert weights.sum() == pytest.approx(1)


def test_even_cells_make_class_and_level_independent_where_every_cell_has_images() -> None:
    counts = np.array([[597.0, 1, 2, 0], [3, 40, 1, 0]])
    shares = even_shares(counts, "cell")[:, :3]
    np.testing.assert_allclose(shares, np.full((2, 3), 1 / 6))
    matched = matched_shares(counts)[:, :3]
    np.testing.assert_allclose(matched, np.outer([0.5, 0.5], counts[:, :3].sum(axis=0) / counts.sum()))


def test_epochs_are_drawn_as_the_weights_say() -> None:
    """Of the loader: 40,000 draws of the toy's training rows."""
    weights = even_weights(manifest(), "colour", "cell")
    drawn = np.concatenate([epoch_order(len(weights), 0, epoch, True, weights) for epoch in range(1000)])
    found = np.bincount(drawn, minlength=len(weights)) / len(drawn)
    assert abs(found - weights).max() < 4 * np.sqrt(weights.max() / len(drawn))
    assert not found[weights == 0].any()


@pytest.mark.parametrize("smoothing", [0.5, 1.0])
def test_prior_of_a_class_at_a_level(smoothing: float) -> None:
    counts = COUNTS.astype(float)
    found = log_prior(counts, smoothing)
    for c in range(3):
        for k in range(5):
            expected = (COUNTS[c, k] + smoothing) / sum(COUNTS[i, k] + smoothing for i in range(3))
            assert found[c, k] == pytest.approx(np.log(expected))
    assert np.isfinite(found).all()
