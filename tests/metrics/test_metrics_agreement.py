"""If these fail, a coefficient of agreement is not the published one, or its interval promises too much."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats import inter_rater

from evensight.metrics.agreement import (
    Agreement,
    agreeing_pairs,
    cohen_kappa,
    cohen_table,
    fleiss_kappa,
    krippendorff_alpha,
)

Columns = tuple[list[int], list[int]]
Coefficient = Callable[[Any, Any], Agreement]
COEFFICIENTS: dict[str, Coefficient] = {
    "fleiss": lambda items, labels: fleiss_kappa(items, labels, 4),
    "nominal": lambda items, labels: krippendorff_alpha(items, labels, 4),
    "ordinal": lambda items, labels: krippendorff_alpha(items, labels, 4, level="ordinal"),
}


def columns(observers: Sequence[str]) -> Columns:
    """Items and labels of rows of characters, a row an observer; a dot is missing."""
    order = sorted({letter for row in observers for letter in row} - {"."})
    found = [(item, order.index(letter)) for row in observers for item, letter in enumerate(row) if letter != "."]
    return [item for item, _ in found], [label for _, label in found]


def by_pairs(items: Sequence[int], labels: Sequence[int], ordinal: bool) -> Fraction:
    """Krippendorff's alpha by its definition, over all pairs of values, in whole fractions."""
    units = [[label for at, label in zip(items, labels, strict=True) if at == item] for item in set(items)]
    units = [unit for unit in units if len(unit) > 1]
    values = [label for unit in units for label in unit]

    def difference(c: int, k: int) -> Fraction:
        if not ordinal:
            return Fraction(c != k)
        between = sum(values.count(g) for g in range(min(c, k), max(c, k) + 1))
        return (between - Fraction(values.count(c) + values.count(k), 2)) ** 2 if c != k else Fraction(0)

    found = sum(
        (sum(difference(c, k) for c, k in itertools.permutations(unit, 2)) / Fraction(len(unit) - 1) for unit in units),
        Fraction(0),
    )
    expected = sum((difference(c, k) for c, k in itertools.permutations(values, 2)), Fraction(0))
    return 1 - (len(values) - 1) * found / expected


# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", examples A to D, and that of Wikipedia.
TWO_BINARY = ["0100000010", "1110010000"]
TWO_NOMINAL = ["aabbdcccedda", "babbbccceddd"]
FOUR = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
THREE = [".....3412113 3.3".replace(" ", ""), "1.213343.......", "..21344.21133.4"]


@pytest.mark.parametrize(
    ("observers", "ordinal", "printed"),
    [
        (TWO_BINARY, False, 0.095),
        (TWO_NOMINAL, False, 0.692),
        (FOUR, False, 0.743),
        (FOUR, True, 0.815),
        (THREE, False, 0.691),
    ],
)
def test_published_examples_of_alpha(observers: list[str], ordinal: bool, printed: float) -> None:
    items, labels = columns(observers)
    exact = by_pairs(items, labels, ordinal)
    assert round(float(exact), 3) == printed
    found = krippendorff_alpha(items, labels, 5, level="ordinal" if ordinal else "nominal")
    assert found.estimate == pytest.approx(float(exact), abs=1e-12)
    assert found.low < found.estimate < found.high


def test_the_four_observers_as_a_fraction() -> None:
    """40 pairable values of 41: 1 - 39 x 8 / (40^2 - 9^2 - 13^2 - 10^2 - 5^2 - 3^2), by hand."""
    items, labels = columns(FOUR)
    assert by_pairs(items, labels, ordinal=False) == Fraction(113, 152)
    found = krippendorff_alpha(items, labels, 5)
    assert found.estimate == pytest.approx(113 / 152, abs=1e-12)
    assert (found.items, found.labels) == (11, 40)


