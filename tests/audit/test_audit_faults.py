"""The benchmark of seeded faults: a draw has the fault it says, and every broken file is what it is named."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from evensight.audit.data import Scores

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "audit_faults"))

import broken_kinds
import copies
import drawing
import pools
import stored
import trials

K = 4


@pytest.fixture
def pool():
    """Four classes in four colours; the only feature is the row's own number."""
    label, level = pools.cells(K, K, aligned=300, other=120)
    num = len(label)
    scores = Scores(
        properties=pl.DataFrame({"width": np.arange(num) // 2}),
        hashes=np.arange(num, dtype=np.uint64)[:, None],
        thumbnails=np.zeros((num, 2, 2), np.uint8),
        features={"colour": np.arange(num, dtype=np.float32)[:, None]},
        measured=np.ones(num, np.bool_),
    )
    names = tuple(f"c{k}" for k in range(K))
    base = np.arange(num) // 2  # two images of everything
    return pools.Pool(
        "p", names, {"colour": names}, label, {"colour": level}, base, scores, {"colour": tuple(range(K))}
    )


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 1.0])
def test_a_draw_has_the_stated_correlation(pool, correlation):
    rows = drawing.tied(pool, np.random.default_rng(0), "colour", correlation, 400)
    label, level = pool.labels[rows], pool.attributes["colour"][rows]
    assert np.bincount(label).tolist() == [100] * K
    low, high = binom.interval(0.9999, 400, correlation + (1 - correlation) / K)
    assert low <= (label == level).sum() <= high
    assert len(set(pool.base[rows].tolist())) == 400  # nothing is there twice


