"""Coloured MNIST in environments: noise and agreement at their stated rates, drawn alike everywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from evensight.compose import compose
from evensight.data.datasets import roots
from evensight.data.datasets.irm_mnist import IrmMnistReader
from evensight.data.reading import silent
from evensight.errors import UserError

RED, GREEN = 0, 1  # channels


@pytest.fixture(autouse=True)
def no_shared_images(monkeypatch):
    monkeypatch.delenv("EVENSIGHT_DATA", raising=False)
    monkeypatch.setattr(roots, "_BESIDE", Path("/nowhere"))


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """A folder like MNIST's: 12,000 + 4,000 random images with their number as bits in row 1."""
    folder = tmp_path_factory.mktemp("mnist")
    for seed, (name, count) in enumerate((("train", 12000), ("test", 4000))):
        images = np.random.PCG64(seed).random_raw(count * 98).astype("<u8").view(np.uint8).reshape(count, 28, 28)
        images[:, 1, :14] = 255 * (np.arange(count)[:, None] >> np.arange(14) & 1)
        images[:, 0, 0] = 255
        labels = np.arange(count) ** 2 // 7 % 10
        np.savez(folder / f"{name}.npz", images=images, labels=labels.astype(np.uint8))
    return folder


def read(mnist, folder, **settings):
    return IrmMnistReader(**{"root": str(mnist), "num_validation": 2000, **settings}).read(folder, None, silent)


def rows(reading, mnist, split):
    """Pixels [N, 28, 28, 3], numbers in MNIST [N], digits [N] and the table of a split."""
    table = reading.rows.filter(pl.col("split") == split)
    images = np.load(reading.root / f"images/{split}.npy")
    assert table["path"].to_list() == [f"images/{split}.npy#{row}" for row in range(len(images))]
    bits = images.max(axis=-1)[:, 1, :14] > 0
    number = bits @ (1 << np.arange(14))
    digit = np.load(mnist / f"{'test' if split == 'test' else 'train'}.npz")["labels"][number]
    return images, number, digit, table


def fits(hits, probability):
    low, high = binom.interval(0.9999, len(hits), probability)
    return low <= hits.sum() <= high


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_labels_are_wrong_as_often_as_stated(mnist, tmp_path, noise):
    reading = read(mnist, tmp_path, label_noise=noise)
    for split in ("train", "validation", "test"):
        _, _, digit, table = rows(reading, mnist, split)
        wrong = (table["label"] == "0-4").to_numpy() != (digit < 5)
        for part in (digit < 5, digit >= 5):
            assert fits(wrong[part], noise)


def test_colour_agrees_with_the_noisy_label_as_often_as_stated(mnist, tmp_path):
    reading = read(mnist, tmp_path)
    rates = {"env1": 0.9, "env2": 0.8, "test": 0.1}
    for split in ("train", "validation", "test"):
        _, _, digit, table = rows(reading, mnist, split)
        environment = table["environment"].to_numpy()
        assert set(environment) == ({"test"} if split == "test" else {"env1", "env2"})
        for name in set(environment):
            part = environment == name
            agrees = (table["label"] == "0-4").to_numpy() == (table["colour"] == "green").to_numpy()
            for label in ("0-4", "5-9"):
                assert fits(agrees[part & (table["label"] == label).to_numpy()], rates[name])
            # Of the noise alone the colour says nothing: it agrees with the label, whatever the digit.
            assert fits(agrees[part & (digit < 5)], rates[name])
    assert reading.usual == {"colour": {"0-4": "green", "5-9": "red"}}


def test_pixels_are_the_digit_in_one_channel(mnist, tmp_path):
    reading = read(mnist, tmp_path)
    for split in ("train", "validation", "test"):
        images, number, _, table = rows(reading, mnist, split)
        given = np.load(mnist / f"{'test' if split == 'test' else 'train'}.npz")["images"][number]
        channel = np.where(table["colour"] == "red", RED, GREEN)
        expected = given[..., None] * (np.arange(3) == channel[:, None])[:, None, None]
        np.testing.assert_array_equal(images, expected)


def test_validation_and_environments_have_every_digit_alike(mnist, tmp_path):
    reading = read(mnist, tmp_path)
    source = np.bincount(np.load(mnist / "train.npz")["labels"])
    numbers = []
    for split, count in (("train", 10000), ("validation", 2000)):
        _, number, digit, table = rows(reading, mnist, split)
        np.testing.assert_allclose(np.bincount(digit), source * count / 12000, atol=1)
        first = np.bincount(digit[(table["environment"] == "env1").to_numpy()], minlength=10)
        np.testing.assert_allclose(first, np.bincount(digit) / 2, atol=1)
        numbers += number.tolist()
    assert sorted(numbers) == list(range(12000))


def test_pixels_are_the_same_on_every_machine(mnist, tmp_path):
    reading = read(mnist, tmp_path, seed=5)
    digest = hashlib.sha256(reading.rows.write_csv().encode())
    for split in ("train", "validation", "test"):
        digest.update(np.load(reading.root / f"images/{split}.npy").tobytes())
    assert digest.hexdigest() == "835f499a3bd78ff26f70216ac66eb344ee946f13cf280cf84c7f08705f838d7c"


def test_another_seed_gives_other_labels_colours_and_environments(mnist, tmp_path):
    one, other = (read(mnist, tmp_path / str(seed), seed=seed).rows for seed in (0, 1))
    for column in ("label", "colour"):
        assert 0.1 < (one[column] != other[column]).filter(one["split"] == "test").mean() < 0.9


def test_drawn_once(mnist, tmp_path):
    first = read(mnist, tmp_path)
    reader = IrmMnistReader(root=str(mnist), num_validation=2000)
    assert reader.read(tmp_path, None, lambda *_: pytest.fail("drew again")).rows.equals(first.rows)


def test_three_environments_to_train_on(mnist, tmp_path):
    reading = read(mnist, tmp_path, agreement=[1.0, 0.5, 0.0])
    for split in ("train", "validation"):
        table = reading.rows.filter(pl.col("split") == split)
        agrees = (table["label"] == "0-4") == (table["colour"] == "green")
        assert agrees.filter(table["environment"] == "env1").all()
        assert not agrees.filter(table["environment"] == "env3").any()
        assert table["environment"].value_counts().height == 3


def test_the_objective_names_what_the_reader_gives(mnist, tmp_path):
    config = compose(["experiment=irm_mnist"])
    found = read(mnist, tmp_path).rows
    assert set(config.objective.classes) == set(found["label"])
    for name, attribute in config.objective.attributes.items():
        assert set(attribute["levels"]) == set(found[name]), name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label_noise": 1.5}, r"data\.label_noise: 1\.5"),
        ({"test_agreement": -0.1}, r"data\.test_agreement: -0\.1"),
        ({"agreement": []}, r"data\.agreement.*\[0\.9,0\.8\]"),
        ({"agreement": [0.9, 8]}, r"data\.agreement"),
        ({"num_validation": 0}, r"data\.num_validation: 0"),
        ({"num_validation": 12000}, r"data\.num_validation: 12000.*less than 12000"),
        ({"seed": -1}, r"data\.seed"),
        ({"root": "/no/such/folder"}, r"data\.root"),
        ({"root": None}, r"data\.root is not set.*EVENSIGHT_DATA"),
    ],
)
def test_what_is_wrong_is_named(mnist, tmp_path, settings, words):
    with pytest.raises(UserError, match=words):
        read(mnist, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