@pytest.mark.parametrize("ordinal", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_equals_its_definition_on_random_labels(seed: int, ordinal: bool) -> None:
    rng = np.random.default_rng(seed)
    items, labels = rng.integers(0, 12, 45), rng.integers(0, 4, 45)
    found = krippendorff_alpha(items, labels, 4, level="ordinal" if ordinal else "nominal")
    assert found.estimate == pytest.approx(float(by_pairs(items.tolist(), labels.tolist(), ordinal)), abs=1e-12)


WIKIPEDIA_FLEISS = [
    *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
    *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
]


def of_table(table: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Items and labels of a table of counts, item x class."""
    counts = np.asarray(table)
    items, classes = (each.ravel() for each in np.indices(counts.shape))
    return np.repeat(items, counts.ravel()), np.repeat(classes, counts.ravel())


def test_fleiss_as_published_and_as_statsmodels() -> None:
    found = fleiss_kappa(*of_table(WIKIPEDIA_FLEISS), 5)
    assert round(found.estimate, 3) == 0.210
    rng = np.random.default_rng(3)
    tables = [WIKIPEDIA_FLEISS, *(rng.multinomial(6, rng.dirichlet(np.ones(5), 30)) for _ in range(5))]
    for table in tables:
        expected = inter_rater.fleiss_kappa(np.asarray(table))
        assert fleiss_kappa(*of_table(table), 5).estimate == pytest.approx(expected, abs=1e-12)


def test_fleiss_with_unequal_numbers_is_a_random_pair_of_each_item() -> None:
    """Agreement of items 1, 1/3 and 0; shares 5/9, 3/9, 1/9 of the labels of items with two or more."""
    items, labels = [0, 0, 0, 1, 1, 1, 1, 2, 2, 3], [0, 0, 0, 0, 1, 1, 0, 1, 2, 2]
    agreement = (Fraction(1) + Fraction(1, 3) + 0) / 3
    chance = Fraction(25 + 9 + 1, 81)
    expected = (agreement - chance) / (1 - chance)
    found = fleiss_kappa(items, labels, 3)
    assert found.estimate == pytest.approx(float(expected), abs=1e-12)
    assert (found.items, found.labels) == (3, 9)


@pytest.mark.parametrize(
    ("table", "expected"), [([[20, 5], [10, 15]], 2 / 5), ([[45, 15], [25, 15]], 3 / 23), ([[25, 35], [5, 35]], 7 / 27)]
)
def test_textbook_tables_of_cohen(table: list[list[int]], expected: float) -> None:
    assert cohen_kappa(table).estimate == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
def test_cohen_equals_statsmodels_with_its_standard_error(weights: Any) -> None:
    rng = np.random.default_rng(1)
    for size in (2, 3, 6):
        table = rng.multinomial(200, rng.dirichlet(np.ones(size * size))).reshape(size, size) + 5 * np.eye(
            size, dtype=int
        )
        expected = inter_rater.cohens_kappa(table, wt=None if weights == "nominal" else weights)
        found = cohen_kappa(table, weights=weights)
        assert found.estimate == pytest.approx(expected.kappa, abs=1e-12)
        assert found.error == pytest.approx(expected.std_kappa, abs=1e-12)


def test_cohen_table_leaves_out_what_one_did_not_label() -> None:
    first, second = [0, 1, 2, -1, 2, 0], [0, 1, 1, 2, -1, 0]
    assert cohen_table(first, second, 3).tolist() == [[2, 0, 0], [0, 1, 0], [0, 1, 0]]


def crowd(
    rng: np.random.Generator, num_items: int, each: int, skill: float, missing: float = 0.0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels that are the truth with chance `skill`, else drawn by the shares of the classes: kappa is skill^2."""
    shares = [0.4, 0.3, 0.2, 0.1]
    truth = rng.choice(4, num_items, p=shares)
    items = np.repeat(np.arange(num_items), each)
    labels = np.where(rng.random(items.size) < skill, truth[items], rng.choice(4, items.size, p=shares))
    kept = rng.random(items.size) >= missing
    return items[kept], labels[kept]


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_the_standard_error_is_that_of_leaving_items_out(name: str) -> None:
    """The jackknife needs no formula; at 300 items it and the delta method differ by less than 2 %."""
    items, labels = crowd(np.random.default_rng(5), 300, 4, 0.8, missing=0.3)
    each = [COEFFICIENTS[name](items[items != item], labels[items != item]).estimate for item in np.unique(items)]
    num = len(each)
    jackknife = float(np.sqrt((num - 1) / num * np.sum((np.array(each) - np.mean(each)) ** 2)))
    assert COEFFICIENTS[name](items, labels).error == pytest.approx(jackknife, rel=0.02)


@pytest.mark.parametrize(("num_items", "skill"), [(40, 0.7), (100, 0.95), (400, 0.8)])
@pytest.mark.parametrize("name", ["fleiss", "nominal"])
def test_bounds_err_at_most_about_as_often_as_stated(name: str, num_items: int, skill: float) -> None:
    """Of 400 draws, a side that errs 5 % of the time errs more than 34 times in one test of a thousand."""
    rng = np.random.default_rng(num_items)
    below = above = 0
    for _ in range(400):
        found = COEFFICIENTS[name](*crowd(rng, num_items, 3, skill))
        below += skill**2 < found.low
        above += skill**2 > found.high
    assert max(below, above) <= 34
    # And they are no wider than they must be: some error, where there are errors to see.
    assert num_items < 400 or min(below, above) >= 4


def test_cohen_bounds_err_at_most_about_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    wrong = np.zeros(2)
    for _ in range(400):
        _, labels = crowd(rng, 100, 2, 0.85)
        found = cohen_kappa(cohen_table(labels[::2], labels[1::2], 4))
        wrong += [found.low > 0.85**2, found.high < 0.85**2]
    assert wrong.max() <= 34


def test_full_agreement_on_few_items_is_not_certain() -> None:
    """Of 20 items without a disagreement, disagreement on 13.9 % of them is as unlikely as 5 %."""
    items, labels = np.repeat(np.arange(20), 2), np.repeat(np.arange(20) % 2, 2)
    share = 1 - 0.05 ** (1 / 20)
    for found, expected in (
        (fleiss_kappa(items, labels, 2), 0.5),
        (krippendorff_alpha(items, labels, 2), 20 * 20 * 2 / (40 * 39)),
        (cohen_kappa([[10, 0], [0, 10]]), 0.5),
    ):
        assert (found.estimate, found.high) == (1.0, 1.0)
        assert found.low == pytest.approx(1 - share / expected, abs=1e-9)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_what_cannot_be_said_is_not_said(name: str) -> None:
    for items, labels in (([], []), ([0, 1, 2], [0, 1, 0]), ([0, 0, 1, 1], [2, 2, 2, 2])):
        found = COEFFICIENTS[name](items, labels)
        assert np.isnan(found.estimate) and (found.low, found.high) == (-1.0, 1.0)
    assert np.isnan(cohen_kappa([[5, 0], [0, 0]]).estimate)
    assert np.isnan(cohen_kappa(np.zeros((3, 3))).estimate)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=4, max_size=40), st.permutations(range(4)))