def test_a_draw_keeps_what_was_measured_beside_its_row(pool):
    rows = drawing.tied(pool, np.random.default_rng(1), "colour", 0.5, 200)
    data = drawing.audit_data(pool, rows, drawing.splits_of(100, 60, 40), trials.objective(pool.classes))
    np.testing.assert_array_equal(data.scores.features["colour"][:, 0], rows)
    np.testing.assert_array_equal(data.scores.hashes[:, 0], rows)
    np.testing.assert_array_equal(data.scores.properties["width"].to_numpy(), rows // 2)
    for split, first, last in (("train", 0, 100), ("validation", 100, 160), ("test", 160, 200)):
        expected = np.zeros((K, K), int)
        for row in rows[first:last]:
            expected[pool.labels[row], pool.attributes["colour"][row]] += 1
        np.testing.assert_array_equal(data.counts[split]["colour"], expected)
        np.testing.assert_array_equal(data.counts[split]["overall"], expected.sum(axis=1))


def test_a_pool_that_is_too_small_is_named(pool):
    with pytest.raises(ValueError, match=r"pool p: too few images of \(0, 1\)"):
        drawing.pick(pool, np.random.default_rng(0), np.zeros(200, int), {"colour": np.ones(200, int)})


def test_marks_differ_by_class_and_stay_at_the_border():
    plain = np.full((64, 64, 3), 128, np.uint8)
    marked = [pools.mark(plain, k, 10) for k in range(10)]
    for image in marked:
        np.testing.assert_array_equal(image[2:-2, 2:-2], plain[2:-2, 2:-2])
        changed = image[(image != plain).any(axis=-1)]
        assert set(map(tuple, changed.tolist())) == {(0, 0, 0), (255, 255, 255)}  # no colour, no brightness of its own
        assert abs(float(changed.mean()) - 127.5) < 12
    assert len({image.tobytes() for image in marked}) == 10


def test_annotators_err_where_they_are_said_to():
    num = 2000
    scores = Scores(pl.DataFrame({"x": np.zeros(num)}), np.zeros((num, 1), np.uint64), np.zeros((num, 1, 1), np.uint8),
                    {}, np.ones(num, np.bool_))  # fmt: skip
    names = ("a", "b", "c")
    labels = np.arange(num) % 3
    made = pools.Pool("photographs", names, {}, labels, {}, np.arange(num), scores)
    rates = {}
    for fault in ("nowhere", "everywhere", "of one group", "between two classes"):
        drawn = [trials.annotated(lambda name: made, fault, 0.5)(np.random.default_rng(i)) for i in range(6)]
        tables = []
        for data in drawn:
            truth = labels[[int(path.removesuffix(".png")) for path in data.paths]]
            table = data.annotations.with_columns(
                wrong=pl.Series(np.asarray(names)[truth[data.annotations["row"]]]) != data.annotations["label"],
                north=pl.Series(data.attributes["site"][data.annotations["row"]] == 1),
                first=pl.Series(truth[data.annotations["row"]] < 2),
            )
            tables.append(table)
        rates[fault] = pl.concat(tables).with_columns(third=pl.col("annotator") == "ann3")

    def rate(fault, where):
        return rates[fault].filter(where)["wrong"].mean()

    third, north, first = pl.col("third"), pl.col("north"), pl.col("first")
    assert rate("nowhere", third) == pytest.approx(0.05, abs=0.02)
    assert rate("everywhere", third) == pytest.approx(0.05 + 0.95 * 0.5, abs=0.04)
    assert rate("everywhere", ~third) == pytest.approx(0.05, abs=0.02)
    assert rate("of one group", third & north) == pytest.approx(0.525, abs=0.06)
    assert rate("of one group", third & ~north) == pytest.approx(0.05, abs=0.02)
    assert rate("between two classes", third & first) == pytest.approx(0.525, abs=0.06)
    assert rate("between two classes", third & ~first) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("kind", stored.KINDS_OF_NOISE)
def test_as_many_labels_are_wrong_as_stated(kind):
    rng = np.random.default_rng(0)
    truth, site = rng.integers(0, 10, 4000), rng.integers(0, 4, 4000)
    wrong = stored._with_noise(kind, 0.05, truth, site, rng) != truth
    low, high = binom.interval(0.9999, 4000, 0.05)
    assert low <= wrong.sum() <= high
    if kind == "between two classes":
        assert set(truth[wrong].tolist()) == {4, 9}
    if kind == "by one annotator on one group":
        assert set(site[wrong].tolist()) == {1}


def photograph(seed):
    """A smooth picture with edges, 160 x 220."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (10, 14, 3), dtype=np.uint8)
    pixels = cv2.resize(small, (220, 160), interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(-12, 13, pixels.shape)
    return np.clip(pixels.astype(int) + grain, 0, 255).astype(np.uint8)


def test_every_broken_file_gets_its_code(monkeypatch):
    contents = [cv2.imencode(".jpg", photograph(i))[1].tobytes() for i in range(102)]
    names = [f"{i}.jpg" for i in range(102)]
    monkeypatch.setattr(pools, "bar_files", lambda: (contents, names, ["a", "b"] * 51))
    monkeypatch.setattr(stored, "PLAIN", 100)
    rows = stored.integrity_rows(2)
    assert len(broken_kinds.KINDS) >= 20
    assert [row["fault"] for row in rows[:-1]] == [kind.name for kind in broken_kinds.KINDS]
    assert {row["fault"]: row["said"] for row in rows[:-1] if row["x"] < row["n"]} == {}
    assert (rows[-1]["what"], rows[-1]["x"], rows[-1]["n"]) == ("false alarms", 0, 100)


def test_planted_copies_are_told_from_other_pairs():
    images = [photograph(i) for i in range(60)]
    images[59] = images[3]  # the data's own duplicate: not planted
    originals = copies.hashed(images)
    made = copies.hashed([copies.brighten(0.9)(images[i], None) for i in (5, 6)])
    found = copies.search(originals, np.arange(40), np.arange(40, 60), made, np.asarray([5, 6]))
    assert found.planted.tolist() == [True, True]
    assert found.others.tolist() == [[3, 59]]