def test_names_and_order_do_not_matter(pairs: list[tuple[int, int]], renamed: list[int]) -> None:
    items, labels = np.array(pairs).T
    for name, find in COEFFICIENTS.items():
        plain = find(items, labels)
        reversed_scale = [3, 2, 1, 0] if name == "ordinal" else renamed
        again = find(items[::-1] * 7, np.array(reversed_scale)[labels[::-1]])
        np.testing.assert_allclose(
            [again.estimate, again.low, again.high], [plain.estimate, plain.low, plain.high], atol=1e-9
        )
        assert -1 <= plain.low <= plain.high <= 1


def test_two_labels_an_item_give_alpha_as_kappa_in_the_long_run() -> None:
    items, labels = crowd(np.random.default_rng(8), 50_000, 2, 0.8)
    fleiss, alpha = fleiss_kappa(items, labels, 4), krippendorff_alpha(items, labels, 4)
    assert alpha.estimate == pytest.approx(fleiss.estimate, abs=1e-4)
    assert fleiss.estimate == pytest.approx(0.64, abs=0.01)


def test_agreeing_pairs_takes_the_two_smallest_keys_of_an_item() -> None:
    items = [0, 0, 0, 1, 2, 2, 3, 3]
    labels = [1, 0, 1, 1, 2, 2, 0, 1]
    assert agreeing_pairs(items, labels, [1, 9, 2, 0, 0, 1, 0, 1], 3) == (2, 3)
    assert agreeing_pairs(items, labels, [1, 2, 9, 0, 0, 1, 0, 1], 3) == (1, 3)
    assert agreeing_pairs([], [], [], 3) == (0, 0)


def test_agreement_of_a_random_pair_is_the_mean_over_all_pairs() -> None:
    rng = np.random.default_rng(2)
    items, labels = crowd(rng, 300, 4, 0.7)
    drawn = [agreeing_pairs(items, labels, rng.random(items.size), 4) for _ in range(200)]
    by_item = labels.reshape(300, 4)
    pairs = np.mean([by_item[:, i] == by_item[:, j] for i, j in itertools.combinations(range(4), 2)])
    assert {n for _, n in drawn} == {300}
    assert np.mean([x for x, _ in drawn]) / 300 == pytest.approx(pairs, abs=0.006)


def test_labels_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="found 0 to 4; allowed: 0 to 3"):
        fleiss_kappa([0, 0], [0, 4], 4)
    with pytest.raises(ValueError, match="2 items and 1 labels"):
        krippendorff_alpha([0, 0], [0], 4)


def test_no_warning_where_there_is_nothing_to_divide_by() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for find in COEFFICIENTS.values():
            find([0, 0], [1, 1])
            find([0, 0], [1, 2])
        cohen_kappa([[0, 3], [0, 0]])
